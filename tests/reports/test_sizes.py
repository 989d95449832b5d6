from k3torch.models.builders import boston_regressor
from k3torch.reports import sizes
from k3torch.reports.benchmark import JOBS
from k3torch.reports.sizes import GRID, Size, plot_sizes, size_tables
import pytest

JOB = JOBS["sizes"]


def results(scale=1.0, steady=0.002, without=()):
    """Return the results of one round."""
    found = {
        "k3torch-cached": {"seconds": 0.5 * scale, "steady seconds": steady},
        "k3torch-cold": {"seconds": 3.0 * scale, "steady seconds": None},
        "jax": {"seconds": 1.0 * scale, "steady seconds": 0.004},
        "keras-fit": {"seconds": 40.0 * scale, "steady seconds": 2.0},
    }
    return {name: found[name] for name in found if name not in without}


def test_a_size_counts_weights_updates_and_work():
    size = Size(samples=404, features=13, width=64, batch=16, folds=4, epochs=100)
    assert size.weights == boston_regressor(13).count_params()
    assert size.training_samples == 303
    assert size.updates == 4 * 19  # the last batch is shorter
    assert size.work == size.weights * 303 * 100 * 4


def test_the_folds_of_the_grid_are_equal():
    """The contender in JAX trains them side by side."""
    assert len(set(GRID)) == len(GRID) == 8
    assert [size.samples % size.folds for size in GRID] == [0] * 8


def test_tables_have_medians_and_ratios_within_rounds():
    found = size_tables(JOB, {2: [results(), results(2), results(3, steady=0.003)]})
    assert found == {
        "seconds of the whole job": [
            {"line: size": "2: 404 13 64 16 4 100", "k3torch cached": "1.00", "k3torch cold": "6.00", "JAX": "2.00",
             "Keras": "80"},
        ],
        "seconds of the whole job, divided by JAX's": [
            {"line": "2", "k3torch cached": "0.50 (0.50 to 0.50)", "k3torch cold": "3.00 (3.00 to 3.00)",
             "Keras": "40 (40 to 40)"},
        ],
        "microseconds per update after start-up": [  # 76 updates an epoch
            {"line: size": "2: 404 13 64 16 4 100", "k3torch cached": "26", "JAX": "53", "Keras": "26,316"},
        ],
        "microseconds per update after start-up, divided by JAX's": [
            {"line": "2", "k3torch cached": "0.50 (0.50 to 0.75)", "Keras": "500 (500 to 500)"},
        ],
    }  # fmt: skip


def test_without_jax_the_ratios_are_to_this_project():
    found = size_tables(JOB, {1: [results(without=["jax"])]})
    (row,) = found["seconds of the whole job, divided by k3torch cached's"]
    assert row == {"line": "1", "k3torch cold": "6.00 (6.00 to 6.00)", "Keras": "80 (80 to 80)"}


def test_one_contender_has_no_table_of_ratios():
    found = size_tables(JOB, {1: [results(without=["k3torch-cold", "jax", "keras-fit"])]})
    assert list(found) == ["seconds of the whole job", "microseconds per update after start-up"]


def test_what_was_not_measured_on_a_line_is_empty():
    found = size_tables(JOB, {1: [results()], 6: [results(steady=None)]})
    values, ratios = list(found.values())[2:]
    assert [row["k3torch cached"] for row in values] == ["1.65", ""]
    assert [row["k3torch cached"] for row in ratios] == ["0.50 (0.50 to 0.50)", ""]


def test_the_plot_has_a_line_per_contender_in_order_of_size(tmp_path, drawn):
    plot_sizes(tmp_path / "a.png", JOB, {7: [results(10)], 2: [results()], 5: [results(5)]}, "Cross-validation")
    whole, steady = drawn[0].axes
    assert drawn[0].get_suptitle() == "Cross-validation"
    curves = {line.get_label(): line for line in whole.lines}
    assert list(curves) == ["k3torch cached", "k3torch cold", "JAX", "Keras", "numbers: lines of the table"]
    assert list(curves["JAX"].get_xdata()) == [GRID[i - 1].work for i in (2, 7, 5)] == sorted(curves["JAX"].get_xdata())
    assert list(curves["JAX"].get_ydata()) == [1.0, 10.0, 5.0]
    assert [len(axes.lines) for axes in (whole, steady)] == [5, 3]  # k3torch cold has no epoch after start-up
    assert list(steady.lines[0].get_xdata()) == [GRID[i - 1].weights * GRID[i - 1].batch for i in (2, 7, 5)]
    assert list(steady.lines[0].get_ydata()) == pytest.approx([2e3 / GRID[i - 1].updates for i in (2, 7, 5)])
    assert {axes.get_xscale() for axes in (whole, steady)} == {axes.get_yscale() for axes in (whole, steady)} == {"log"}
    assert whole.get_ylim() == (0.1, 1000)  # whole decades around 0.5 and 400
    assert [(text.get_text(), text.xy) for text in whole.texts] == [
        (str(i), (GRID[i - 1].work, 40.0 * scale)) for i, scale in ((2, 1), (7, 10), (5, 5))
    ]
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == list(curves)


def test_each_contender_has_its_colour_and_marker():
    assert len(sizes.STYLES) >= len(JOB.contenders)
    assert len({part for style in sizes.STYLES for part in style}) == 2 * len(sizes.STYLES)


def test_the_plot_of_one_line_without_steady_epochs_has_labelled_axes(tmp_path, drawn):
    plot_sizes(tmp_path / "a.png", JOB, {6: [results(steady=None, without=["jax", "keras-fit"])]}, "Cross-validation")
    whole, steady = drawn[0].axes
    assert whole.get_xlim() == pytest.approx((1e11, 1e12))
    assert whole.get_ylim() == pytest.approx((0.1, 10))
    assert not steady.lines


def test_ticks_of_logarithmic_axes_are_powers_of_ten(tmp_path):
    plot_sizes(tmp_path / "sizes.svg", JOB, {2: [results()], 5: [results(3)]}, "Sizes")
    assert ">$" not in (tmp_path / "sizes.svg").read_text()  # as it would be if drawn as it is
