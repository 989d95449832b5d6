from k3torch.reports.overfitting import plot_variants


def test_variants_are_sorted_by_their_last_value_and_adam_is_dashed_in_the_same_colour(tmp_path, drawn):
    curves = {"original": [3, 2], "l2": [5.0, 1.0], "original-adam": [1, 4]}
    plot_variants(tmp_path / "a.png", curves, "loss", "title")
    (axes,) = drawn[0].axes
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == ["original-adam", "original", "l2"]
    assert [text.get_text() for text in axes.get_legend().texts] == list(lines)
    assert lines["l2"].get_xydata().tolist() == [[1, 5], [2, 1]]
    colours, styles, markers = (
        [getattr(line, f"get_{name}")() for line in lines.values()] for name in ("color", "linestyle", "marker")
    )
    assert colours[0] == colours[1] != colours[2]
    assert styles == ["--", "-", "-"]
    assert markers[0] == markers[1] != markers[2]


def test_many_variants_have_different_pairs_of_colour_and_marker(tmp_path, drawn):
    plot_variants(tmp_path / "a.png", {f"v{i}": [i] for i in range(56)}, "loss", "title")
    assert len({(line.get_color(), line.get_marker()) for line in drawn[0].axes[0].lines}) == 56
