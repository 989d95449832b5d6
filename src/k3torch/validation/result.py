"""The result of a cross-validation: scores, learning curves, models, predictions, and a confidence interval."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from k3torch.errors import InputError, choice_problem, refuse, unless
from k3torch.validation import result_files, result_views
from k3torch.validation.arguments import convert_features, feature_names
from k3torch.validation.curves import best_epoch
from k3torch.validation.folds import Split
from k3torch.validation.predictions import mean_prediction
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

if TYPE_CHECKING:  # imported when they are used
    from matplotlib.axes import Axes
    import pandas as pd


def score_index(metric_names: Sequence[str]) -> int:
    """Return the position of the metric that is the score: the first after the loss, or the loss if it is alone."""
    return min(1, len(metric_names) - 1)


@dataclass(frozen=True)
class Interval:
    """Confidence interval of the mean score; ``method`` says how it was computed."""

    low: float
    high: float
    method: str


def mean_interval(scores: NDArray[np.float64], validation_ratio: float) -> Interval:
    """Return the 95% confidence interval of the mean of scores, as ``CrossValidation.interval``."""
    n, mean = scores.size, float(scores.mean())
    std = float(scores.std(ddof=1)) if n > 1 else float("nan")
    method = f"95%, Student's t over {n} scores, variance corrected for overlapping training samples (Nadeau, Bengio)"
    half_width = float(stats.t.ppf(0.975, n - 1)) * std * float(np.sqrt(1 / n + validation_ratio))
    return Interval(mean - half_width, mean + half_width, method)


@dataclass(frozen=True, repr=False, eq=False)
class CrossValidation:
    """Scores, learning curves, models and predictions of all folds and repeats.

    Attributes:
        scores: (repeats, folds), the first metric, or the loss of a model without metrics, of the returned models on
            their validation samples: after the last epoch, or with the weights that a callback has put back.
        metric: name of that metric.
        greater_is_better: whether a higher score is better; None if Keras does not say it of this metric.
        history: metric name to (repeats, folds, epochs); names of validation metrics start with ``val_``. Epochs that
            a callback or an interrupt cut off are NaN.
        models: the trained Keras models, fold by fold of the first repeat, then of the next. They take x as
            ``cross_validate`` got it.
        indices: for each model the numbers of its training samples and of its validation samples.
        out_of_fold: (samples, outputs), float64: the prediction of each sample by the models that have it as a
            validation sample, averaged over the repeats. NaN for a sample that is in no validation fold, and if the
            cross-validation was interrupted. As in ``predict``, logits become probabilities.
        engine: "stacked" or "fit", the one that trained them.
        feature_names: the columns of x, if it was a DataFrame.
    """

    scores: NDArray[np.float64]
    metric: str
    greater_is_better: bool | None
    history: dict[str, NDArray[np.float64]]
    models: list[keras.Model]
    indices: list[Split]
    out_of_fold: NDArray[np.float64]
    engine: str
    feature_names: list[str] | None = None

    @property
    def mean(self) -> float:
        """Mean score over folds and repeats."""
        return float(self.scores.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the scores (divisor n - 1), NaN for one score."""
        return float(self.scores.std(ddof=1)) if self.scores.size > 1 else float("nan")

    @property
    def validation_ratio(self) -> float:
        """Validation samples per training sample, mean over the folds."""
        return float(np.mean([len(validation) / len(training) for training, validation in self.indices]))

    @property
    def interval(self) -> Interval:
        """95% confidence interval of the mean, corrected for the overlap of the training samples of the folds.

        Student's t with n - 1 degrees of freedom; the variance of the mean is
        ``(1/n + validation_ratio) std**2`` (Nadeau and Bengio, "Inference for the generalization error", Machine
        Learning 52, 2003). NaN for one score.
        """
        return mean_interval(self.scores, self.validation_ratio)

    @property
    def best_epoch(self) -> int:
        """The epoch, from 1, with the best mean validation score, smoothed as in ``curves.best_epoch``.

        If ``greater_is_better`` is None, the epoch with the lowest mean validation loss. Only epochs that all models
        were trained for count.
        """
        name = "loss" if self.greater_is_better is None else self.metric
        curves = self.history[f"val_{name}"]
        return best_epoch((-curves if self.greater_is_better else curves).mean(axis=(0, 1)))

    def at_epoch(self, epoch: int) -> "CrossValidation":
        """Return the same result with the scores after an epoch, from 1; the models stay those of the end."""
        return replace(self, scores=self.history[f"val_{self.metric}"][..., epoch - 1])

    def predict(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the mean of the models' predictions.

        Args:
            x: (samples, ...), in the units of the x that ``cross_validate`` got; an array or a SciPy sparse matrix, for
                models that take both as ``SparseDense`` does. The columns of a DataFrame must have
                the names and the order that they had there.

        Returns:
            (samples, outputs). Logits, the outputs of a model whose loss has ``from_logits=True``, become
            probabilities before they are averaged.

        Raises:
            InputError: for samples that the models cannot take.
        """
        names = feature_names(x)
        if names is not None and self.feature_names is not None and names != self.feature_names:
            expected = ", ".join(self.feature_names)
            raise InputError(f"expected the columns {expected}, in this order, got {', '.join(names)}")
        inputs = convert_features(x)
        refuse([unless(inputs.shape[0], "x with at least one sample, got none")])
        shape = getattr(self.models[0], "input_shape", None)
        if shape is not None and (
            len(shape) != inputs.ndim or any(a not in (None, b) for a, b in zip(shape, inputs.shape, strict=True))
        ):
            raise InputError(f"expected x of shape {shape}, got shape {inputs.shape}")
        return mean_prediction(self.models, inputs)

    def to_frame(self) -> "pd.DataFrame":
        """Return the history as a tidy pandas DataFrame: repeat, fold and epoch, from 1, metric and value."""
        return result_views.frame(self.history)

    def plot(self, metric: str | None = None, ax: "Axes | None" = None) -> "Axes":
        """Draw the learning curves of a metric: their mean, and a band from the lowest to the highest fold.

        Args:
            metric: name of a metric, without ``val_``; that of the scores by default.
            ax: matplotlib axes to draw on; new ones by default.

        Returns:
            The axes.

        Raises:
            InputError: for a metric that the history does not have.
        """
        names = [name for name in self.history if f"val_{name}" in self.history]
        chosen = self.metric if metric is None else metric
        refuse([choice_problem("metric", chosen, names)])
        return result_views.plot(self, chosen, ax)

    def save(self, folder: str | Path) -> None:
        """Write everything to a new folder: the models as .keras files, arrays as .npz, the rest as .json.

        Raises:
            InputError: if the folder exists and is not empty, or cannot be written.
        """
        result_files.save(vars(self), Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> "CrossValidation":
        """Return a result that ``save`` wrote. Nothing in the folder is executed or unpickled.

        Raises:
            InputError: if the folder has no such result, or a damaged one.
        """
        return cls(**result_files.load(Path(folder)))

    def __repr__(self) -> str:
        return result_views.text(self)

    def _repr_html_(self) -> str:
        return result_views.html(self)


class Interrupted(KeyboardInterrupt):
    """Raised when the user interrupts a cross-validation or a search.

    Attributes:
        result: a ``CrossValidation`` with NaN for the epochs that were not done, or a ``SearchResult`` with the outer
            folds that were done.
    """

    def __init__(self, result: Any):
        super().__init__()
        self.result = result


def recorded(validate: Callable[[], CrossValidation], rows: list[dict[str, float]]) -> CrossValidation:
    """Return ``validate()``, and append its history to ``rows``, also that of an interrupted cross-validation.

    The rows are those of ``result_views.history_rows``.

    Raises:
        Interrupted: after its history was appended.
    """
    try:
        result = validate()
    except Interrupted as stop:
        rows += result_views.history_rows(stop.result.history)
        raise
    rows += result_views.history_rows(result.history)
    return result
