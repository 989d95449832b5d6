"""Tensors as Triton's blocks: two dimensions, padded to the sizes that Triton supports."""

from collections.abc import Sequence
from typing import Any

from k3torch.stack.reasons import UnsupportedGraph
import torch

Shape = tuple[int, ...]

TYPES = {torch.float32: "tl.float32", torch.int64: "tl.int64", torch.int32: "tl.int32", torch.bool: "tl.int1"}
# Numbers of a model's state that the registers of a multiprocessor hold, with room for gradients and temporaries.
MAX_STATE = 24_576
MAX_BLOCK = 2**14  # elements of a tensor that the registers of a program can hold


def padded(size: int) -> int:
    """Return the size of a dimension of a block: 1, or a power of two from 16 on, as products of blocks need it."""
    return 1 if size == 1 else max(16, 1 << (size - 1).bit_length())


def as_matrix(shape: Sequence[int]) -> tuple[int, int]:
    """Return a shape as two dimensions, aligned to the last as in broadcasting."""
    if len(shape) > 2:
        raise UnsupportedGraph(f"a tensor of {len(shape)} dimensions")
    first, second = [1] * (2 - len(shape)) + [int(size) for size in shape]
    return first, second


def block(shape: Shape) -> list[int]:
    """Return the shape of the block of a tensor.

    Raises:
        UnsupportedGraph: for a tensor of more than two dimensions, or of too many elements.
    """
    rows, columns = map(padded, as_matrix(shape))
    if rows * columns > MAX_BLOCK:
        raise UnsupportedGraph(f"a tensor of shape {shape}")
    return [rows, columns]


def transposed_vector(vector: str, axis: int) -> str:
    """Return a row (axis 0) as a column, or a column (axis 1) as a row.

    Triton distributes the result like the block that it meets next; that of ``tl.reshape`` it gives to one thread.
    """
    return f"tl.sum({vector}, axis={axis})[{':, None' if axis == 0 else 'None, :'}]"


def shape_of(node: Any) -> Shape:
    """Return the shape of the tensor that a node of a graph stands for."""
    return tuple(node.meta["val"].shape)
