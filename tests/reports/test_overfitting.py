from k3torch.reports.overfitting import plot_variants

CURVES = {"original": [3, 2], "l2": [5.0, 1.0], "original-adam": [1, 4]}


def lines_of(figure):
    return {line.get_label(): line for line in figure.axes[0].lines}


def look(line):
    return line.get_color(), line.get_marker(), line.get_linestyle(), line.get_markerfacecolor()


def test_variants_are_sorted_by_their_last_value_and_adam_is_dashed_in_the_same_colour(tmp_path, drawn):
    plot_variants(tmp_path / "a.png", CURVES, "loss", "title")
    lines = lines_of(drawn[0])
    assert list(lines) == ["original-adam", "original", "l2"]
    assert [text.get_text() for text in drawn[0].axes[0].get_legend().texts] == list(lines)
    assert lines["l2"].get_xydata().tolist() == [[1, 5], [2, 1]]
    colours, styles, markers = (
        [getattr(line, f"get_{name}")() for line in lines.values()] for name in ("color", "linestyle", "marker")
    )
    assert colours[0] == colours[1] != colours[2]
    assert styles == ["--", "-", "-"]
    assert markers[0] == markers[1] != markers[2]


def test_plots_of_some_variants_have_the_range_and_the_looks_of_all(tmp_path, drawn):
    plot_variants(tmp_path / "a.png", CURVES, "loss", "All")
    plot_variants(tmp_path / "b.png", CURVES, "loss", "Two", names=("original", "l2"), labels={"l2": "L2 (0.001)"})
    every, pair = map(lines_of, drawn)
    assert list(pair) == ["original", "L2 (0.001)"]
    assert look(pair["L2 (0.001)"]) == look(every["l2"])
    assert look(pair["original"]) == look(every["original"])
    assert drawn[0].axes[0].get_ylim() == drawn[1].axes[0].get_ylim() == (0.8, 5.2)
    assert drawn[0].axes[0].get_xlim() == drawn[1].axes[0].get_xlim() == (0.5, 2.5)
    axes = drawn[1].axes[0]
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Two", "epoch", "loss")


def test_the_legend_is_beside_the_axes_and_inside_the_plot(tmp_path, drawn):
    plot_variants(tmp_path / "a.png", CURVES, "loss", "title", labels={"l2": "a long description of a variant"})
    (axes,) = drawn[0].axes
    box = axes.get_legend().get_window_extent(drawn[0].canvas.get_renderer())
    assert axes.get_window_extent().x1 < box.x0 < box.x1 <= drawn[0].bbox.x1


def test_a_loss_that_is_no_number_does_not_hide_the_others(tmp_path, drawn):
    plot_variants(tmp_path / "a.png", {"a": [2.0, 3.0], "b": [1.0, float("nan")], "c": [float("inf")]}, "loss", "title")
    plot_variants(tmp_path / "b.png", {"a": [float("nan")]}, "loss", "title")
    assert drawn[0].axes[0].get_ylim() == (0.9, 3.1)


def test_many_variants_have_different_pairs_of_colour_and_marker(tmp_path, drawn):
    plot_variants(tmp_path / "a.png", {f"v{i}": [i] for i in range(56)}, "loss", "title")
    (axes,) = drawn[0].axes
    assert len({(line.get_color(), line.get_marker()) for line in axes.lines}) == 56
    box = axes.get_legend().get_window_extent(drawn[0].canvas.get_renderer())
    assert 0 <= box.y0 < box.y1 <= drawn[0].bbox.y1
