"""Scaling of the columns and rows of a CSR matrix, without scikit-learn, whose import takes a second."""

from k3torch.errors import InputError
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


def with_columns_scaled(matrix: csr_matrix, weights: NDArray[np.float32]) -> csr_matrix:
    """Return a float32 CSR matrix with each column multiplied by its weight.

    The result has its own values, and shares the index arrays of ``matrix``.

    Args:
        matrix: float32, (samples, features).
        weights: float32, (features,).

    Raises:
        InputError: if there are not as many weights as columns.
    """
    if matrix.shape[1] != len(weights):
        raise InputError(f"expected {len(weights)} columns, one for each weight, got {matrix.shape[1]}")
    return _like(matrix, matrix.data * weights[matrix.indices])


def with_unit_rows(matrix: csr_matrix) -> csr_matrix:
    """Return a float32 CSR matrix with each row scaled to Euclidean length 1; rows of zeros stay zero.

    The result has its own values, and shares the index arrays of ``matrix`` if those have no duplicates, which are
    summed. Squares are float64, since those of small or large float32 values may be 0 or infinite.
    """
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    sizes = np.diff(matrix.indptr)
    squares = np.zeros(len(sizes))
    filled = sizes > 0
    if filled.any():
        squares[filled] = np.add.reduceat(np.square(matrix.data, dtype=np.float64), matrix.indptr[:-1][filled])
    factors = 1 / np.sqrt(np.where(squares > 0, squares, 1))
    return _like(matrix, matrix.data * np.repeat(factors.astype(np.float32), sizes))


def _like(matrix: csr_matrix, values: NDArray[np.float32]) -> csr_matrix:
    return csr_matrix((values, matrix.indices, matrix.indptr), shape=matrix.shape)
