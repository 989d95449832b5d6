"""The explanatory plots show the arrays that they are given, and their texts do not overlap."""

from k3torch.reports import explain
from matplotlib.colors import to_rgb
import numpy as np


def points(line):
    return line.get_xydata().tolist()


def test_both_losses_are_drawn_over_the_probability(tmp_path, drawn):
    explain.plot_losses(tmp_path / "a.png", np.array([0.5, 1]), np.array([0.7, 0]), np.array([0.25, 0]))
    (axes,) = drawn[0].axes
    assert list(map(points, axes.lines)) == [[[0.5, 0.7], [1, 0]], [[0.5, 0.25], [1, 0]]]
    assert [text.get_text().split(":")[0] for text in drawn[0].legends[0].texts] == ["cross-entropy", "squared error"]


def test_each_descent_has_a_panel_with_curve_path_start_and_end(tmp_path, drawn):
    curve = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    descents = {"plain": (np.array([5.0, 6.0]), np.array([7.0, 4.5])), "fast": (np.array([5.0]), np.array([7.0]))}
    explain.plot_momentum(tmp_path / "a.png", curve, descents)
    plain, fast = drawn[0].axes
    assert (plain.get_title(), fast.get_title()) == ("plain", "fast")
    assert list(map(points, plain.lines)) == [[[0, 2], [1, 3]], [[5, 7], [6, 4.5]], [[5, 7]], [[6, 4.5]]]
    assert [text.get_text() for text in plain.get_legend().texts] == [
        "loss",
        "after each step",
        "start",
        "end: loss 4.50",
    ]


def test_each_polynomial_has_a_panel_with_its_errors(tmp_path, drawn):
    grid = np.array([0.0, 1.0])
    samples, truth = (np.array([0.5]), np.array([0.25])), (grid, np.array([1.0, 2.0]))
    curves = {"degree 1": np.array([3.0, 4.0]), "degree 2": np.array([5.0, 6.0])}
    explain.plot_polynomials(tmp_path / "a.png", samples, truth, curves, {"degree 1": (0.5, 0.25), "degree 2": (0, 1)})
    first, second = drawn[0].axes
    assert list(map(points, first.lines)) == [[[0, 1], [1, 2]], [[0, 3], [1, 4]], [[0.5, 0.25]]]
    assert points(second.lines[1]) == [[0, 5], [1, 6]]
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["cosine", "fit", "noisy samples"]
    assert first.get_title() == "degree 1\nerror on samples 0.50, against cosine 0.25"


def test_folds_have_the_role_of_each_part_in_each_round_from_the_top(tmp_path, drawn):
    explain.plot_folds(tmp_path / "a.png", {"one": np.array([[0, 1], [2, 0]]), "two": np.array([[1]])})
    first, second = drawn[0].axes
    roles = {text.get_position(): text.get_text() for text in first.texts}
    assert roles == {(0.5, 1.5): "training", (1.5, 1.5): "validation", (0.5, 0.5): "test", (1.5, 0.5): "training"}
    assert [text.get_text() for text in first.get_yticklabels()] == ["round 2", "round 1"]
    assert first.collections[0].get_array().tolist() == [[2, 0], [0, 1]]  # from the bottom
    assert second.texts[0].get_text() == "validation"
    assert [text.get_text() for text in drawn[0].legends[0].texts] == ["training", "validation", "test"]


def test_the_roles_can_be_told_apart_in_grey():
    light = [np.dot(to_rgb(colour), (0.299, 0.587, 0.114)) for colour in explain.ROLE_COLOURS]
    assert light[0] - light[1] > 0.15 < light[1] - light[2]


def test_dropout_stages_are_images_with_their_mean_and_fraction_of_zeros(tmp_path, drawn):
    stages = {"before": np.array([[1.0, 3.0]]), "after": np.array([[0.0, 6.0]])}
    explain.plot_dropout(tmp_path / "a.png", stages)
    before, after = drawn[0].axes[:2]
    assert before.get_title() == "before\nmean 2.00, 0% zeros"
    assert after.get_title() == "after\nmean 3.00, 50% zeros"
    assert before.images[0].get_array().tolist() == [[1, 3]]
    assert after.images[0].get_array().mask.tolist() == [[True, False]]
    assert before.images[0].get_clim() == after.images[0].get_clim() == (0, 6)
    assert before.images[0].get_extent() == [0.5, 2.5, 1.5, 0.5]  # samples and units count from 1
    assert (before.get_xlabel(), before.get_ylabel()) == ("unit", "sample")
