"""Successive halving: few epochs for many candidates, and more for the better ones, whose training goes on."""

from collections.abc import Sequence
import math

import numpy as np

RUNGS = 3


def rungs(epochs: int, factor: int | None) -> list[range]:
    """Return the epochs between which candidates are dropped: up to ``epochs / factor**2``, ``epochs / factor``, all.

    Args:
        epochs: of the candidates that are never dropped.
        factor: None for one range.
    """
    if factor is None:
        return [range(epochs)]
    ends = sorted({max(1, round(epochs / factor**power)) for power in range(RUNGS)})
    return [range(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def survivors(scores: Sequence[float], factor: int, *, greater_is_better: bool) -> list[int]:
    """Return the positions of the better candidates, one of ``factor`` and one at least, in their order.

    Args:
        scores: the mean score of each candidate; NaN is the worst.
        factor: 3 keeps the better third, rounded up.
        greater_is_better: whether a higher score is better.
    """
    return sorted(ranked(scores, greater_is_better=greater_is_better)[: math.ceil(len(scores) / factor)])


def ranked(scores: Sequence[float], *, greater_is_better: bool) -> list[int]:
    """Return the positions of the candidates from the best to the worst; the first of equal ones first."""
    values = np.asarray(scores, dtype="float64")
    losses = np.where(np.isnan(values), np.inf, -values if greater_is_better else values)
    return [int(position) for position in np.argsort(losses, kind="stable")]
