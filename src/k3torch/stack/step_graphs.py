"""One model's step as a graph that holds for any number of samples in a batch.

Keras computes with the number of samples in Python: a traced step holds it as literals, in shapes, divisors and
constant tensors. So ``joined_graph`` makes one graph of those for two sizes of batches. Models that differ only in
numbers, such as a dropout rate, have that graph in common: the numbers are inputs of it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from k3torch.stack import graphs
from k3torch.stack.device_choice import graph_on_cpu
from k3torch.stack.joined_graph import JoinedGraph
from k3torch.stack.recorded_step import Record, Variant
import torch

Tensor = torch.Tensor
Function = Callable[[list[Tensor], list[Tensor]], list[Tensor]]


class StepGraph(NamedTuple):
    """A step over ``[*state, *batch, *constants, size, seed]``, which writes the new state into the old.

    Attributes:
        graph: takes all of these, in this order.
        state: the number of tensors of the state.
        rows: of each array of a batch the first row, (1, ...): for its shape and dtype.
        constants: tensors that the step reads.
        any_size: whether the batch may have any number of samples, or only one.
        name: what it computes, for messages.

    ``size`` is the number of samples as an int64 scalar. ``seed`` is that of the step's random numbers in a compiled
    loop; the graph adds one to it.
    """

    graph: torch.fx.GraphModule
    state: int
    rows: list[Tensor]
    constants: list[Tensor]
    any_size: bool
    name: str

    def inputs(self, state: Sequence[Tensor], batch: Sequence[Tensor], size: int, seed: Tensor) -> list[Tensor]:
        """Return all inputs of the graph."""
        return [*state, *batch, *self.constants, torch.tensor(size), seed]


class Example(NamedTuple):
    """A step with what it is compiled and checked for.

    Attributes:
        step: the step.
        state: the tensors of its state.
        arrays: all samples: for each array of a batch (samples, ...).
        sizes: numbers of samples in a batch, for the check.
    """

    step: StepGraph
    state: list[Tensor]
    arrays: list[Tensor]
    sizes: tuple[int, ...]


def sizes_to_trace(occurring: Iterable[int]) -> tuple[int, ...]:
    """Return the sizes of batches to make graphs for, given those that occur: 1 if there is no other, else two others.

    Two that do not occur, so that the comparison with Keras, on those that do, tests what the graph does for any size.
    """
    used = set(occurring)
    return (1,) if used == {1} else tuple(size for size in range(5, 2 * len(used) + 9, 2) if size not in used)[:2]


def trace_at(size: int, step: Function, state: Sequence[Tensor], rows: Sequence[Tensor]) -> torch.fx.GraphModule:
    """Trace ``step(state, batch) -> new state`` as a graph of operators on the CPU.

    Args:
        size: the number of samples in the batch.
        step: of one model, on the device of its variables.
        state: its tensors on that device; only shapes and dtypes count.
        rows: of each array of a batch the first row, (1, ...), on that device.

    Raises:
        reasons.UntraceableStep: if the step does anything else than tensor operations.
    """
    return graph_on_cpu(graphs.trace(*_writing(size, step, state, rows)))


def record_at(size: int, step: Function, state: Sequence[Tensor], rows: Sequence[Tensor]) -> Record:
    """Record what ``trace_at`` traces, for a state on the CPU; errors of any kind may be raised."""
    return Record(*_writing(size, step, state, rows))


def _writing(size: int, step: Function, state: Sequence[Tensor], rows: Sequence[Tensor]) -> tuple[Any, list[Tensor]]:
    """Return a function that writes the new state into the old, and its inputs."""

    def write(*inputs: Tensor) -> None:
        old, batch = list(inputs[: len(state)]), list(inputs[len(state) : -1])
        for target, new in zip(old, torch.func.functionalize(step)(old, batch), strict=True):
            target.copy_(new)
        inputs[-1].copy_(inputs[-1] + 1)

    batch = [row.new_zeros((size, *row.shape[1:])) for row in rows]
    return write, [*state, *batch, torch.zeros((), dtype=torch.int64)]


def join_graphs(
    of_sizes: Sequence[torch.fx.GraphModule | Variant],
    sizes: Sequence[int],
    variants: Sequence[torch.fx.GraphModule | Variant],
    state: int,
    rows: Sequence[Tensor],
    name: str,
) -> list[StepGraph]:
    """Join the graphs of one step for several sizes of batches, and those of other models that differ in numbers.

    A number, or a constant tensor, that differs between the models becomes one of the ``constants``, of which each
    model has its own. All else is shared: the models have the same graph.

    Args:
        of_sizes: the graphs of the first model, for each size.
        sizes: of batches, one or two.
        variants: of each other model, for the first size; of the same ``lifted_numbers.signature`` as the first graph.
        state: the number of tensors of the state.
        rows: of each array of a batch the first row, (1, ...).
        name: what the step computes, for messages.

    Returns:
        The step of each model, the first model's first.

    Raises:
        reasons.UnsupportedGraph: if the graphs of two sizes differ in more than functions of the size, and for a number
            that differs between the models and depends on the size of the batch too.
    """
    joined = JoinedGraph(of_sizes, sizes, variants)
    graph, first_rows = joined.graph(), [row[:1].cpu() for row in rows]
    return [
        StepGraph(graph, state, first_rows, [values[number] for values in joined.constants], len(sizes) > 1, name)
        for number in range(1 + len(variants))
    ]
