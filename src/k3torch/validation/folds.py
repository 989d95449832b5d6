"""Divides samples into training and validation folds, by scikit-learn's splitters."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from k3torch.errors import InputError, refuse, unless
import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import KFold, StratifiedKFold

Indices = NDArray[np.int64]
Split = tuple[Indices, Indices]

MAX_FOLDS = 100_000  # an iterator that yields more is taken to be endless


def make_folds(
    folds: Any, x: Any, y: NDArray[Any], groups: ArrayLike | None = None, *, repeat: int = 0, seed: int = 0
) -> list[Split]:
    """Return (training indices, validation indices) of each fold.

    Args:
        folds: the number of folds; a scikit-learn splitter, such as ``StratifiedKFold(4)``, ``GroupKFold(4)`` or
            ``TimeSeriesSplit(4)``; or pairs of index arrays.
        x: (samples, ...), an array or a sparse matrix.
        y: (samples,) or (samples, outputs).
        groups: (samples,), for splitters that keep groups together; refused with other ``folds``.
        repeat: number of the repeat, from 0; used only if ``folds`` is a number. In repeat 0 the folds are
            consecutive samples; in later repeats the samples are shuffled first. A splitter gets the samples in their
            own order in each repeat, since order matters to some, such as ``TimeSeriesSplit``; its ``shuffle`` and
            ``random_state`` decide whether its folds differ between repeats.
        seed: of the shuffling.

    Raises:
        InputError: for fewer samples than folds, and for a fold that is empty, out of range, or has a sample in both
            its parts; for groups without a splitter.
    """
    samples = x.shape[0]
    has_split = hasattr(folds, "split") and not isinstance(folds, str | bytes)
    if groups is not None and not has_split:
        raise InputError(
            f"expected a splitter that takes groups, such as GroupKFold(4), got groups with folds={folds!r}"
        )
    if isinstance(folds, int | np.integer) and not isinstance(folds, bool):
        if not 2 <= folds <= samples:
            raise InputError(f"expected from 2 folds to {samples}, the number of samples, got {folds}")
        order = np.arange(samples) if repeat == 0 else np.random.default_rng([seed, repeat]).permutation(samples)
        return [(order[training], order[validation]) for training, validation in KFold(int(folds)).split(order)]
    if has_split:
        return _checked(_split(folds, x, y, groups), samples)
    if isinstance(folds, str | bytes) or not isinstance(folds, Iterable):
        raise InputError(f"expected folds as a number, a splitter or pairs of index arrays, got {folds!r}")
    return _checked(folds, samples)


def make_repeats(
    folds: Any, x: Any, y: NDArray[Any], groups: ArrayLike | None = None, *, repeats: int = 1, seed: int = 0
) -> list[list[Split]]:
    """Return the folds of each repeat; a generator of pairs is read once, and its folds are used in all repeats.

    Raises:
        InputError: as ``make_folds``, and for a splitter whose number of folds differs between repeats.
    """
    if isinstance(folds, Iterator):
        folds = list(islice(folds, MAX_FOLDS + 1))
        refuse([unless(len(folds) <= MAX_FOLDS, f"{MAX_FOLDS} folds at most, got more")])
    made = [make_folds(folds, x, y, groups, repeat=repeat, seed=seed) for repeat in range(repeats)]
    counts = list(map(len, made))
    if len(set(counts)) > 1:
        raise InputError(f"expected as many folds in each repeat, got {counts}")
    return made


def balanced_folds(y: NDArray[Any], classes: int, folds: int, seed: int) -> int | StratifiedKFold:
    """Return ``folds`` for a regression, and for a classification a splitter that keeps the fractions of the classes.

    Args:
        y: (samples,), the target; for a classification the numbers of the classes.
        classes: their number, 0 for a regression.
        folds: the number of folds.
        seed: from which each repeat draws other folds.

    Raises:
        InputError: for fewer samples than folds, of a classification in any class.
    """
    if not classes:
        make_folds(folds, y, y)  # refuses a wrong number
        return folds
    smallest = int(np.bincount(y.astype("int64"), minlength=classes).min())
    if not 2 <= folds <= smallest:
        raise InputError(f"expected from 2 folds to {smallest}, the samples of the smallest class, got {folds}")
    return StratifiedKFold(folds, shuffle=True, random_state=np.random.RandomState(seed))


def _split(splitter: Any, x: Any, y: NDArray[Any], groups: ArrayLike | None) -> list[Any]:
    labels, samples = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y, x.shape[0]
    try:
        group_of_each = None if groups is None else np.asarray(groups)
    except ValueError as error:
        raise InputError(f"expected one group a sample ({samples}), got: {error}") from error
    if group_of_each is not None and group_of_each.shape != (samples,):
        raise InputError(f"expected groups of shape ({samples},), got shape {group_of_each.shape}")
    try:
        return list(splitter.split(x, labels, group_of_each))
    except Exception as error:  # of any kind: the splitter may be the caller's own
        raise InputError(f"expected samples that {type(splitter).__name__} can split, got: {error}") from error


def _checked(pairs: Iterable[Any], samples: int) -> list[Split]:
    splits = []
    for number, pair in enumerate(pairs, start=1):
        try:
            training, validation = (np.asarray(part) for part in pair)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"expected fold {number} as (training indices, validation indices), got {pair!r}"
            ) from error
        for name, part in (("training", training), ("validation", validation)):
            if part.ndim != 1 or len(part) == 0 or part.dtype.kind not in "iu":
                raise InputError(f"expected {name} indices in fold {number}, at least one, got {part!r}")
            if len(outside := part[(part < 0) | (part >= samples)]):
                raise InputError(f"expected indices from 0 to {samples - 1} in fold {number}, got {outside[0]}")
        if len(shared := np.intersect1d(training, validation)):
            raise InputError(f"expected different samples in both parts of fold {number}, got {shared[0]} in both")
        splits.append((training.astype(np.int64), validation.astype(np.int64)))
    if not splits:
        raise InputError("expected at least one fold, got none: pass pairs of index arrays")
    return splits
