"""Comparison of a fast step with Keras's own, on the model and the data at hand, before the fast step is used."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from k3torch.training.model_state import State
from k3torch.training.state_comparison import compare_steps, in_short
from k3torch.training.step_parts import Parts
import keras
import torch

Kind = Literal["train", "sparse train", "test", "sparse test"]
Logs = dict[str, Any]
Take = Callable[[Parts], Logs]

# The number of batches that are compared. A second one detects state outside of Keras's variables: a counter in Python,
# for example, has its effect in the step after the one that changes it.
BATCHES: dict[Kind, int] = {"train": 2, "sparse train": 2, "test": 1, "sparse test": 1}
# The number of signatures of batches (see ``signature``) that are compared. Without a limit, sequences of varying
# length would have each batch compared.
MAX_SIGNATURES = 8
# The parts that are replaced one by one if the step differs, with their names for the user, in the order of a step: if
# the forward pass is wrong, the loss computed from its output is wrong too, and replacing the first corrects both.
_REPLACEABLE = {
    "forward": "its forward pass",
    "loss": "its loss",
    "update_metrics": "its metrics",
    "update_weights": "its optimizer",
}


@dataclass(frozen=True)
class Outcome:
    """What a verified step leaves: the parts to go on with (None: Keras's own step), its logs, and what fell back."""

    parts: Parts | None
    logs: Logs
    reasons: list[str]


@dataclass
class Verification:
    """Which kinds of batches have been verified, for one choice of parts.

    Attributes:
        keras_parts: Keras's own parts, by which those that differ are replaced.
        counts: the number of verified batches of each kind and signature.
    """

    keras_parts: Parts | None = None
    counts: dict[Any, int] = field(default_factory=dict)

    def is_due(self, kind: Kind, data: Any) -> bool:
        """Return whether a batch like ``data`` has to be verified still."""
        key = kind, signature(data)
        return self.counts.get(key, 0) < BATCHES[kind] and (key in self.counts or len(self.counts) < MAX_SIGNATURES)

    def run(
        self, model: keras.Model, kind: Kind, data: Any, parts: Parts, keras_step: Callable[[], Logs], take: Take
    ) -> Outcome:
        """Take one step as Keras does and with the parts, and replace the parts that differ.

        The model ends with the step that the returned parts take, or with Keras's own step.

        Args:
            model: compiled and built.
            kind: of the step.
            data: the batch.
            parts: to verify.
            keras_step: Keras's own step on the batch.
            take: the step on the batch with given parts.
        """
        assert self.keras_parts is not None
        before = State(model, gradients=False)
        logs: dict[str, Logs] = {}

        def compare(parts: Parts) -> list[str]:
            before.restore()
            steps = (lambda: logs.update(keras=keras_step())), (lambda: logs.update(fast=take(parts)))
            return compare_steps(model, *steps, before)

        problems = compare(parts)
        gradients = [variable.value.grad for variable in model.trainable_variables]
        reasons: list[str] = []
        for name, words in _REPLACEABLE.items():
            if not problems:
                break
            if getattr(parts, name) is getattr(self.keras_parts, name):
                continue
            # A sparse step consists of the other fast parts: without one of these there is none.
            trial = replace(parts, **{"sparse": None, name: getattr(self.keras_parts, name)})
            remaining = compare(trial)
            if len(remaining) < len(problems):
                reasons.append(f"{words} (otherwise this differs: {in_short(problems)})")
                parts, problems = trial, remaining
        if problems:
            whole = f"its whole {kind} step (otherwise this differs: {in_short(problems)})"
            return Outcome(None, logs["keras"], [whole])
        if kind != "test" and self.is_first(kind, data) and parts.update_weights is not self.keras_parts.update_weights:
            after = State(model, gradients=False)
            before.restore()
            if differing := compare_updates(
                model, before, gradients, parts.update_weights, self.keras_parts.update_weights
            ):
                reasons.append(f"its optimizer (otherwise this differs: {in_short(differing)})")
                parts = replace(parts, update_weights=self.keras_parts.update_weights, sparse=None)
            after.restore()
        self.count(kind, data)
        return Outcome(parts, logs["fast"], reasons)

    def is_first(self, kind: Kind, data: Any) -> bool:
        """Return whether no batch like ``data`` has been verified."""
        return (kind, signature(data)) not in self.counts

    def count(self, kind: Kind, data: Any) -> None:
        """Count a verified batch."""
        key = kind, signature(data)
        self.counts[key] = self.counts.get(key, 0) + 1


def compare_updates(
    model: keras.Model, before: State, gradients: list[Any], update: Any, keras_update: Any
) -> list[str]:
    """Compare the updates on the same gradients, where rounding cannot hide another formula or setting.

    ``before`` is the present state.
    """
    variables = list(model.trainable_variables)
    with torch.no_grad():
        return compare_steps(
            model,
            partial(keras_update, gradients, variables),
            partial(update, gradients, variables),
            before,
        )


def signature(data: Any) -> Any:
    """Return the structure of a batch, and of each array its type and shape, but not the number of samples."""
    if isinstance(data, tuple) and all(isinstance(part, torch.Tensor) for part in data):  # nearly always
        return tuple([(part.dtype, part.layout, _trailing(part), len(part) > 0) for part in data])
    kinds = [
        (type(leaf), str(getattr(leaf, "dtype", "")), _trailing(leaf), _is_empty(leaf))
        for leaf in keras.tree.flatten(data)
    ]
    return str(keras.tree.map_structure(lambda _: 0, data)), tuple(kinds)


def _trailing(leaf: Any) -> tuple[int, ...]:
    return tuple(list(getattr(leaf, "shape", ()))[1:])


def _is_empty(leaf: Any) -> bool:
    shape: Any = getattr(leaf, "shape", ())
    return len(shape) > 0 and shape[0] == 0
