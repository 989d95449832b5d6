from k3torch.reports.ladder import plot_ladder


def test_each_rung_has_a_bar_of_its_seconds_from_the_top(tmp_path, drawn):
    rows = [
        {"rung": 1, "name": "fit on arrays", "seconds": 0.5, "peak memory MB": 2020.4},
        {"rung": 4, "name": "an overridden train_step", "seconds": 0.05, "peak memory MB": 564},
    ]
    plot_ladder(tmp_path / "a.png", rows)
    (axes,) = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.05]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1  fit on arrays", "4  an overridden train_step"]
    assert [text.get_text() for text in axes.texts] == [" 0.500 s,  2020 MB", " 0.050 s,  564 MB"]
    assert axes.get_xlim() == (0, 0.65)
    assert axes.yaxis_inverted()
