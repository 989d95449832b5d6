"""The result of a cross-validation: scores, learning curves, models, and a confidence interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray
from scipy import stats


def score_index(metric_names: Sequence[str]) -> int:
    """Return the position of the metric that is the score: the first after the loss, or the loss if it is alone."""
    return min(1, len(metric_names) - 1)


@dataclass(frozen=True)
class Interval:
    """Confidence interval of the mean score; ``method`` says how it was computed."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class CrossValidation:
    """Scores, learning curves and models of all folds and repeats.

    Attributes:
        scores: (repeats, folds), the first metric, or the loss of a model without metrics, on the validation samples
            after the last epoch.
        metric: name of that metric.
        history: metric name to (repeats, folds, epochs); names of validation metrics start with ``val_``. Epochs that
            a callback or an interrupt cut off are NaN.
        models: the trained Keras models, fold by fold of the first repeat, then of the next.
        engine: "stacked" or "fit", the one that trained them.
        validation_ratio: validation samples per training sample, mean over the folds.
    """

    scores: NDArray[np.float64]
    metric: str
    history: dict[str, NDArray[np.float64]]
    models: list[keras.Model]
    engine: str
    validation_ratio: float

    @property
    def mean(self) -> float:
        """Mean score over folds and repeats."""
        return float(self.scores.mean())

    @property
    def std(self) -> float:
        """Standard deviation of the scores (divisor n - 1), NaN for one score."""
        return float(self.scores.std(ddof=1)) if self.scores.size > 1 else float("nan")

    @property
    def interval(self) -> Interval:
        """95% confidence interval of the mean, corrected for the overlap of the training samples of the folds.

        Student's t with n - 1 degrees of freedom; the variance of the mean is
        ``(1/n + validation_ratio) std**2`` (Nadeau and Bengio, "Inference for the generalization error", Machine
        Learning 52, 2003). NaN for one score.
        """
        n = self.scores.size
        method = (
            f"95%, Student's t over {n} scores, variance corrected for overlapping training samples (Nadeau, Bengio)"
        )
        half_width = float(stats.t.ppf(0.975, n - 1)) * self.std * float(np.sqrt(1 / n + self.validation_ratio))
        return Interval(self.mean - half_width, self.mean + half_width, method)


class Interrupted(KeyboardInterrupt):
    """Raised when the user interrupts a cross-validation; ``result`` has NaN for the epochs that were not done."""

    def __init__(self, result: CrossValidation):
        super().__init__()
        self.result = result
