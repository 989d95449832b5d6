"""What simpler models reach on the folds of a cross-validation: a network that is no better is not worth its cost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
import warnings

from k3torch.data.arrays import finite_array
from k3torch.errors import choice_problem, refuse, seed_problem, unless
from k3torch.validation.folds import Split
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

Float = NDArray[np.float64]
Task = Literal["regression", "classification"]

_ALPHAS = np.logspace(-3, 3, 13)  # penalties that ridge regression chooses from, by leave-one-out inside the fold


def _regressors(seed: int) -> dict[str, Any]:
    return {
        "the median": DummyRegressor(strategy="median"),
        "ridge regression": make_pipeline(StandardScaler(), RidgeCV(_ALPHAS)),
        "gradient boosting": HistGradientBoostingRegressor(random_state=seed),
    }


def _classifiers(seed: int) -> dict[str, Any]:
    return {
        "the most frequent class": DummyClassifier(strategy="most_frequent"),
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "gradient boosting": HistGradientBoostingClassifier(random_state=seed),
    }


def baselines(
    x: ArrayLike,
    y: ArrayLike,
    splits: Sequence[Sequence[Split]],
    *,
    task: Task,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
) -> dict[str, Float]:
    """Return the scores of scikit-learn's simple models, trained and validated on the same folds as a network.

    Args:
        x: features, (samples, features). Inputs of linear models are standardised with the training samples of each
            fold, and no others.
        y: the target, (samples,) or (samples, 1); for classification the number of the class.
        splits: (training indices, validation indices) of each fold of each repeat, as ``make_repeats`` returns them.
        task: "regression": the median, ridge regression and gradient boosting. "classification": the most frequent
            class, logistic regression and gradient boosting.
        seed: of gradient boosting.
        sample_weight: (samples,), weights of the training samples. Scores are not weighted, as Keras's metrics.

    Returns:
        For each model its scores, (repeats, folds): the mean absolute error in the unit of the target, or the
        accuracy. NaN where a classifier cannot be fitted because the training samples have one class, or one sample of
        a class.

    Raises:
        InputError: for another task or seed, arrays of wrong shapes, texts and other objects, or numbers that are not
            finite in float32.
    """
    refuse([choice_problem("task", task, ("regression", "classification")), seed_problem(seed)])
    x, y, weights = _checked(x, y, splits, sample_weight)
    models, score = (_regressors(seed), _mean_error) if task == "regression" else (_classifiers(seed), _accuracy)
    with threadpool_limits(1):  # on small folds threads wait for each other, up to 20 times as long on busy cores
        return {
            name: np.array([[_score(model, x, y, weights, split, score) for split in folds] for folds in splits])
            for name, model in models.items()
        }


def baselines_with_test(
    training: tuple[Float, NDArray[Any]],
    test: tuple[Float, NDArray[Any]],
    splits: Sequence[Sequence[Split]],
    *,
    task: Task,
    seed: int = 0,
) -> dict[str, tuple[Float, float]]:
    """Return for each simple model its scores on the folds, (repeats, folds), and its score on the test samples.

    The score on the test samples is that of a model that was trained on all training samples.

    Args:
        training: features, (samples, features), and target, (samples,).
        test: features and target of the test samples.
        splits: of the training samples, as for ``baselines``.
        task: as for ``baselines``.
        seed: of gradient boosting.

    Raises:
        InputError: as ``baselines``.
    """
    x, y = (np.concatenate(parts) for parts in zip(training, test, strict=True))
    whole = np.arange(len(y))
    last = [[(whole[: len(training[1])], whole[len(training[1]) :])]]
    validated = baselines(*training, splits, task=task, seed=seed)
    tested = baselines(x, y, last, task=task, seed=seed)
    return {name: (scores, tested[name].item()) for name, scores in validated.items()}


def _checked(
    x: ArrayLike, y: ArrayLike, splits: Sequence[Sequence[Split]], sample_weight: ArrayLike | None
) -> tuple[Float, NDArray[Any], Float | None]:
    features, target = finite_array("x", x).astype("float64"), finite_array("y", y)
    target = target[:, 0] if target.ndim == 2 and target.shape[1] == 1 else target
    weights = None if sample_weight is None else finite_array("sample_weight", sample_weight).astype("float64")
    samples = len(features)
    refuse([
        unless(features.ndim == 2, f"features of shape (samples, features), got {features.shape}"),
        unless(target.shape == (samples,), f"a target of shape ({samples},), got {target.shape}"),
        unless(weights is None or weights.shape == (samples,), f"sample_weight of shape ({samples},)"),
        unless(weights is None or (weights >= 0).all(), "sample_weight of 0 or more"),
        unless(len({len(folds) for folds in splits}) == 1, "as many folds in each repeat, and one or more"),
    ])  # fmt: skip
    return features, target, weights


def _score(
    model: Any, x: Float, y: NDArray[Any], weights: Float | None, split: Split, score: Callable[[Any, Any], float]
) -> float:
    training, validation = split
    weight = {} if weights is None else {_weight_name(model): weights[training]}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a linear model that has not converged is still a baseline
        try:
            model.fit(x[training], y[training], **weight)
            return score(model.predict(x[validation]), y[validation])
        except ValueError:
            samples = np.unique(y[training], return_counts=True)[1]
            if is_classifier(model) and (len(samples) == 1 or samples.min() == 1):
                return float("nan")  # gradient boosting of many samples needs two of each class, to stop early
            raise


def _weight_name(model: Any) -> str:
    return f"{model.steps[-1][0]}__sample_weight" if hasattr(model, "steps") else "sample_weight"


def _mean_error(predicted: Float, true: Float) -> float:
    return float(np.abs(predicted - true).mean())


def _accuracy(predicted: NDArray[Any], true: NDArray[Any]) -> float:
    return float((predicted == true).mean())


def baseline_warning(scores: ArrayLike, compared: Mapping[str, ArrayLike], *, task: Task) -> str | None:
    """Return one line if the network is not better than the best baseline, by the means over folds and repeats.

    Args:
        scores: of the network, (repeats, folds): mean absolute errors or accuracies.
        compared: the scores of the baselines, as ``baselines`` returns them; those with a NaN are left out.
        task: "regression", where the lower mean is better, or "classification", where the higher is.
    """
    means = {name: float(np.asarray(values).mean()) for name, values in compared.items() if np.isfinite(values).all()}
    if not means:
        return None
    network = float(np.asarray(scores).mean())
    if task == "regression":
        best = min(means, key=means.__getitem__)
        better, kind, order = network < means[best], "error", "lower"
    else:
        best = max(means, key=means.__getitem__)
        better, kind, order = network > means[best], "accuracy", "higher"
    if better:
        return None
    own, other = _shown_apart(network, means[best])
    return f"the network's mean {kind} {own} is not {order} than that of {best}, {other}: prefer {best}"


def _shown_apart(first: float, second: float) -> tuple[str, str]:
    """Return both numbers with four digits, or more where they look the same without being it."""
    for digits in range(4, 17):
        shown = tuple(_shown(value, digits) for value in (first, second))
        if shown[0] != shown[1]:
            break
    else:
        shown = (_shown(first, 4), _shown(second, 4))
    return shown[0], shown[1]


def _shown(value: float, digits: int) -> str:
    whole = len(f"{abs(value):.0f}") if np.isfinite(value) else 0
    return f"{value:,.{max(digits - whole, 0)}f}" if 1 <= abs(value) < 1e15 else f"{value:.{digits}g}"
