from k3torch.reports.ladder import plot_ladder
import pytest

ROWS = [
    {"rung": 1, "name": "fit on arrays", "seconds": 0.45, "threads": 2, "peak memory MB": 2020.4},
    {"rung": 4, "name": "an overridden train_step", "seconds": 0.03, "threads": 1, "peak memory MB": 564},
]


def test_each_rung_has_a_bar_of_its_seconds_from_the_top_on_a_logarithmic_axis(tmp_path, drawn):
    plot_ladder(tmp_path / "a.png", ROWS, "film reviews")
    (axes,) = drawn[0].axes
    assert [bar.get_width() for bar in axes.patches] == [0.45, 0.03]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1  fit on arrays", "4  an overridden train_step"]
    assert [text.get_text() for text in axes.texts] == ["0.450 s, 2 threads, 2020 MB", "0.030 s, 1 thread, 564 MB"]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] == pytest.approx(0.01)  # so that the shortest bar is seen
    assert "logarithmic" in axes.get_xlabel()
    assert axes.get_title() == "The same training on every rung: film reviews"
    assert axes.yaxis_inverted()


@pytest.mark.parametrize("slowest", [0.03, 0.4, 5.0, 300.0])
def test_the_labels_of_the_bars_are_inside_the_plot(tmp_path, drawn, slowest):
    plot_ladder(tmp_path / "a.png", [{**ROWS[0], "seconds": slowest}, ROWS[1]])
    (axes,) = drawn[0].axes
    renderer = drawn[0].canvas.get_renderer()
    assert all(text.get_window_extent(renderer).x1 <= drawn[0].bbox.x1 for text in axes.texts)
