"""Standardisation of features: mean 0 and standard deviation 1, measured on the training samples alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Standardizer:
    """Shifts each column to mean 0 and scales it to deviation 1, as seen on the rows it was fitted on."""

    mean: Float
    std: Float

    @classmethod
    def fit(cls, rows: ArrayLike) -> "Standardizer":
        """Measure the columns of ``rows``, shape (n, features), with the population deviation (divisor n).

        A column that is constant keeps the divisor 1, so that it becomes zeros instead of NaN.
        """
        x = np.asarray(rows, dtype="float64")
        # Comparing values, since rounding gives a constant column a deviation of 1e-17 or so instead of 0.
        constant = (x == x[:1]).all(axis=0)
        return cls(x.mean(axis=0), np.where(constant, 1.0, x.std(axis=0)))

    def transform(self, rows: ArrayLike) -> Float:
        """Return ``(rows - mean) / std`` as float64, of the shape of ``rows``."""
        return (np.asarray(rows, dtype="float64") - self.mean) / self.std
