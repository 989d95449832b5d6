"""Reviews as weighted n-grams: the vocabulary and the weights, both learned from training samples alone."""

from dataclasses import dataclass
from typing import get_args

from k3torch.data.hashed_ngrams import HashedNgrams, bits_problem
from k3torch.data.imdb import Reviews
from k3torch.data.ngrams import Ngrams, n_problem
from k3torch.data.scaled_rows import with_columns_scaled, with_unit_rows
from k3torch.errors import Problem, choice_problem, count_problem, refuse, unless
from k3torch.options import Weighting
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix


@dataclass(frozen=True)
class NgramFeatures:
    """A vocabulary of n-grams, or hashed n-grams, with a weight for each.

    Attributes:
        ngrams: which n-gram is in which column.
        weights: of each column, float32, shape (num_features,); None if all are 1.
    """

    ngrams: Ngrams | HashedNgrams
    weights: NDArray[np.float32] | None

    @classmethod
    def fit(
        cls,
        reviews: Reviews,
        n: int = 3,
        min_count: int = 2,
        max_features: int | None = None,
        hash_bits: int | None = None,
        weighting: Weighting = "naive-bayes",
    ) -> "NgramFeatures":
        """Learn vocabulary and weights.

        Args:
            reviews: training samples.
            n: longest n-gram, in words.
            min_count: as in ``Ngrams.fit``.
            max_features: as in ``Ngrams.fit``.
            hash_bits: hash the n-grams to ``2**hash_bits`` columns, instead of learning a vocabulary.
            weighting: "naive-bayes", "tf-idf" or "plain", as in ``data/feature_weights.py``.

        Raises:
            InputError: for arguments that cannot be used, and reviews of one class with "naive-bayes".
        """
        refuse(problems(n, min_count, max_features, hash_bits, weighting))
        ids, offsets = reviews.ids, reviews.offsets
        if hash_bits is None:
            ngrams, bags = Ngrams.fit_transform(ids, offsets, n, min_count=min_count, max_features=max_features)
            return cls(ngrams, _weights(bags, reviews.labels, weighting))
        hashed = HashedNgrams(n, hash_bits)
        return cls(hashed, _weights(hashed.transform(ids, offsets), reviews.labels, weighting))

    @property
    def num_features(self) -> int:
        """The number of columns."""
        return self.ngrams.num_features

    @property
    def num_words(self) -> int | None:
        """1 more than the largest word id that matters, or None if all matter."""
        return int(self.ngrams.keys[0][-1]) + 1 if isinstance(self.ngrams, Ngrams) else None

    def transform(self, ids: ArrayLike, offsets: ArrayLike) -> csr_matrix:
        """Return the weights of the n-grams that occur in each review, rows scaled to length 1.

        Args:
            ids: word ids of all reviews, one review after another, int, shape (words,).
            offsets: review ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; int, shape (reviews + 1,).

        Returns:
            float32 CSR, (reviews, ``num_features``). The row of a review without a known n-gram is empty.

        Raises:
            InputError: for ids and offsets that are not reviews.
        """
        bags = self.ngrams.transform(ids, offsets)
        return with_unit_rows(bags if self.weights is None else with_columns_scaled(bags, self.weights))


def problems(n: int, min_count: int, max_features: int | None, hash_bits: int | None, weighting: str) -> list[Problem]:
    """Check the arguments of ``NgramFeatures.fit``."""
    return [
        n_problem(n),
        count_problem("min_count", min_count),
        None if max_features is None else count_problem("max_features", max_features),
        None if hash_bits is None else bits_problem("hash_bits", hash_bits),
        unless(
            hash_bits is None or max_features is None,
            "max_features or hash_bits, got both: hashing learns no vocabulary to limit",
        ),
        choice_problem("weighting", weighting, get_args(Weighting)),
    ]


def _weights(bags: csr_matrix, labels: NDArray[np.float32], weighting: Weighting) -> NDArray[np.float32] | None:
    if weighting == "plain":
        return None
    # Imported here, since scikit-learn takes a second, and only learning needs it.
    from k3torch.data.feature_weights import NaiveBayesWeights, TfidfWeights

    learner = NaiveBayesWeights() if weighting == "naive-bayes" else TfidfWeights()
    return learner.fit(bags, labels).weights_
