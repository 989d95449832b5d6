"""A stack is used because its step was compared with Keras's own, on the model and the data at hand.

Two consecutive training batches and one validation batch go through Keras's own steps, on the first model, and
through the stack's graphs, from the same state. Random layers get the same fixed numbers in both
(``fixed_randomness``), since the random numbers of a stack are its own otherwise. The compiled loops are compared
with the graphs separately (``self_test``).
"""

from collections.abc import Callable, Sequence
from typing import Any

from k3torch.stack import stateless
from k3torch.stack.batch_loop import BatchLoop, Samples
from k3torch.stack.epoch_graphs import EpochGraphs
from k3torch.stack.fixed_randomness import FixedRandomness
from k3torch.stack.graphs import TracedGraph
from k3torch.training.model_state import GRADIENT, State, named_tensors
from k3torch.training.verification import differences
import keras
import numpy as np
import torch

# Two training batches show state that lives outside of Keras's variables, such as a counter in Python.
_BATCHES = {"training": 2, "validation": 1}


def first_difference(
    model: keras.Model, epochs: EpochGraphs, traced: Sequence[TracedGraph], training: Samples, validation: Samples
) -> str | None:
    """Return what a stack computes differently from Keras, or None. All state is as before when this returns.

    Args:
        model: the first of the stack, in the state that the stack begins with.
        epochs: the epochs of a stack whose first model it is; its loops have the samples in their own order.
        traced: the graphs of ``epochs``.
        training: the model's training samples.
        validation: the model's validation samples.
    """
    before, mode = State(model), model.training
    loops = {"training": epochs.training_loops, "validation": epochs.validation_loops}
    graphs = {"training": traced, "validation": traced[len(epochs.training_loops) :]}
    try:
        for kind, samples in (("training", training), ("validation", validation)):
            loop, graph = next(
                pair for pair in zip(loops[kind], graphs[kind], strict=False) if len(pair[0].batches_of(samples))
            )
            data = _batches(loop, samples, _BATCHES[kind])
            keras_steps = _keras_steps(model, data, kind)
            before.restore()
            keras_steps()
            expected, results = State(model), _results(model)
            before.restore()
            found, sums = _after_graph(model, before, graph, len(data))
            if problems := differences(model, before, expected, found, keras_steps):
                return f"in {kind}, {', '.join(problems[:3])}"
            if not np.allclose(_read(traced[-1], sums), results, rtol=1e-4, atol=1e-6, equal_nan=True):
                return f"in {kind}, the results of its metrics"
    finally:
        before.restore()
        model.train(mode)
    return None


def _batches(loop: BatchLoop, samples: Samples, count: int) -> list[tuple[torch.Tensor, ...]]:
    arrays = [samples.x, samples.y] + ([] if samples.sample_weight is None else [samples.sample_weight])
    indices = loop.batches_of(samples)[:count]
    return [tuple(torch.from_numpy(np.ascontiguousarray(array[batch])) for array in arrays) for batch in indices]


def _keras_steps(model: keras.Model, data: list[tuple[torch.Tensor, ...]], kind: str) -> Callable[[], None]:
    """Return a function that takes Keras's own step on each batch."""

    def run() -> None:
        model.train(kind == "training")  # the mode of torch modules, which Keras sets before an epoch
        step = model.train_step if kind == "training" else model.test_step
        with FixedRandomness(stacked=False):
            for batch in data:
                step(batch)

    return run


def _after_graph(
    model: keras.Model, before: State, traced: TracedGraph, steps: int
) -> tuple[State, list[torch.Tensor]]:
    """Run a graph on copies; return the state that it leaves to the first model, and the metric sums of all."""
    inputs = [tensor.clone() for tensor in traced.inputs]
    with torch.no_grad(), FixedRandomness(stacked=True):
        for _ in range(steps):
            traced.graph(*inputs)
    names = {id(each.tensor): each.name for each in named_tensors(model)}
    variables = stateless.variables(model)
    state = inputs[: len(variables)]
    tensors = {names[id(variable.value)]: value[0] for variable, value in zip(variables, state, strict=True)}
    found = State(model)  # with the random states and the state in Python as they are now
    kept = {name: value for name, value in before.tensors.items() if not name.startswith(GRADIENT)}
    sums = state[len(variables) - len(model.metrics_variables) :]
    found.tensors = kept | tensors
    return found, sums


def _results(model: keras.Model) -> list[float]:
    return [float(value) for value in model.get_metrics_result().values()]


def _read(reader: TracedGraph, sums: list[torch.Tensor]) -> Any:
    """Return the results of the first model's metrics, as the stack reads them from the sums."""
    values = torch.zeros_like(reader.inputs[-1])
    with torch.no_grad():
        reader.graph(*sums, values)
    return values[0].cpu().numpy()
