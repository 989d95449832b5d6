"""n-grams of words as sparse matrices whose columns are hashes: there is no vocabulary to learn or to keep.

Two n-grams may have the same column. With about as many columns as different n-grams, few of the frequent ones do.
"""

from dataclasses import dataclass
from functools import partial

from k3torch.data.ngrams import NOT_FOUND, bags_in_chunks, checked_reviews, first_of_pairs, n_problem
from k3torch.data.text import FIRST_WORD
from k3torch.errors import Problem, count_problem, refuse, unless
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

MIN_BITS, MAX_BITS = 4, 24  # 2**24 columns: 67 MB of weights for each unit

Hashes = NDArray[np.uint64]

# Constants of the finalizer of splitmix64 (Steele, Lea and Flood, 2014), which mixes all bits of a number.
_INCREMENT, _FIRST, _SECOND = (np.uint64(c) for c in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


@dataclass(frozen=True)
class HashedNgrams:
    """n-grams of 1 to ``n`` words in ``2**bits`` columns.

    Takes the place of ``Ngrams`` where reviews come as a stream, or where the vocabulary would be too large. Ids below
    4 (padding, start, unknown word) belong to no n-gram. A column depends on the ids alone, and is the same everywhere.

    Args:
        n: longest n-gram, from 1 to 8 words.
        bits: from 4 to 24.

    Raises:
        InputError: for other numbers.
    """

    n: int = 3
    bits: int = 20

    def __post_init__(self) -> None:
        refuse([n_problem(self.n), bits_problem("bits", self.bits)])

    @property
    def num_features(self) -> int:
        """The number of columns."""
        return 1 << self.bits

    def transform(self, ids: ArrayLike, offsets: ArrayLike, counts: bool = False) -> csr_matrix:
        """Return which n-grams occur in each review, float32 CSR of shape (reviews, ``num_features``).

        Args:
            ids: word ids of all reviews, one review after another, int, shape (words,).
            offsets: review ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; int, shape (reviews + 1,).
            counts: store how often each column occurs instead of 1.

        Raises:
            InputError: for ids and offsets that are not reviews.
        """
        words, bounds = checked_reviews(ids, offsets)
        return bags_in_chunks(partial(self._columns, words), bounds, self.n, self.num_features, counts)

    def _columns(self, words: NDArray[np.int32], part: slice, bounds: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        """Return for each order the column of the n-gram that begins at each position of a part, -1 for none."""
        words = words[part]
        present, hashes = words >= FIRST_WORD, _mixed(words.astype(np.uint64))
        found = []
        for order in range(1, self.n + 1):
            if order > 1:
                hashes = _mixed(hashes + _INCREMENT * _following(words, order - 1))
                present = first_of_pairs(present, bounds if order == 2 else None)
            found.append(np.where(present, (hashes >> np.uint64(64 - self.bits)).astype(np.int32), NOT_FOUND))
        return found


def bits_problem(name: str, bits: int) -> Problem:
    """Return a problem unless ``bits`` is a whole number from 4 to 24."""
    return count_problem(name, bits, MIN_BITS) or unless(bits <= MAX_BITS, f"{name} up to {MAX_BITS}, got {bits}")


def _following(words: NDArray[np.int32], distance: int) -> Hashes:
    """Return the id that is ``distance`` places further at each position, 0 at the end."""
    shifted = np.zeros(len(words), np.uint64)
    shifted[: max(0, len(words) - distance)] = words[distance:]
    return shifted


def _mixed(numbers: Hashes) -> Hashes:
    """Return a hash of each number, uint64; arithmetic modulo 2**64."""
    mixed = numbers + _INCREMENT
    mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
    return mixed ^ (mixed >> np.uint64(31))
