"""Scores of simple models on given folds, and the line about a network that is no better."""

import warnings

from k3torch.errors import InputError
from k3torch.validation.baselines import baseline_warning, baselines, baselines_with_test
from k3torch.validation.folds import make_repeats
import numpy as np
import pytest

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)) * [1, 100, 1e-3] + [0, 1000, 0]
Y = 1000 * (3 * X[:, 0] + X[:, 1] / 50)
SPLITS = make_repeats(4, X, Y, repeats=2, seed=1)


def test_regression():
    found = baselines(X, Y, SPLITS, task="regression")
    assert list(found) == ["the median", "ridge regression", "gradient boosting"]
    assert all(scores.shape == (2, 4) for scores in found.values())
    expected = [
        [np.abs(Y[validation] - np.median(Y[training])).mean() for training, validation in folds] for folds in SPLITS
    ]
    np.testing.assert_allclose(found["the median"], expected)
    assert (found["ridge regression"] < 50).all()  # the target is linear, of deviation 3,600
    assert (found["gradient boosting"] < found["the median"]).all()


def test_classification():
    classes = (X[:, 0] > 0.3).astype("int64")
    found = baselines(X, classes, SPLITS, task="classification")
    assert list(found) == ["the most frequent class", "logistic regression", "gradient boosting"]
    expected = [[(classes[validation] == 0).mean() for _, validation in folds] for folds in SPLITS]
    np.testing.assert_allclose(found["the most frequent class"], expected)
    assert (found["logistic regression"] >= 0.8).all()


def test_the_test_samples_are_predicted_from_all_training_samples():
    splits = make_repeats(4, X[:90], Y[:90])
    found = baselines_with_test((X[:90], Y[:90]), (X[90:], Y[90:]), splits, task="regression")
    expected = baselines(X[:90], Y[:90], splits, task="regression")
    for name, (scores, _) in found.items():
        np.testing.assert_array_equal(scores, expected[name])
    assert found["the median"][1] == pytest.approx(np.abs(Y[90:] - np.median(Y[:90])).mean())


def test_only_the_training_samples_of_a_fold_are_used():
    changed = Y.copy()
    training, validation = SPLITS[0][0]
    changed[validation] += 1e6
    one_fold = [[(training, validation)]]
    before, after = (baselines(X, y, one_fold, task="regression") for y in (Y, changed))
    for name in before:
        np.testing.assert_allclose(after[name], 1e6 + before[name], rtol=0.05)
    far = X.copy()
    far[validation] = 1e9  # would change the scale of the inputs if it were not that of the training samples
    assert baselines(far, Y, one_fold, task="regression")["ridge regression"][0, 0] > 1e9


def test_the_seed_repeats_and_a_column_of_targets_is_one_target():
    first, second = (baselines(X, y, SPLITS, task="regression", seed=3) for y in (Y, Y[:, None]))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_sample_weights_reach_each_model():
    weights = np.where(X[:, 0] > 0, 1.0, 0.0)
    both = [[(np.arange(100), np.arange(100, 120))]]
    positive = [[(np.flatnonzero(weights[:100]), np.arange(100, 120))]]
    weighted = baselines(X, Y, both, task="regression", sample_weight=weights)
    assert weighted["the median"] == pytest.approx(baselines(X, Y, positive, task="regression")["the median"], rel=0.05)
    unweighted = baselines(X, Y, both, task="regression")
    assert all(weighted[name] != unweighted[name] for name in weighted)


def test_warnings_are_silent_and_failures_are_nan(capfd):
    one_class = np.zeros(120, dtype="int64")
    one_class[119] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = baselines(X, one_class, [[(np.arange(100), np.arange(100, 120))]], task="classification")
        baselines(np.zeros((120, 2)), Y, SPLITS, task="regression")
        baselines(X * 1e30, Y * 1e30, SPLITS, task="regression")
    assert found["the most frequent class"].item() == 0.95
    assert np.isnan(found["logistic regression"]).all()
    assert capfd.readouterr() == ("", "")


def test_one_sample_of_a_class_is_nan_and_other_failures_are_raised(monkeypatch):
    x, y = np.tile(X, (90, 1)), np.zeros(10_800, dtype="int64")
    y[1:3000] = 1
    y[0] = 2  # from 10,000 samples on, gradient boosting divides them to stop early
    found = baselines(x, y, [[(np.arange(10_500), np.arange(10_500, 10_800))]], task="classification")
    assert np.isnan(found["gradient boosting"]).all()
    assert found["the most frequent class"].item() == 1

    def fail(*args):
        raise ValueError("another cause")

    monkeypatch.setattr("sklearn.dummy.DummyClassifier.fit", fail)
    with pytest.raises(ValueError, match="another cause"):
        baselines(X, np.arange(120) % 2, SPLITS, task="classification")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "auto"}, "expected task as one of 'regression', 'classification', got 'auto'"),
        ({"seed": -1}, "expected seed as a whole number"),
        ({"x": X[:, 0]}, r"expected features of shape \(samples, features\), got \(120,\)"),
        ({"x": X * np.nan}, "expected finite float32 numbers as x, got nan in sample 0"),
        ({"x": X.astype(str)}, "expected numbers as x, got '.*' in sample 0"),
        ({"y": np.where(np.arange(120) == 7, np.nan, Y)}, "expected finite float32 numbers as y, got nan in sample 7"),
        ({"y": ["a"] * 120, "task": "classification"}, "expected numbers as y, got 'a' in sample 0"),
        ({"sample_weight": [np.inf] * 120}, "expected finite float32 numbers as sample_weight, got inf in sample 0"),
        ({"sample_weight": [-1.0] * 120}, "expected sample_weight of 0 or more"),
        ({"y": Y[:5]}, r"expected a target of shape \(120,\), got \(5,\)"),
        ({"sample_weight": [1.0]}, r"expected sample_weight of shape \(120,\)"),
        ({"splits": []}, "expected as many folds in each repeat, and one or more"),
    ],
)
def test_bad_arguments(change, message):
    with pytest.raises(InputError, match=message):
        baselines(**{"x": X, "y": Y, "splits": SPLITS, "task": "regression"} | change)


ERRORS = {"the median": [[80000.0, 90000.0]], "ridge regression": [[30000.0, 39882.0]], "broken": [[1.0, np.nan]]}


@pytest.mark.parametrize(
    ("scores", "line"),
    [
        ([[34000.0, 34540.0]], None),
        (
            [[30000.0, 42200.0]],
            "the network's mean error 36,100 is not lower than that of ridge regression, 34,941: prefer "
            "ridge regression",
        ),
        (
            [[34941.0, 34941.0]],
            "the network's mean error 34,941 is not lower than that of ridge regression, 34,941: prefer "
            "ridge regression",
        ),
        (
            [[34941.0, 34941.2]],
            "the network's mean error 34,941.1 is not lower than that of ridge regression, 34,941.0: prefer "
            "ridge regression",
        ),
        (
            [[np.nan, 1.0]],
            "the network's mean error nan is not lower than that of ridge regression, 34,941: prefer ridge regression",
        ),
    ],
)
def test_the_line_about_errors(scores, line):
    assert baseline_warning(scores, ERRORS, task="regression") == line


def test_the_line_about_accuracies():
    compared = {"the most frequent class": [[0.5, 0.5]], "gradient boosting": [[0.8, 0.9]]}
    assert baseline_warning([[0.86, 0.86]], compared, task="classification") is None
    assert baseline_warning([[0.8, 0.88]], compared, task="classification") == (
        "the network's mean accuracy 0.84 is not higher than that of gradient boosting, 0.85: prefer gradient boosting"
    )
    assert baseline_warning([[0.5]], {"broken": [[np.nan]]}, task="classification") is None
