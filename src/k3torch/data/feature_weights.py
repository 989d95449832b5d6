"""Weights of features, learned from training samples, and samples scaled to length 1, as scikit-learn transformers.

    make_pipeline(NaiveBayesWeights(), UnitRows(), LinearSVC()).fit(bags, labels)

``NaiveBayesWeights`` has the log-count ratios of S. Wang and C. Manning, "Baselines and bigrams: simple, good sentiment
and topic classification", ACL 2012. ``TfidfWeights`` has the inverse document frequencies of scikit-learn's
``TfidfTransformer``.
"""

from typing import Any, Self

from k3torch.data.arrays import number_array
from k3torch.data.scaled_rows import with_columns_scaled, with_unit_rows
from k3torch.data.sparse import checked_csr
from k3torch.errors import InputError, is_number, refuse, unless
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.utils.validation import check_is_fitted


class _ColumnWeights(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Multiplies each column by a weight that ``fit`` learned.

    Attributes:
        weights_: of each column, float32, shape (features,).
        n_features_in_: the number of columns.
    """

    weights_: NDArray[np.float32]

    def transform(self, X: Any) -> csr_matrix:
        """Return ``X`` with each column multiplied by its weight, float32 CSR of the same shape.

        Raises:
            InputError: for anything but a sparse matrix of finite numbers, of as many columns as in ``fit``.
            sklearn.exceptions.NotFittedError: before ``fit``.
        """
        check_is_fitted(self)
        return with_columns_scaled(checked_csr("X", X), self.weights_)

    def _learned(self, weights: NDArray[Any]) -> Self:
        self.weights_ = weights.astype(np.float32)
        self.n_features_in_ = len(weights)
        return self


class NaiveBayesWeights(_ColumnWeights):
    """Naive Bayes log-count ratios: ``log((p / |p|) / (q / |q|))``, ``|.|`` being the sum.

    ``p`` is ``alpha`` plus the sum of a column over the samples of the positive class, ``q`` that of the negative one.

    Args:
        alpha: added to all counts, above 0.

    Attributes:
        weights_: above 0 for what is more frequent in the positive class; float32, shape (features,).
        classes_: the two classes, the negative one first.
    """

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Learn the ratios.

        Args:
            X: SciPy sparse matrix, (samples, features), of numbers of 0 or more.
            y: two different numbers, shape (samples,); the larger one is the positive class.

        Raises:
            InputError: for other ``X``, ``y`` or ``alpha``.
        """
        bags, labels = checked_csr("X", X), number_array("y", y)
        refuse(
            [
                unless(is_number(self.alpha) and self.alpha > 0, f"alpha as a number above 0, got {self.alpha!r}"),
                unless(bags.nnz == 0 or bags.data.min() >= 0, "X without negative values"),
                unless(
                    labels.shape in ((bags.shape[0],), (bags.shape[0], 1)),
                    f"y of shape ({bags.shape[0]},), one label for each sample, got {labels.shape}",
                ),
            ]
        )
        self.classes_ = np.unique(labels)
        if len(self.classes_) != 2:
            raise InputError(f"expected two classes in y, got {len(self.classes_)}")
        positive = (labels.reshape(-1) == self.classes_[1]).astype(np.float64)
        p, q = (self.alpha + bags.T @ members for members in (positive, 1 - positive))
        return self._learned(np.log(p / p.sum()) - np.log(q / q.sum()))


class TfidfWeights(_ColumnWeights):
    """Inverse document frequencies: ``log((1 + samples) / (1 + samples with the feature)) + 1``, as in scikit-learn.

    With ``UnitRows`` behind it, it is scikit-learn's ``TfidfTransformer``.

    Attributes:
        weights_: float32, shape (features,).
    """

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Learn the frequencies from ``X``, a SciPy sparse matrix (samples, features); ``y`` is ignored.

        Raises:
            InputError: for other ``X``.
        """
        return self._learned(TfidfTransformer().fit(checked_csr("X", X)).idf_)


class UnitRows(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Scales each row to Euclidean length 1; an empty row stays empty. It learns nothing."""

    def fit(self, X: Any, y: ArrayLike | None = None) -> Self:
        """Return the transformer itself."""
        return self

    def transform(self, X: Any) -> csr_matrix:
        """Return ``X`` with its rows scaled, float32 CSR of the same shape.

        Raises:
            InputError: for anything but a sparse matrix of finite numbers.
        """
        return with_unit_rows(checked_csr("X", X))

    def __sklearn_is_fitted__(self) -> bool:
        return True
