"""Charts of histories: which curves, where their points are, and which values are shown."""

from k3torch.reports.curve_charts import BANDS, BOX, POINTS, charts_of
import numpy as np
import pytest

LEFT, RIGHT, TOP, BOTTOM = (BOX[name] for name in ("left", "right", "top", "bottom"))


def history(**curves):
    length = max(map(len, curves.values()))
    return [{"epoch": i + 1, **{name: values[i] for name, values in curves.items()}} for i in range(length)]


def coordinates(points):
    return [tuple(map(float, point.split(","))) for point in points.split()]


def test_a_metric_has_a_chart_with_training_and_validation_and_the_loss_is_first():
    rows = history(accuracy=[0.5, 0.75], loss=[1.0, 0.5], val_accuracy=[0.25, 0.5], val_loss=[2.0, 1.5])
    charts = charts_of([row | {"seconds": 1.0, "learning_rate": 0.1} for row in rows])
    assert [chart.title for chart in charts] == ["loss", "accuracy"]
    assert [[line.name for line in chart.lines] for chart in charts] == [["training", "validation"]] * 2
    assert charts[0].summary == "training: 1 to 0.5; validation: 2 to 1.5"


def test_points_are_in_proportion_to_the_values():
    (chart,) = charts_of(history(loss=[1.0, 0.0, 0.5], val_loss=[0.5, 0.5, 0.5]))
    training, validation = (coordinates(points) for line in chart.lines for points in line.points)
    assert [x for x, _ in training] == [LEFT, (LEFT + RIGHT) / 2, RIGHT]
    high, low, middle = (y for _, y in training)
    assert (low - TOP) / (BOTTOM - TOP) == pytest.approx(1 - 0.05 / 1.1, abs=1e-3)  # a margin of 5%
    assert middle == pytest.approx((high + low) / 2)
    assert {y for _, y in validation} == {middle}
    for y, text in chart.y_ticks:
        assert y == pytest.approx(low + float(text) * (high - low), abs=0.2)
    assert [text for _, text in chart.x_ticks] == ["1", "2", "3"]


def test_each_epoch_shows_its_values():
    (chart,) = charts_of(history(loss=[1.0, 0.123456], val_loss=[0.5, 1234.5]))
    assert [(band.epoch, [text for *_, text in band.values]) for band in chart.bands] == [
        (1, ["1", "0.5"]),
        (2, ["0.1235", "1,234"]),
    ]
    assert chart.bands[0].left + chart.bands[0].width == pytest.approx(chart.bands[1].left)
    assert chart.bands[1].values[1][1] == chart.lines[1].y  # beside the name of the curve


def test_models_are_averaged_and_their_range_is_a_band():
    rows = [{"repeat": 1, "fold": f, "epoch": e, "val_mae": 10.0 * f + e} for f in (1, 2) for e in (1, 2)]
    (chart,) = charts_of(rows)
    (line,) = chart.lines
    assert (chart.title, line.name) == ("mae", "validation")
    assert [text for *_, text in chart.bands[0].values] == ["16 (11 to 21)"]
    (band,), (mean,) = line.band, line.points
    corners, middle = coordinates(band), coordinates(mean)
    assert len(corners) == 4
    assert corners[0][1] < middle[0][1] < corners[3][1]


def test_candidates_and_variants_are_curves_of_one_chart():
    (chart,) = charts_of([{"candidate": name, "epoch": 1, "val_mae": 1.0} for name in ("small", "l2")])
    assert [line.name for line in chart.lines] == ["small", "l2"]
    rows = history(**{"a training": [1.0], "a validation": [2.0], "b training": [3.0], "b validation": [4.0]})
    assert [(c.title, [line.name for line in c.lines]) for c in charts_of(rows)] == [
        ("training", ["a", "b"]),
        ("validation", ["a", "b"]),
    ]


def test_more_curves_than_colours_differ_in_their_dashes():
    (chart,) = charts_of(history(**{f"{i} training": [1.0] for i in range(20)}))
    assert len({(line.colour, line.dash) for line in chart.lines}) == 20
    assert chart.height > chart.lines[-1].y


def test_missing_values_divide_a_line():
    (chart,) = charts_of(history(loss=[1.0, np.nan, 0.5, np.inf], val_loss=[1.0, 2.0, 3.0, 4.0]))
    assert [len(coordinates(points)) for points in chart.lines[0].points] == [1, 1]
    assert chart.bands[1].values[0][2:] == (None, "no value")


def test_nothing_finite_and_nothing_at_all_are_no_charts():
    assert charts_of(history(loss=[np.nan, np.inf])) == []
    assert charts_of([]) == charts_of([{"loss": 1.0}]) == []


@pytest.mark.parametrize("values", [[0.0], [5.0, 5.0], [1e-9, 3e-9], [-1e12, 1e12]])
def test_every_range_has_ticks_inside_of_the_chart(values):
    (chart,) = charts_of(history(loss=values))
    assert chart.y_ticks
    assert all(TOP <= y <= BOTTOM for y, _ in chart.y_ticks)
    assert len({text for _, text in chart.y_ticks}) == len(chart.y_ticks)


def test_high_first_epochs_of_a_long_run_are_outside_of_the_range():
    falling = [100.0] * 5 + [2.0] * 45 + [1.0] * 10
    (chart,) = charts_of(history(loss=falling))
    assert chart.clipped
    assert coordinates(chart.lines[0].points[0])[0][1] < TOP
    assert chart.bands[0].values[0][2:] == (None, "100")
    assert not charts_of(history(loss=falling[:40]))[0].clipped


def test_a_very_long_run_is_thinned_out_and_keeps_its_last_epoch():
    (chart,) = charts_of(history(loss=np.linspace(1, 0, 10_001)))
    assert len(coordinates(chart.lines[0].points[0])) <= POINTS + 1
    assert len(chart.bands) <= BANDS + 1
    assert (chart.bands[-1].epoch, chart.bands[-1].values[0][-1]) == (10_001, "0")


@pytest.mark.parametrize(("best", "marked"), [(2, (RIGHT, 2)), (None, None), (3, None)])
def test_the_best_epoch_is_marked_if_it_is_in_the_chart(best, marked):
    assert charts_of(history(loss=[1.0, 2.0]), best)[0].best == marked
