"""Smoothing of learning curves, and the epoch at which they are lowest."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

SKIPPED = 10  # the loss of the first epochs is so large that it hides the rest of the curve


def smooth(values: ArrayLike, factor: float = 0.9) -> Float:
    """Return the exponential moving average of ``values``, along the last axis, starting with the first value.

    Each value is ``factor`` times the average so far plus ``1 - factor`` times the new value.
    """
    raw = np.asarray(values, dtype="float64")
    smoothed = raw.copy()
    for i in range(1, raw.shape[-1]):
        smoothed[..., i] = factor * smoothed[..., i - 1] + (1 - factor) * raw[..., i]
    return smoothed


def skipped_epochs(epochs: int) -> int:
    """Return how many of the first epochs to leave out of a curve: 10, or 0 if it has no more than 10."""
    return SKIPPED if epochs > SKIPPED else 0


def best_epoch(curve: ArrayLike) -> int:
    """Return the epoch, from 1, where the ``curve``, (epochs,), is lowest.

    The curve is smoothed after the skipped epochs, whose values count as they are. Epochs from the first NaN on do not
    count; if that is the first epoch, the result is 1.
    """
    values = np.asarray(curve, dtype="float64")
    if np.isnan(values).any():
        values = values[: max(1, int(np.argmax(np.isnan(values))))]
    skipped = skipped_epochs(len(values))
    return int(np.argmin(np.concatenate([values[:skipped], smooth(values[skipped:])]))) + 1
