"""Rewritten graphs compute what the graphs did."""

from k3torch.stack import graphs
from k3torch.stack.graph_rewrites import LARGE_PRODUCT, small_product, with_plain_constants
import torch


def test_a_small_product_is_the_matrix_product_also_of_batches():
    a, b = torch.randn(3, 4, 5), torch.randn(3, 5, 2)
    torch.testing.assert_close(small_product(a, b), a @ b)
    torch.testing.assert_close(small_product(a[0], b[0]), a[0] @ b[0])


def test_a_large_product_is_left_alone():
    side = round(LARGE_PRODUCT ** (1 / 3)) + 1
    assert small_product(torch.empty(side, side), torch.empty(side, side)) is NotImplemented
    batches = torch.empty(2, 1024, 4), torch.empty(2, 4, 1024)  # 2 * 1024 * 4 * 1024 multiplications
    assert small_product(*batches) is NotImplemented
    assert small_product(batches[0][:, :16], batches[1][..., :16]).shape == (2, 16, 16)


def test_constants_of_one_number_become_full_and_others_stay():
    same, different = torch.full((2, 3), 1.5), torch.arange(6.0).reshape(2, 3)

    def add(x):
        x.add_(same).mul_(different)

    graph = graphs.trace(add, [torch.ones(2, 3)])
    plain = with_plain_constants(graph)
    mine, reference = torch.ones(2, 3), torch.ones(2, 3)
    plain(mine)
    graph(reference)
    assert mine.tolist() == reference.tolist() == [[0, 2.5, 5], [7.5, 10, 12.5]]
    targets = [node.target for node in plain.graph.nodes]
    assert torch.ops.aten.full.default in targets
    assert len(plain.graph.find_nodes(op="get_attr")) == len(graph.graph.find_nodes(op="get_attr")) - 1
