"""Operators that write or draw are told from others."""

from k3torch.stack import graph_nodes
from k3torch.stack.graphs import trace
import torch


def test_operators_that_write_and_those_that_draw():
    def step(x):
        x.copy_(torch.bernoulli(x) + 1)

    nodes = {node.target: node for node in trace(step, [torch.ones(3)]).graph.nodes if node.op == "call_function"}
    aten = torch.ops.aten
    assert {target for target, node in nodes.items() if graph_nodes.writes(node)} == {aten.copy_.default}
    assert {target for target, node in nodes.items() if graph_nodes.draws(node)} == {aten.bernoulli.default}
    assert aten.add.Tensor in nodes


def test_inputs_and_outputs_do_neither():
    for node in trace(lambda x: x.add_(1), [torch.ones(3)]).graph.nodes:
        if node.op != "call_function":
            assert not graph_nodes.writes(node)
            assert not graph_nodes.draws(node)
