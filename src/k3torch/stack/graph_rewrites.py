"""Rewrites of a graph into operators that torch's compiler writes as plain loops."""

from typing import Any

import torch

# Multiplications from which a library's product of a vector and a matrix is faster than a loop.
LARGE_PRODUCT = 2**20


def fused_product(a: torch.Tensor, b: torch.Tensor) -> Any:
    """Multiply (n, k) by (k, m) matrices in a loop that is fused with its neighbours, where one is a vector.

    Other products stay calls of a library.
    """
    rows, inner, columns = a.shape[-2], a.shape[-1], b.shape[-1]
    if isinstance(inner, int) and inner == 1:  # an outer product: no sum
        return a * b
    vectors = any(isinstance(size, int) and size == 1 for size in (rows, columns))
    if not vectors or not isinstance(a.numel(), int) or a.numel() * columns > LARGE_PRODUCT:
        return NotImplemented
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)
