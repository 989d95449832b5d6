"""A stack is used because its step was compared with Keras's own, on the model and the data at hand.

Two consecutive training batches and one validation batch go through Keras's own steps, on the first model, and
through the stack's graphs, from the same state. Random layers get the same fixed numbers in both
(``fixed_randomness``), since the random numbers of a stack are its own otherwise. The compiled loops are compared
with the graphs separately (``compiled_check``).
"""

from collections.abc import Callable, Sequence
from typing import Any

from k3torch.stack import stateless
from k3torch.stack.batch_loop import BatchLoop, Samples
from k3torch.stack.epoch_graphs import EpochGraphs
from k3torch.stack.fixed_randomness import FixedRandomness
from k3torch.stack.graphs import TracedGraph
from k3torch.training.model_state import GRADIENT, State, named_tensors
from k3torch.training.state_comparison import differences
import keras
import numpy as np
import torch

Step = Callable[[], int]

# Two training batches show state that lives outside of Keras's variables, such as a counter in Python.
_TRAINING, _VALIDATION = 2, 1


def difference_from_keras(
    models: Sequence[keras.Model],
    epoch_graphs: Sequence[EpochGraphs],
    traced: Sequence[TracedGraph],
    training: Sequence[Samples],
    validation: Sequence[Samples],
) -> str | None:
    """Return what a stack computes differently from Keras, or None. All state is as before when this returns.

    Two training batches and one validation batch of the first model are compared. Of each further model, which may
    differ from the first in what no configuration shows, one training batch is compared.

    Args:
        models: in the state that the stack begins with.
        epoch_graphs: one for each model, or a single one for all; their loops have the samples in their own order.
        traced: the graphs of the first of them.
        training: each model's training samples.
        validation: each model's validation samples.
    """
    for number, model in enumerate(models):
        each, member = (epoch_graphs[number], 0) if len(epoch_graphs) > 1 else (epoch_graphs[0], number)
        loops = list(zip(each.training_loops, traced, strict=False))
        comparisons = [("training", loops, training[number], 1 if number else _TRAINING)]
        if not number:
            held_out = traced[len(each.training_loops) :]
            loops = list(zip(each.validation_loops, held_out, strict=False))
            comparisons.append(("validation", loops, validation[0], _VALIDATION))
        before, mode = State(model), model.training
        try:
            for kind, pairs, samples, batches in comparisons:
                loop, graph = next(pair for pair in pairs if len(pair[0].batches_of(samples)))
                data = _batches(loop, samples, batches)
                inputs = [tensor.clone() for tensor in loop.inputs]
                if difference := _difference(
                    model, before, _keras_steps(model, data, kind), graph, inputs, member, traced
                ):
                    return f"in {kind}, {difference}" + (f" (model {number + 1})" if number else "")
        finally:
            before.restore()
            model.train(mode)
    return None


def _difference(
    model: keras.Model,
    before: State,
    keras_steps: Step,
    graph: TracedGraph,
    inputs: list[torch.Tensor],
    member: int,
    traced: Sequence[TracedGraph],
) -> str | None:
    """Compare the state that Keras's steps leave with the one that as many runs of a graph leave."""
    before.restore()
    steps = keras_steps()
    expected, results = State(model), _results(model)
    before.restore()
    found, sums = _after_graph(model, before, graph, inputs, steps, member)
    if problems := differences(model, before, expected, found, keras_steps):
        return ", ".join(problems[:3])
    if not np.allclose(_read(traced[-1], sums, member), results, rtol=1e-4, atol=1e-6, equal_nan=True):
        return "the results of its metrics"
    return None


def _batches(loop: BatchLoop, samples: Samples, count: int) -> list[tuple[torch.Tensor, ...]]:
    """Return the first batches of the loop's size, as Keras's steps take them."""
    indices = loop.batches_of(samples)[:count]
    return [
        tuple(torch.from_numpy(np.ascontiguousarray(array[batch])) for array in samples.arrays()) for batch in indices
    ]


def _keras_steps(model: keras.Model, data: list[tuple[torch.Tensor, ...]], kind: str) -> Step:
    """Return a function that takes Keras's own step on each batch, and returns their number."""

    def run() -> int:
        model.train(kind == "training")  # the mode of torch modules, which Keras sets before an epoch
        step = model.train_step if kind == "training" else model.test_step
        with FixedRandomness(stacked=False):
            for batch in data:
                step(batch)
        return len(data)

    return run


def _after_graph(
    model: keras.Model, before: State, traced: TracedGraph, inputs: list[torch.Tensor], steps: int, member: int
) -> tuple[State, list[torch.Tensor]]:
    """Run a graph on ``inputs``; return the state that it leaves to a model, and the metric sums of all."""
    with torch.no_grad(), FixedRandomness(stacked=True):
        for _ in range(steps):
            traced.graph(*inputs)
    names = {id(each.tensor): each.name for each in named_tensors(model)}
    variables = stateless.variables(model)
    state = inputs[: len(variables)]
    tensors = {names[id(variable.value)]: value[member] for variable, value in zip(variables, state, strict=True)}
    found = State(model)  # with the random states and the state in Python as they are now
    kept = {name: value for name, value in before.tensors.items() if not name.startswith(GRADIENT)}
    sums = state[len(variables) - len(model.metrics_variables) :]
    found.tensors = kept | tensors
    return found, sums


def _results(model: keras.Model) -> list[float]:
    return [float(value) for value in model.get_metrics_result().values()]


def _read(reader: TracedGraph, sums: list[torch.Tensor], member: int) -> Any:
    """Return the results of a model's metrics, as the stack reads them from the sums."""
    values = torch.zeros_like(reader.inputs[-1])
    with torch.no_grad():
        reader.graph(*sums, values)
    return values[member].cpu().numpy()
