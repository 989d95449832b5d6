"""The result of a search as a table, a plot and a few lines."""

from dataclasses import replace

from k3torch import InputError, SearchResult
from k3torch.validation.result import CrossValidation
from k3torch.validation.search_result import OuterFold
import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")


@pytest.fixture
def found():
    scores = np.array([[[3.0, 5.0]], [[1.0, 2.0]], [[2.0, 4.0]]])
    indices = [(np.arange(4), np.arange(4, 8)), (np.arange(4, 8), np.arange(4))]
    history = {name: np.ones((1, 2, 9)) for name in ("loss", "mae", "val_loss", "val_mae")}
    ensemble = CrossValidation(scores[1], "mae", False, history, [], indices, np.zeros((8, 1)), "stacked")
    params = [{"rate": rate, "units": units} for rate, units in ((1e-4, 4), (1e-2, 4), (1.0, 8))]
    return SearchResult(
        params, scores, np.array([9, 9, 3]), np.array([1.0, 2.0, 3.0]), 1, None, ensemble, 1.5,
        [
            OuterFold({"rate": 1.0}, 9, 1.0, 2.0, np.arange(4), np.full((4, 1), 5.0)),
            OuterFold({"rate": 1e-2}, 8, 1.25, 3.0, np.arange(3, 7), np.full((4, 1), 7.0)),
        ],
    )  # fmt: skip


def test_the_table_has_the_best_first(found):
    frame = found.to_frame()
    assert frame.index.tolist() == [1, 2, 0]
    assert frame.columns.tolist() == ["rate", "units", "mean", "std", "low", "high", "epochs", "seconds"]
    assert frame["mean"].tolist() == [1.5, 3.0, 4.0]
    assert frame.loc[2, ["rate", "epochs", "seconds"]].tolist() == [1.0, 3, 3.0]
    assert frame.loc[1, "low"] == found.interval(1).low < 1.5 < frame.loc[1, "high"]


def test_the_best(found):
    assert (found.metric, found.greater_is_better) == ("mae", False)
    assert (found.best_params, found.best_score) == ({"rate": 1e-2, "units": 4}, 1.5)


def test_the_scores_of_the_outer_folds(found):
    assert found.outer_scores.tolist() == [2.0, 3.0]
    assert found.outer_params == [{"rate": 1.0}, {"rate": 1e-2}]
    np.testing.assert_array_equal(found.outer_predictions[:, 0], [5, 5, 5, 6, 7, 7, 7, np.nan])
    plain = replace(found, outer=None)
    assert (plain.outer_scores, plain.outer_params, plain.outer_predictions) == (None, None, None)
    assert "outer folds" not in repr(plain)


def test_a_few_lines_say_what_was_found(found):
    lines = repr(found).splitlines()
    assert len(lines) <= 9
    assert lines[0] == "SearchResult: 3 candidates, 2 folds, 1 repeat; mae, mean and 95% confidence interval"
    assert lines[1].startswith("  1.5 (")
    assert lines[1].endswith("epochs 9: rate=0.01, units=4")
    assert "  outer folds: mean 2.5 of 2, not biased by the selection" in lines


def test_the_plot_shows_each_candidate_by_a_parameter(found):
    axes = found.plot()
    assert axes.get_xlabel() == "rate"
    assert axes.get_xscale() == "log"
    assert axes.containers[0].lines[0].get_xdata().tolist() == [1e-4, 1e-2, 1.0]
    assert axes.containers[0].lines[0].get_ydata().tolist() == [4.0, 1.5, 3.0]
    assert found.plot("units").get_xscale() == "linear"
    with pytest.raises(InputError, match="expected parameter as one of 'rate', 'units', got 'rates', did you mean"):
        found.plot("rates")
