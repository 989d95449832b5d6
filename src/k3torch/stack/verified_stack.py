"""A stack is used because its step was compared with Keras's own, on the model and the data at hand.

Two training batches and two validation batches of the first model go through Keras's own steps and through the stack's
graphs, from the same state. Random layers get the same fixed numbers in both (``fixed_randomness``), since the random
numbers of a stack are its own otherwise. The compiled loops are compared with the graphs separately
(``compiled_check``).
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter

from k3torch.stack import stateless
from k3torch.stack.fixed_randomness import FixedRandomness
from k3torch.stack.model_group import Kind, ModelGroup
from k3torch.training.model_state import GRADIENT, State, named_tensors
from k3torch.training.state_comparison import differences, in_short
import keras
import numpy as np
import torch

Step = Callable[[], int]
PARTS: tuple[Kind, ...] = ("training", "validation")


@dataclass
class Comparison:
    """What a stack computes differently from Keras, or None, and how long Keras's own training step takes.

    Attributes:
        keras_seconds: of the second step of the first model.
    """

    difference: str | None = None
    keras_seconds: float = 0.0


def compare_with_keras(groups: Sequence[ModelGroup], kinds: Sequence[Hashable] | None = None) -> Comparison:
    """Compare a stack's steps with Keras's own. All state is as before when this returns.

    One model of each kind is compared, on a batch of training and one of validation, and so is each model with a batch
    size that no earlier model has, on two of each.

    Args:
        groups: in the state that the stack begins with; their models are too.
        kinds: of each model; models of one kind differ in nothing but weights and samples. None: all kinds differ.
    """
    comparison = Comparison()
    members = [(group, member) for group in groups for member in range(len(group.models))]
    known_kinds: set[Hashable] = set()
    known_sizes: set[tuple[Kind, int]] = set()
    for number, (group, member) in enumerate(members):
        sizes = {(part, len(batch[0])) for part in PARTS for batch in group.batches(part, member, 2)}
        kind = number if kinds is None else kinds[number]
        if kind in known_kinds and sizes <= known_sizes:
            continue
        count = 1 if sizes <= known_sizes else 2
        known_kinds.add(kind)
        known_sizes |= sizes
        model = group.models[member]
        before, mode = State(model), model.training
        try:
            for part in PARTS:
                times = comparison if (number, part) == (0, "training") else Comparison()
                if difference := _difference(group, member, part, count, before, times):
                    comparison.difference = f"in {part}, {difference}" + (f" (model {number + 1})" if number else "")
                    return comparison
        finally:
            before.restore()
            model.train(mode)
    return comparison


def _difference(group: ModelGroup, member: int, kind: Kind, count: int, before: State, times: Comparison) -> str | None:
    """Compare the state that Keras's steps leave with the one that the graph of as many steps leaves."""
    model = group.models[member]
    before.restore()
    keras_steps = _keras_steps(model, group.batches(kind, member, count), kind, times)
    keras_steps()
    expected, results = State(model), _results(model)
    before.restore()
    with FixedRandomness(stacked=group.stacked):
        after = group.after_steps(kind, member, count)
    if problems := differences(model, before, expected, _state(model, before, after.state), keras_steps):
        return in_short(problems)
    if not np.allclose(after.metrics.numpy(), results, rtol=1e-4, atol=1e-6, equal_nan=True):
        return "the results of its metrics"
    return None


def _keras_steps(model: keras.Model, data: list[list[torch.Tensor]], kind: Kind, times: Comparison) -> Step:
    """Return a function that takes Keras's own step on each batch, and returns their number."""

    def run() -> int:
        model.train(kind == "training")  # the mode of torch modules, which Keras sets before an epoch
        step = model.train_step if kind == "training" else model.test_step
        with FixedRandomness(stacked=False):
            for batch in data:
                start = perf_counter()
                step(tuple(batch))
                times.keras_seconds = perf_counter() - start
        return len(data)

    return run


def _state(model: keras.Model, before: State, tensors: list[torch.Tensor]) -> State:
    """Return a model's state with these tensors in place of its own."""
    names = {id(each.tensor): each.name for each in named_tensors(model)}
    own = {
        names[id(variable.value)]: tensor.to(variable.value.device)
        for variable, tensor in zip(stateless.variables(model), tensors, strict=True)
    }
    found = State(model)  # with the random states and the state in Python as they are now
    kept = {name: value for name, value in before.tensors.items() if not name.startswith(GRADIENT)}
    found.tensors = kept | own
    return found


def _results(model: keras.Model) -> list[float]:
    return [float(value) for value in model.get_metrics_result().values()]
