"""Small steps for the tests of compiled loops."""

from k3torch.stack.graphs import trace
from k3torch.stack.step_graphs import Example, StepGraph, join_graphs, trace_at
import torch


def seed():
    return torch.zeros((), dtype=torch.int64)


def trace_step(step, state, rows, sizes, name):
    """The graph of a step that is traced for each of these sizes of batches."""
    of_sizes = [trace_at(size, step, state, rows) for size in sizes]
    return join_graphs(of_sizes, sizes, [], len(state), rows, name)[0]


def without_batch(function, state, name="a step"):
    """An example of a step without samples, which writes into its state: ``function(*state)``."""

    def step(*inputs):
        function(*inputs[: len(state)])
        inputs[-1].add_(1)

    graph = trace(step, [*state, torch.tensor(1), seed()])
    return Example(StepGraph(graph, len(state), [], [], False, name), list(state), [], (1,))


def with_batch(step, state, arrays, sizes=(2, 3), any_size=True, name="a step"):
    """An example of ``step(state, batch) -> new state``."""
    rows = [array[:1] for array in arrays]
    traced = trace_step(step, state, rows, (5, 7) if any_size else (1,), name)
    return Example(traced, list(state), list(arrays), tuple(sizes))
