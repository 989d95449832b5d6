"""Comparing compiled loops with the graphs that they were made from, on copies of their tensors.

Each step runs by torch operators and as a loop, from equal tensors, and all tensors of its state are then compared,
since a step writes its results into them. Batches of each size that occurs are compared, gathered from the samples in
reversed order. The steps of an epoch run one after another, as in training: the metrics are read from the sums that
training and validation have left.

What is compared:

- Tensors that do not depend on random numbers: integers must be equal, floats must agree to float32 rounding. This
  includes the tensors that the graph does not write: the loop must leave them unchanged.
- Tensors that depend on random numbers, such as weights after dropout: where the graph leaves a finite number, the
  loop must leave a finite number too. Their values differ, since a loop has its own random numbers.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from k3torch import runtime
from k3torch.stack.graph_nodes import draws, writes
from k3torch.stack.step_graphs import Example
import torch

Tensors = Sequence[torch.Tensor]

_RTOL, _ATOL = 1e-4, 1e-5
# Some optimizers (Adam, Lion) divide a gradient by its own size, which turns the rounding error of a zero gradient into
# a full step. So the graph is run once more from inputs with this relative noise, and the loop's results may differ
# from the graph's by ten times what the noise changes.
_NOISE = 1e-6


class Loop(Protocol):
    """A step that runs otherwise than by its graph: ``compiled_loops.CompiledLoop``."""

    def bind(self, state: Tensors, arrays: Tensors, seed: torch.Tensor) -> Callable[..., None]:
        """Return a function of the size of a batch, the number of batches and the order of the samples."""


def difference_from_graphs(examples: Sequence[Example], loops: Sequence[Loop]) -> str | None:
    """Return which step, and which of its tensors, a loop computes wrongly, or None if none does.

    Args:
        examples: in the order in which they run; their tensors keep their values.
        loops: of the same steps.
    """
    with runtime.single_threaded():  # as in training
        state = {id(tensor): tensor.clone() for example in examples for tensor in example.state}
        for example, loop in zip(examples, loops, strict=True):
            for size in example.sizes:
                current = [state[id(tensor)] for tensor in example.state]
                difference, after = _difference(example, loop, current, size)
                if difference:
                    return difference
                state |= {id(tensor): value for tensor, value in zip(example.state, after, strict=True)}
    return None


def _difference(example: Example, loop: Loop, current: Tensors, size: int) -> tuple[str | None, list[torch.Tensor]]:
    """Compare one step over a batch of ``size`` samples; also return the state that the graph leaves."""
    graph = example.step.graph
    samples = len(example.arrays[0]) if example.arrays else 0
    order = torch.arange(samples - 1, samples - 1 - size, -1) if samples else None
    batch = [array[order] for array in example.arrays]
    rest = [*batch, *example.step.constants, torch.tensor(size)]

    def run(state: Tensors) -> list[torch.Tensor]:
        inputs = [*(tensor.clone() for tensor in state), *rest, torch.zeros((), dtype=torch.int64)]
        # Random numbers of the test must not change those of the training.
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            graph(*inputs)
        return [*inputs[: len(state)], inputs[-1]]

    # From the floats that one step leaves: factors of zero would hide wrong numbers.
    before = [new if new.is_floating_point() else old.clone() for old, new in zip(current, run(current), strict=False)]
    computed, seed = [tensor.clone() for tensor in before], torch.zeros((), dtype=torch.int64)
    loop.bind(computed, example.arrays, seed)(size, 1, order)
    expected = run(before)
    where = f" of the graph of {example.step.name}, batches of {size},"
    return _first_difference(graph, run, before, [*computed, seed], expected, where), expected[:-1]


def disagreement(graph: torch.fx.GraphModule, before: Tensors, computed: Tensors) -> str | None:
    """Return which tensor a compiled graph has left with other numbers than its operators leave, or None.

    Args:
        graph: writes into its inputs.
        before: the inputs of both.
        computed: the inputs as the compiled graph has left them.
    """

    def run(inputs: Tensors) -> list[torch.Tensor]:
        copies = [tensor.clone() for tensor in inputs]
        with torch.no_grad():
            graph(*copies)
        return copies

    return _first_difference(graph, run, before, computed, run(before))


def _first_difference(
    graph: torch.fx.GraphModule,
    run: Callable[[Tensors], Tensors],
    before: Tensors,
    computed: Tensors,
    expected: Tensors,
    where: str = "",
) -> str | None:
    """Return which input of a graph was left with other numbers than its operators leave, and by how much, or None.

    Args:
        graph: writes into its inputs.
        run: returns the inputs as the operators leave them, without changing its argument.
        before: the inputs.
        computed: the inputs as something else than the operators has left them.
        expected: ``run(before)``.
        where: is added to the number of the input in the text.
    """
    drawn = random_inputs(graph)
    nearby: Tensors | None = None
    for number, (mine, theirs) in enumerate(zip(computed, expected, strict=True)):
        if number in drawn:
            agree = _finite_where(theirs, mine)
        elif not (agree := _agree(mine, theirs, theirs)):
            nearby = nearby or run(_with_noise(before, written_inputs(graph)))
            agree = _agree(mine, theirs, nearby[number])
        if not agree:
            return f"input {number}{where} {_size(mine, theirs)}"
    return None


def written_inputs(graph: torch.fx.GraphModule) -> set[int]:
    """Return the numbers of the inputs that the graph writes into."""
    written = {node for writing in graph.graph.nodes if writes(writing) for node in _targets(writing)}
    return {number for number, node in enumerate(_inputs(graph)) if node in written}


def random_inputs(graph: torch.fx.GraphModule) -> set[int]:
    """Return the numbers of the inputs whose values, after the graph has run, depend on random numbers."""
    drawn: set[torch.fx.Node] = set()
    size = -1
    while len(drawn) > size:  # until nothing is added: an input that is written may be read by an earlier operator
        size = len(drawn)
        for node in graph.graph.nodes:
            if draws(node) or any(argument in drawn for argument in node.all_input_nodes):
                drawn |= {node, *_targets(node)}
    return {number for number, node in enumerate(_inputs(graph)) if node in drawn}


def _inputs(graph: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return list(graph.graph.find_nodes(op="placeholder"))


def _targets(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """Yield the nodes whose tensor an operator writes into: its first argument, and what that is a view of."""
    if writes(node):
        while writes(node) or _is_view(node):
            node = node.args[0]  # type: ignore[assignment]
            yield node


def _is_view(node: torch.fx.Node) -> bool:
    return bool(getattr(node.target, "is_view", False))


def _with_noise(inputs: Tensors, numbers: set[int]) -> list[torch.Tensor]:
    """Return copies of the inputs, with noise of relative size 1e-6 in those of the given numbers that are floats."""
    generator = torch.Generator().manual_seed(0)
    copies = [tensor.clone() for tensor in inputs]
    for number in numbers & set(range(len(copies))):
        if copies[number].is_floating_point():
            noise = torch.randn(copies[number].shape, generator=generator, dtype=copies[number].dtype)
            copies[number] *= 1 + _NOISE * noise.to(copies[number].device)
    return copies


def _agree(computed: torch.Tensor, expected: torch.Tensor, nearby: torch.Tensor) -> bool:
    if not expected.is_floating_point():
        return torch.equal(computed, expected)
    if torch.allclose(computed, expected, rtol=_RTOL, atol=_ATOL, equal_nan=True):
        return True  # by a stricter rule than the one below, which takes several times as long
    finite = expected[expected.isfinite()]
    scale = max(1.0, float(finite.abs().max())) if len(finite) else 1.0
    spread = (nearby - expected).nan_to_num(0.0).abs()
    allowed = _ATOL * scale + 10 * (float(spread.max()) if spread.numel() else 0.0)
    return torch.allclose(computed, expected, rtol=_RTOL, atol=allowed, equal_nan=True)


def _finite_where(expected: torch.Tensor, computed: torch.Tensor) -> bool:
    """Return whether ``computed`` is finite wherever ``expected`` is."""
    return bool((computed.isfinite() | ~expected.isfinite()).all())


def _size(computed: torch.Tensor, expected: torch.Tensor) -> str:
    difference = float((computed.double() - expected.double()).abs().max())
    return f"of shape {tuple(computed.shape)}, by {difference:.2g}"
