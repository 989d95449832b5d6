"""Which rows each model learns from and which it is measured on."""

from collections.abc import Iterable
from typing import Any

from k3torch.errors import InputError
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold

Indices = NDArray[np.int64]
Split = tuple[Indices, Indices]


def make_folds(
    folds: Any, x: NDArray[Any], y: NDArray[Any], groups: ArrayLike | None = None, *, repeat: int = 0, seed: int = 0
) -> list[Split]:
    """Return the (training rows, validation rows) of each fold, as row numbers of ``x``.

    Args:
        folds: a number of consecutive folds; a scikit-learn splitter, such as ``StratifiedKFold(4)`` or
            ``GroupKFold(4)``; or a list of pairs of row numbers, which are the same in every repeat.
        x: (rows, ...).
        y: (rows,) or (rows, outputs).
        groups: (rows,), for splitters that keep groups together.
        repeat: 0 takes the rows as they stand; later ones shuffle them before folding.
        seed: of those shuffles.

    Raises:
        InputError: if there are fewer rows than folds, or a fold is empty, out of range, or validates on a row that
            it learns from.
    """
    rows = len(x)
    if groups is not None and len(np.asarray(groups)) != rows:
        raise InputError(f"expected one group a row ({rows}), got {len(np.asarray(groups))}: give as many")
    splitter = _splitter(folds, rows)
    if splitter is None:
        return _checked(folds, rows)
    order = np.arange(rows) if repeat == 0 else np.random.default_rng([seed, repeat]).permutation(rows)
    mixed_groups = None if groups is None else np.asarray(groups)[order]
    labels = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    try:
        parts = [(order[a], order[b]) for a, b in splitter.split(x[order], labels[order], mixed_groups)]
    except ValueError as error:  # scikit-learn's own words are about its own arguments
        raise InputError(f"expected rows that {type(splitter).__name__} can split, got: {error}") from error
    return _checked(parts, rows)


def _splitter(folds: Any, rows: int) -> Any:
    """Return what ``folds`` asks for as an object with ``split``, or None for pairs of row numbers."""
    if isinstance(folds, int | np.integer) and not isinstance(folds, bool):
        if not 2 <= folds <= rows:
            raise InputError(f"expected from 2 folds to as many as rows ({rows}), got {folds}: choose another number")
        return KFold(int(folds))
    if hasattr(folds, "split") and not isinstance(folds, str):
        return folds
    if isinstance(folds, str) or not isinstance(folds, Iterable):
        raise InputError(f"expected folds as a number, a splitter or pairs of row numbers, got {folds!r}: choose one")
    return None


def _checked(pairs: Iterable[Any], rows: int) -> list[Split]:
    splits = []
    for number, pair in enumerate(pairs, start=1):
        try:
            training, validation = (np.asarray(part) for part in pair)
        except (TypeError, ValueError) as error:
            raise InputError(f"expected fold {number} as (training rows, validation rows), got {pair!r}") from error
        for name, part in (("training", training), ("validation", validation)):
            if part.ndim != 1 or len(part) == 0 or part.dtype.kind not in "iu":
                raise InputError(f"expected row numbers for {name} in fold {number}, got {part!r}: give at least one")
            if part.min() < 0 or part.max() >= rows:
                raise InputError(f"expected row numbers from 0 to {rows - 1} in fold {number}, got {part.max()}")
        if len(shared := np.intersect1d(training, validation)):
            raise InputError(f"expected fold {number} to validate on other rows, got row {shared[0]} in both parts")
        splits.append((training.astype(np.int64), validation.astype(np.int64)))
    if not splits:
        raise InputError("expected at least one fold, got an empty list: give pairs of row numbers")
    return splits
