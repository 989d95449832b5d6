"""Validation of SciPy sparse matrices.

The compiled loops of SciPy and torch trust the index arrays of a sparse matrix: a wrong index reads or writes memory
outside the arrays. ``check_format`` of SciPy trims the caller's matrix, and leaves an ``indptr`` that falls unnoticed
where the matrix has no values or ``indptr`` is unsigned. So every array is checked here, before its first use, and no
array of the caller is changed.
"""

from typing import Any

from k3torch.errors import InputError, Problem, refuse, unless
import numpy as np
from numpy.typing import NDArray
import scipy.sparse
from scipy.sparse import coo_matrix, csc_matrix, csr_matrix


def checked_csr(name: str, matrix: Any) -> csr_matrix:
    """Return ``matrix`` as float32 CSR of the same shape; a float32 CSR matrix is not copied.

    Args:
        name: what the messages call the matrix.
        matrix: a two-dimensional SciPy sparse matrix or array in CSR, CSC or COO format, of real numbers or bools.

    Raises:
        InputError: for anything else, for index arrays that contradict each other or the shape, and for values that
            are not finite in float32 (the row is named).
    """
    if not scipy.sparse.issparse(matrix):
        raise InputError(f"expected {name} as a SciPy sparse matrix, got {type(matrix).__name__}: use csr_matrix")
    if matrix.format not in ("csr", "csc", "coo"):
        raise InputError(f"expected {name} in CSR, CSC or COO format, got {matrix.format}: call its method tocsr()")
    if len(matrix.shape) != 2:
        raise InputError(f"expected {name} of two dimensions, got shape {matrix.shape}")
    arrays = [getattr(matrix, part) for part in ("data", "indices", "indptr", "row", "col") if hasattr(matrix, part)]
    if masked := sum(int(np.ma.getmaskarray(array).sum()) for array in arrays if np.ma.is_masked(array)):
        raise InputError(f"expected {name} without masked values, got {masked}: fill or drop them")
    data = np.asarray(matrix.data)
    if data.ndim != 1 or data.dtype.kind not in "biuf":
        raise InputError(f"expected real numbers as the data of {name}, got {data.dtype} of shape {data.shape}")
    with np.errstate(over="ignore"):  # what overflows is infinite, and refused below
        data = data.astype(np.float32 if data.dtype.kind == "f" else data.dtype.newbyteorder("="), copy=False)
    csr = _from_coo(name, matrix, data) if matrix.format == "coo" else _from_compressed(name, matrix, data)
    csr.data = csr.data.astype(np.float32, copy=False)
    if not np.isfinite(csr.data).all():
        first = int(np.argmin(np.isfinite(csr.data)))
        row = int(np.searchsorted(csr.indptr, first, side="right")) - 1
        raise InputError(f"expected finite float32 values in {name}, got {csr.data[first]} in row {row}")
    return csr


def _from_compressed(name: str, matrix: Any, data: NDArray[Any]) -> csr_matrix:
    """Check the arrays of a CSR or CSC matrix, then convert it."""
    major, minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    indptr, indices = np.asarray(matrix.indptr), np.asarray(matrix.indices)
    refuse(
        [
            unless(
                indices.shape == data.shape, f"as many indices as values in {name}, got {indices.size}, {data.size}"
            ),
            _indices_problem(f"indices of {name}", indices, minor),
            unless(
                is_partition(indptr, len(data)) and len(indptr) == major + 1,
                f"indptr of {name} as {major + 1} integers that do not decrease, from 0 to {len(data)}, "
                f"the number of values, got {_summary(indptr)}",
            ),
        ]
    )
    kind = csr_matrix if matrix.format == "csr" else csc_matrix
    return kind((data, indices, indptr), shape=matrix.shape).tocsr()


def _from_coo(name: str, matrix: Any, data: NDArray[Any]) -> csr_matrix:
    """Check the arrays of a COO matrix, then convert it."""
    rows, columns = np.asarray(matrix.row), np.asarray(matrix.col)
    refuse(
        [
            _indices_problem(f"row indices of {name}", rows, matrix.shape[0]),
            _indices_problem(f"column indices of {name}", columns, matrix.shape[1]),
            unless(
                rows.shape == columns.shape == data.shape,
                f"as many row and column indices as values in {name}, got {rows.size}, {columns.size}, {data.size}",
            ),
        ]
    )
    return coo_matrix((data, (rows, columns)), shape=matrix.shape).tocsr()


def is_partition(bounds: NDArray[Any], total: int) -> bool:
    """Return whether ``bounds`` are integers, shape (parts + 1,), from 0 to ``total`` that do not decrease."""
    return bool(
        bounds.ndim == 1
        and bounds.dtype.kind in "iu"
        and len(bounds) > 0
        and bounds[0] == 0
        and bounds[-1] == total
        # Compared, not subtracted: a difference of unsigned integers is never negative.
        and (bounds[:-1] <= bounds[1:]).all()
    )


def _indices_problem(name: str, indices: NDArray[Any], stop: int) -> Problem:
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        return f"{name} as integers in one dimension, got {indices.dtype} of shape {indices.shape}"
    if len(indices) == 0:
        return None
    low, high = indices.min(), indices.max()
    return unless(low >= 0 and high < stop, f"{name} from 0 to {stop - 1}, got {low} to {high}")


def _summary(array: NDArray[Any]) -> str:
    """Return up to eight elements in one line."""
    return f"{array.dtype} " + " ".join(np.array2string(array, threshold=8, max_line_width=10**6).split())
