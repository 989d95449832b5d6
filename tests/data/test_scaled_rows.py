"""Scaled columns and rows compared with dense arithmetic."""

from k3torch.data.scaled_rows import with_columns_scaled, with_unit_rows
from k3torch.errors import InputError
import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array


def test_columns_are_multiplied_by_their_weights():
    matrix = csr_matrix(np.array([[1, 2], [0, 3]], np.float32))
    scaled = with_columns_scaled(matrix, np.array([10, -0.5], np.float32))
    assert scaled.toarray().tolist() == [[10, -1], [0, -1.5]]
    assert scaled.dtype == np.float32
    assert matrix.data.tolist() == [1, 2, 3]
    with pytest.raises(InputError, match="3 columns, one for each weight, got 2"):
        with_columns_scaled(matrix, np.ones(3, np.float32))


def test_rows_have_length_one_and_empty_rows_stay_empty():
    matrix = csr_matrix(random_array((40, 30), density=0.05, rng=0), dtype=np.float32)
    lengths = np.linalg.norm(matrix.toarray(), axis=1)
    assert (lengths == 0).any()
    expected = matrix.toarray() / np.where(lengths > 0, lengths, 1)[:, None]
    scaled = with_unit_rows(matrix)
    np.testing.assert_allclose(scaled.toarray(), expected, rtol=1e-6)
    assert scaled.dtype == np.float32
    assert with_unit_rows(csr_matrix((2, 3), dtype=np.float32)).nnz == 0
    assert with_unit_rows(csr_matrix((0, 3), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_squares_that_float32_lacks_are_no_problem(size):
    scaled = with_unit_rows(csr_matrix(np.array([[3, 4]], np.float32) * np.float32(size)))
    np.testing.assert_allclose(scaled.toarray(), [[0.6, 0.8]], rtol=1e-6)


def test_values_of_the_same_place_are_summed_first():
    matrix = csr_matrix((np.array([1, 2, 4], np.float32), [0, 0, 1], [0, 3]), shape=(1, 2))
    np.testing.assert_allclose(with_unit_rows(matrix).toarray(), [[0.6, 0.8]], rtol=1e-6)
    assert matrix.nnz == 3  # the caller's has not changed
    zeros = csr_matrix((np.zeros(1, np.float32), [0], [0, 1]), shape=(1, 2))
    assert with_unit_rows(zeros).toarray().tolist() == [[0, 0]]
