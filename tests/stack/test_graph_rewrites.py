"""Rewritten products compute what the products did."""

from k3torch.stack.graph_rewrites import LARGE_PRODUCT, fused_product
import pytest
import torch


@pytest.mark.parametrize("batch", [(), (3,)])
@pytest.mark.parametrize("sizes", [(1, 5, 2), (4, 5, 1), (4, 1, 2), (1, 1, 1), (1, 5, 1), (1, 1, 7)])
def test_a_product_with_a_vector_is_the_matrix_product_also_of_batches(sizes, batch):
    rows, inner, columns = sizes
    a, b = torch.randn(*batch, rows, inner), torch.randn(*batch, inner, columns)
    torch.testing.assert_close(fused_product(a, b), a @ b)


def test_a_product_of_matrices_is_left_alone():
    assert fused_product(torch.ones(2, 3), torch.ones(3, 2)) is NotImplemented
    assert fused_product(torch.ones(3, 2, 3), torch.ones(3, 3, 2)) is NotImplemented


def test_a_large_product_with_a_vector_is_left_alone():
    assert fused_product(torch.empty(1, 2048), torch.empty(2048, LARGE_PRODUCT // 2048)).shape == (1, 512)
    assert fused_product(torch.empty(1, 2048), torch.empty(2048, LARGE_PRODUCT // 2048 + 1)) is NotImplemented
    batches = torch.empty(2, 1, 1024), torch.empty(2, 1024, 1024)  # 2 * 1024 * 1024 multiplications
    assert fused_product(*batches) is NotImplemented
    assert fused_product(batches[0], batches[1][..., :512]).shape == (2, 1, 512)


def test_an_outer_product_is_fused_whatever_its_size():
    assert fused_product(torch.ones(2048, 1), torch.ones(1, 2048)).shape == (2048, 2048)
