"""Smoothing of learning curves, and the epoch at which they are lowest."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]

NEAR = np.array([1, 2, 3, 2, 1]) / 9  # weights of the two epochs before, the epoch, and the two after
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

    The curve is smoothed after the skipped epochs. One of these is the result if the average of the values around it is
    lower than all of the smoothed curve. Epochs from the first NaN on do not count; if that is the first epoch, the
    result is 1.
    """
    values = np.asarray(curve, dtype="float64")
    if np.isnan(values).any():
        values = values[: max(1, int(np.argmax(np.isnan(values))))]
    skipped = skipped_epochs(len(values))
    averages = np.convolve(np.pad(values, 2, mode="edge"), NEAR, mode="valid")
    return int(np.argmin(np.concatenate([averages[:skipped], smooth(values[skipped:])]))) + 1
