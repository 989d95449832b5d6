"""Graphs that differ in more than numbers are refused; ``test_lifted_numbers`` tests what joins."""

from k3torch.stack.joined_graph import JoinedGraph
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.step_graphs import trace_at
import pytest
import torch


def traced(function, size):
    return trace_at(size, lambda _, batch: [function(batch[0]).sum(0)], [torch.zeros(3)], [torch.ones(1, 3)])


def test_other_operations_are_refused():
    sizes = [traced(lambda x: x * 2, size) for size in (5, 7)]
    with pytest.raises(UnsupportedGraph, match="operations"):
        JoinedGraph(sizes, (5, 7), [traced(lambda x: x + 2, 5)]).graph()
    with pytest.raises(UnsupportedGraph, match="numbers of operations"):
        JoinedGraph(sizes, (5, 7), [traced(lambda x: x * 2 + 1, 5)]).graph()


def test_each_model_has_its_value_of_a_constant():
    sizes = [traced(lambda x: x * 2.0, size) for size in (5, 7)]
    joined = JoinedGraph(sizes, (5, 7), [traced(lambda x: x * 3.0, 5)])
    joined.graph()
    assert [[float(value) for value in values] for values in joined.constants] == [[2.0, 3.0]]
