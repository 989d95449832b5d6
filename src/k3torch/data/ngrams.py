"""n-grams of words as sparse matrices, made from word ids with NumPy; no loop over words.

An n-gram is n consecutive words of one review. Each order is numbered from the order below: an n-gram is two
(n - 1)-grams that overlap, and its key is one integer made of their two numbers. So any n fits in 64 bits, and an
n-gram is looked up only where both of its parts were found. ``fit`` sorts the keys of an order to count them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

from k3torch.data.arrays import number_array
from k3torch.data.bags import CHUNK, bag_of_words
from k3torch.data.pair_sort import sort_pairs
from k3torch.data.sparse import is_partition
from k3torch.data.text import FIRST_WORD
from k3torch.errors import InputError, Problem, count_problem, refuse, unless
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

Ints = NDArray[np.int64]

MAX_N = 8
NOT_FOUND = -1


@dataclass(frozen=True)
class Ngrams:
    """A vocabulary of n-grams, of 1 to ``n`` words, each with the number of its column.

    Words are numbered first, then pairs, triples and so on; within an order by the numbers of their parts. Ids below 4
    (padding, start, unknown word) belong to no n-gram, and none contains words on both sides of them.

    Attributes:
        keys: for each order an int64 array, sorted. The first holds word ids. For n of 2 or more, with k keys in the
            order below, ``a * k + b`` is the n-gram that begins with its (n - 1)-gram number ``a`` and ends with its
            (n - 1)-gram number ``b``, both counted from 0 within that order.
    """

    keys: tuple[Ints, ...]

    @classmethod
    def fit(
        cls, ids: ArrayLike, offsets: ArrayLike, n: int = 3, *, min_count: int = 2, max_features: int | None = None
    ) -> "Ngrams":
        """Learn the vocabulary of reviews; give it training samples alone.

        Args:
            ids: word ids of all reviews, one review after another, int, shape (words,).
            offsets: review ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; int, shape (reviews + 1,).
            n: longest n-gram, from 1 to 8 words.
            min_count: n-grams that occur less often are left out; every occurrence counts.
            max_features: keep this many of the most frequent, or all (None). Of equally frequent ones the shorter are
                kept, then those with smaller numbers.

        Raises:
            InputError: for arguments that cannot be used, and for reviews without any such n-gram.
        """
        orders, frequencies, _, _ = _learn(ids, offsets, n, min_count, max_features, keep=False)
        return cls(tuple(_most_frequent(orders, frequencies, max_features)))

    @classmethod
    def fit_transform(
        cls, ids: ArrayLike, offsets: ArrayLike, n: int = 3, *, min_count: int = 2, max_features: int | None = None
    ) -> tuple["Ngrams", csr_matrix]:
        """Return what ``fit`` and ``transform`` return, in less time; arguments and errors are those of ``fit``."""
        orders, frequencies, found, bounds = _learn(ids, offsets, n, min_count, max_features, keep=True)
        size = sum(map(len, orders))
        bags = bags_in_chunks(lambda part, _: [columns[part] for columns in found], bounds, n, size, counts=False)
        if max_features is not None:
            bags = bags[:, _ranking(frequencies, max_features)]
        return cls(tuple(_most_frequent(orders, frequencies, max_features))), bags

    @property
    def n(self) -> int:
        """The longest n-gram, in words."""
        return len(self.keys)

    @property
    def num_features(self) -> int:
        """The number of n-grams, which is the number of columns."""
        return sum(map(len, self.keys))

    def transform(self, ids: ArrayLike, offsets: ArrayLike, counts: bool = False) -> csr_matrix:
        """Return which n-grams occur in each review, float32 CSR of shape (reviews, ``num_features``).

        Args:
            ids: as in ``fit``; ids that it has not seen are in no n-gram.
            offsets: as in ``fit``.
            counts: store how often each n-gram occurs instead of 1.

        Raises:
            InputError: for ids and offsets that are not reviews.
        """
        words, bounds = checked_reviews(ids, offsets)
        return bags_in_chunks(partial(self._columns, words), bounds, self.n, self.num_features, counts)

    def _columns(self, words: NDArray[np.int32], part: slice, bounds: Ints) -> list[NDArray[np.int32]]:
        """Return for each order the column of the n-gram that begins at each position of a part, -1 for none."""
        words = words[part]
        numbers, first = _word_numbers(words, self.keys[0]), len(self.keys[0])
        found = [numbers]
        for below, keys in pairwise(self.keys):
            here = _overlapping(numbers, len(below), bounds if len(found) == 1 else None)
            numbers = _numbers_of(*here, keys, len(words))
            found.append(np.where(numbers == NOT_FOUND, NOT_FOUND, numbers + np.int32(first)))
            first += len(keys)
        return found

    def word_ids(self, features: ArrayLike) -> list[tuple[int, ...]]:
        """Return the word ids of n-grams, given by their columns.

        Raises:
            InputError: for a column that does not exist.
        """
        columns = number_array("features", features).reshape(-1)
        if len(columns) and not 0 <= columns.min() <= columns.max() < self.num_features:
            low, high = columns.min(), columns.max()
            raise InputError(f"expected columns from 0 to {self.num_features - 1}, got {low} to {high}")
        starts = np.cumsum([0, *map(len, self.keys)])
        orders = np.searchsorted(starts, columns, side="right")  # 1 for words
        numbers = columns - starts[orders - 1]
        return [self._words(int(order), int(number)) for order, number in zip(orders, numbers, strict=True)]

    def _words(self, order: int, number: int) -> tuple[int, ...]:
        key = int(self.keys[order - 1][number])
        if order == 1:
            return (key,)
        first, last = divmod(key, len(self.keys[order - 2]))
        return (*self._words(order - 1, first), self._words(order - 1, last)[-1])


def n_problem(n: int) -> Problem:
    """Return a problem unless ``n`` is a whole number from 1 to 8."""
    return count_problem("n", n) or unless(n <= MAX_N, f"n up to {MAX_N}, got {n}")


def checked_reviews(ids: ArrayLike, offsets: ArrayLike) -> tuple[NDArray[np.int32], Ints]:
    """Return ids and offsets as arrays of int32 and int64.

    Raises:
        InputError: for anything but integers in one dimension, for offsets that do not divide the ids into reviews,
            and for ids below 0 or of 2**31 or more.
    """
    arrays = [number_array("ids", ids), number_array("offsets", offsets)]
    refuse(
        unless(
            array.ndim == 1 and (array.dtype.kind in "iu" or not array.size),
            f"{name} as integers in one dimension, got {array.dtype} of shape {array.shape}",
        )
        for name, array in zip(("ids", "offsets"), arrays, strict=True)
    )
    words, bounds = (array if array.size else array.astype(np.int64) for array in arrays)
    low, high = (words.min(), words.max()) if len(words) else (0, 0)
    refuse(
        [
            unless(
                is_partition(bounds, len(words)),
                f"offsets that do not decrease, from 0 to {len(words)}, the number of ids, "
                f"got {len(bounds)} from {bounds[:1]} to {bounds[-1:]}",
            ),
            unless(low >= 0 and high < 2**31, f"word ids from 0 to {2**31 - 1}, got {low} to {high}"),
        ]
    )
    return words.astype(np.int32, copy=False), bounds.astype(np.int64)


def _learn(
    ids: ArrayLike, offsets: ArrayLike, n: int, min_count: int, max_features: int | None, keep: bool
) -> tuple[list[Ints], list[Ints], list[NDArray[np.int32]], Ints]:
    """Return keys and frequencies of each order, the column at each position if ``keep``, and the bounds."""
    limit = None if max_features is None else count_problem("max_features", max_features)
    refuse([n_problem(n), count_problem("min_count", min_count), limit])
    words, bounds = checked_reviews(ids, offsets)
    orders: list[Ints] = []
    frequencies: list[Ints] = []
    found: list[NDArray[np.int32]] = []
    numbers, first = words, 0
    for order in range(1, n + 1):
        if order == 1:
            here = np.flatnonzero(words >= FIRST_WORD), words[words >= FIRST_WORD].astype(np.int64)
        else:
            here = _overlapping(numbers, len(orders[-1]), bounds if order == 2 else None)
        keys, counts, numbers = _count(*here, min_count, len(words))
        del here  # arrays of all words are large
        if keep:
            found.append(np.where(numbers == NOT_FOUND, NOT_FOUND, numbers + np.int32(first)))
        first += len(keys)
        orders.append(keys)
        frequencies.append(counts)
    if not len(orders[0]):
        raise InputError(f"expected words that occur {min_count} times or more, got none: lower min_count")
    return orders, frequencies, found, bounds


def bags_in_chunks(
    columns_of: Callable[[slice, Ints], Sequence[NDArray[Any]]], bounds: Ints, n: int, num_features: int, counts: bool
) -> csr_matrix:
    """Return the bags of the columns that ``columns_of`` finds, for some reviews at a time, which takes less memory.

    ``columns_of`` gets a range of positions and the bounds of its reviews, which begin at 0, and returns a column for
    each position and each of ``n`` orders, -1 for none.
    """
    columns = np.empty(n * int(bounds[-1]), np.int32)  # only the pages that are written take memory
    ends = np.zeros(len(bounds), np.int64)
    for first in range(0, len(bounds) - 1, CHUNK):
        here = bounds[first : first + CHUNK + 1]
        found = np.stack(columns_of(slice(here[0], here[-1]), here - here[0]), axis=1).reshape(-1)
        present = np.flatnonzero(found != NOT_FOUND)
        start = ends[first]
        columns[start : start + len(present)] = found[present]
        ends[first + 1 : first + len(here)] = start + np.searchsorted(present, n * (here[1:] - here[0]))
    return bag_of_words(columns[: ends[-1]], ends, num_features, counts)


def _overlapping(numbers: NDArray[np.int32], size: int, bounds: Ints | None) -> tuple[Ints, Ints]:
    """Return the positions that have a number, as the next one has, and the key of both.

    ``bounds`` are needed for pairs of words alone: longer n-grams overlap, so none reaches into another review.
    """
    positions = np.flatnonzero(first_of_pairs(numbers != NOT_FOUND, bounds))
    keys = numbers[positions].astype(np.int64)
    keys *= size
    keys += numbers[1:][positions]
    return positions, keys


def first_of_pairs(present: NDArray[np.bool_], bounds: Ints | None = None) -> NDArray[np.bool_]:
    """Return where something is present at a position and at the next one; with ``bounds``, in the same review."""
    both = np.zeros(len(present), bool)
    both[:-1] = present[:-1] & present[1:]
    if bounds is not None:
        both[bounds[(bounds > 0)] - 1] = False  # the last word of a review
    return both


def _count(positions: Ints, keys: Ints, min_count: int, size: int) -> tuple[Ints, Ints, NDArray[np.int32]]:
    """Return the keys that occur ``min_count`` times or more, sorted, how often they occur, and their numbers.

    The numbers are those at each of ``size`` positions: -1 where there is a rare key or none. Sorts its arguments.
    """
    sort_pairs(keys, positions)
    starts = np.flatnonzero(np.append(True, keys[1:] != keys[:-1])[: len(keys)])
    counts = np.diff(starts, append=len(keys))
    frequent = counts >= min_count
    numbers = np.full(size, NOT_FOUND, np.int32)
    numbers[positions] = np.repeat(_renumbered(frequent), counts)
    return keys[starts[frequent]], counts[frequent], numbers


def _renumbered(kept: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the number of each kept element among the kept ones, -1 for the others."""
    return np.where(kept, np.cumsum(kept) - 1, NOT_FOUND).astype(np.int32)


def _ranking(frequencies: Sequence[Ints], max_features: int) -> NDArray[np.bool_]:
    """Return which columns are kept."""
    counts = np.concatenate(frequencies)
    chosen = np.zeros(len(counts), bool)
    chosen[np.argsort(-counts, kind="stable")[:max_features]] = True
    return chosen


def _most_frequent(orders: Sequence[Ints], frequencies: Sequence[Ints], max_features: int | None) -> Sequence[Ints]:
    """Keep the most frequent n-grams. Their parts are kept too: they are as frequent, or more, and shorter."""
    if max_features is None:
        return orders
    chosen = _ranking(frequencies, max_features)
    kept, first, below = [], 0, None
    for keys in orders:
        here = chosen[first : first + len(keys)]
        chosen_keys = keys[here]
        if below is not None:
            new, size = _renumbered(below), int(below.sum())
            start, end = np.divmod(chosen_keys, len(below))
            chosen_keys = new[start].astype(np.int64) * size + new[end]
        kept.append(chosen_keys)
        first, below = first + len(keys), here
    return kept


def _word_numbers(words: NDArray[np.int32], keys: Ints) -> NDArray[np.int32]:
    """Return the number of each word, -1 for one that is not in the vocabulary."""
    places = np.minimum(np.searchsorted(keys, words), len(keys) - 1)
    return np.where(keys[places] == words, places, NOT_FOUND).astype(np.int32)


def _numbers_of(positions: Ints, wanted: Ints, keys: Ints, size: int) -> NDArray[np.int32]:
    """Return the number of the key at each of ``size`` positions, -1 for none and for one not in the vocabulary."""
    numbers = np.full(size, NOT_FOUND, np.int32)
    if len(keys):
        sort_pairs(wanted, positions)  # a sorted search reads the vocabulary once, from start to end
        places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        numbers[positions] = np.where(keys[places] == wanted, places, NOT_FOUND)
    return numbers
