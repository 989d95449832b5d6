"""Graphs in terms of operators that are known; each operator is compared with torch's in test_triton_models.py."""

from k3torch.stack import graphs
from k3torch.stack.triton_operators import ELEMENTWISE, arity, decomposed
import torch

aten = torch.ops.aten


def test_the_number_of_arguments_of_an_expression():
    assert [arity(operator) for operator in (aten.neg.default, aten.add.Tensor, aten.where.self)] == [1, 2, 3]


def test_a_graph_is_written_in_terms_of_known_operators():
    graph = graphs.trace(lambda x, seed: x.copy_(torch.nn.functional.softplus(x)), [torch.randn(5), torch.zeros(())])
    written = decomposed(graph, [*ELEMENTWISE, aten.copy_.default])
    assert aten.softplus.default not in {node.target for node in written.graph.nodes}
    x = torch.randn(5)
    expected = torch.nn.functional.softplus(x)
    written(x, torch.zeros(()))
    torch.testing.assert_close(x, expected)


def test_a_graph_of_known_operators_stays_as_it_is():
    graph = graphs.trace(lambda x, seed: x.copy_(x + 1), [torch.randn(5), torch.zeros(())])
    assert decomposed(graph, [*ELEMENTWISE, aten.copy_.default]) is graph
