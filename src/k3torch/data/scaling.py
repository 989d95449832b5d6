"""Standardisation of features to mean 0 and standard deviation 1, with the statistics of the training samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Standardizer:
    """Standardises features with the mean and standard deviation of the samples that it was fitted on.

    Attributes:
        mean: of each feature, float64, shape (features,).
        std: population standard deviation of each feature, float64, shape (features,); 1 for a constant feature.
    """

    mean: Float
    std: Float

    @classmethod
    def fit(cls, samples: ArrayLike) -> "Standardizer":
        """Return the standardizer of ``samples``, shape (samples, features).

        The standard deviation is that of the population (divisor n), as in scikit-learn's ``StandardScaler``. A
        constant feature is divided by 1, so that it becomes 0 instead of NaN.
        """
        x = np.asarray(samples, dtype="float64")
        # Values are compared, since rounding gives a constant column a deviation of about 1e-17 instead of 0.
        constant = (x == x[:1]).all(axis=0)
        return cls(x.mean(axis=0), np.where(constant, 1.0, x.std(axis=0)))

    def transform(self, samples: ArrayLike) -> Float:
        """Return ``(samples - mean) / std``, float64, of the shape of ``samples``."""
        return (np.asarray(samples, dtype="float64") - self.mean) / self.std
