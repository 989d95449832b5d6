"""The shapes of Triton's blocks."""

from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.triton_blocks import as_matrix, block, padded, transposed_vector
import pytest


def test_sizes_are_padded_to_one_or_a_power_of_two_from_16_on():
    assert [padded(n) for n in (1, 2, 13, 16, 17, 64, 65)] == [1, 16, 16, 16, 32, 64, 128]


def test_shapes_are_aligned_to_the_last_dimension():
    assert [as_matrix(shape) for shape in ((), (3,), (2, 3))] == [(1, 1), (1, 3), (2, 3)]
    with pytest.raises(UnsupportedGraph):
        as_matrix((1, 2, 3))


def test_too_large_blocks_are_refused():
    assert block((100, 128)) == [128, 128]
    with pytest.raises(UnsupportedGraph, match="a tensor of shape"):
        block((130, 128))


def test_a_row_becomes_a_column():
    assert transposed_vector("x", 0) == "tl.sum(x, axis=0)[:, None]"
    assert transposed_vector("x", 1) == "tl.sum(x, axis=1)[None, :]"
