"""What a cross-validation found."""

from dataclasses import dataclass

import keras
import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """Bounds of the mean score, and in ``method`` how they were found."""

    low: float
    high: float
    method: str


@dataclass(frozen=True)
class CrossValidation:
    """Scores, curves and models of all folds and repeats.

    Attributes:
        scores: (repeats, folds), the first metric (the loss, if there is none) on the validation fold, last epoch.
        metric: its name.
        history: metric name to (repeats, folds, epochs); names of validation figures start with ``val_``.
        models: the trained Keras models, fold by fold and repeat after repeat.
        engine: "stacked" or "fit", whichever trained them.
        test_share: validation rows divided by training rows, on average over the folds.
    """

    scores: NDArray[np.float64]
    metric: str
    history: dict[str, NDArray[np.float64]]
    models: list[keras.Model]
    engine: str
    test_share: float

    @property
    def mean(self) -> float:
        """Mean score over folds and repeats."""
        return float(self.scores.mean())

    @property
    def std(self) -> float:
        """Deviation of the scores (divisor n - 1)."""
        return float(self.scores.std(ddof=1)) if self.scores.size > 1 else 0.0

    @property
    def interval(self) -> Interval:
        """95% bounds of the mean, widened because the folds' training rows overlap.

        Student's t with the variance of the mean taken as ``(1/n + test/train) std**2``: Nadeau and Bengio,
        "Inference for the generalization error", Machine Learning 52 (2003).
        """
        n = self.scores.size
        method = f"95%, Student's t over {n} scores, variance corrected for overlapping training rows (Nadeau, Bengio)"
        if n < 2:
            return Interval(float("nan"), float("nan"), method)
        half = float(stats.t.ppf(0.975, n - 1)) * self.std * float(np.sqrt(1 / n + self.test_share))
        return Interval(self.mean - half, self.mean + half, method)


class Interrupted(KeyboardInterrupt):
    """Somebody interrupted a cross-validation; ``result`` is what was known by then, with NaN for what was not."""

    def __init__(self, result: CrossValidation):
        super().__init__()
        self.result = result
