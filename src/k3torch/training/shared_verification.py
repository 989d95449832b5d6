"""The choice and the verification of a step's parts in several processes.

Each process compares steps on its own samples, without the other processes, as a process alone does. Then the state
from before is put back, and the processes take the step together. In the first steps all of them verify, and a part
that falls back in one process falls back in all. So they call the same operations in the same order, and update
weights by the same formula.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from k3torch import processes
from k3torch.errors import InputError
from k3torch.training.averaged_parts import AveragedParts, samples_of
from k3torch.training.distributed import any_of_all, group_device, is_seed, sum_of_all
from k3torch.training.model_state import State, named_tensors
from k3torch.training.python_state import is_own, reachable
from k3torch.training.step_parts import Choice, Parts, choose_parts
from k3torch.training.verified_step import BATCHES, Kind, Logs, Outcome, Take, Verification
import keras
import torch

_NAMES = ("forward", "loss", "update_metrics", "update_weights")
_SEVERAL = "several processes"


class ProcessStep:
    """What a model with the steps of ``FastStep`` overrides of Keras for several processes."""

    _is_alone = False  # while steps are compared

    def get_metrics_result(self: Any) -> Logs:
        """As in Keras; of several processes all call it, and get the metrics of all samples."""
        if processes.count() == 1:
            return super().get_metrics_result()  # type: ignore[misc,no-any-return]
        symbolic = any(variable.value.device.type == "meta" for variable in self.metrics_variables)
        if self._is_alone or symbolic:  # Keras builds metrics on shapes without values
            return _results(self)
        with torch.no_grad():
            sums = [(variable, sum_of_all(variable.value.detach().clone())) for variable in self.metrics_variables]
            with keras.StatelessScope(state_mapping=sums):
                return _results(self)

    def _initialize_ddp(self) -> None:
        """Keep Keras 3.16 from wrapping the model, which would average its gradients a second time."""


def _results(model: keras.Model) -> Logs:
    """Return the metrics, without summing them over the processes as Keras 3.16 does."""
    results: Logs = {}
    for metric in model.metrics:
        value = metric.result()
        results |= value if isinstance(value, dict) else {metric.name: value}
    return results


@contextmanager
def _alone(model: Any) -> Iterator[None]:
    """Have ``model`` compute metrics of this process's samples within the block."""
    before, model._is_alone = model._is_alone, True
    try:
        yield
    finally:
        model._is_alone = before


def changed_in_any(changed: bool) -> bool:
    """Return whether the settings of a model changed in any process: the parts are chosen again in all or in none.

    A layer that counts its calls changes in those processes only that have samples in a batch.
    """
    return changed if processes.count() == 1 else any_of_all([changed], group_device())[0]


def verified_choice(model: keras.Model) -> tuple[Parts | None, Verification, list[str]]:
    """Return the parts of a model's step, what verifies them, and the reasons for those that fall back to Keras.

    Raises:
        InputError: in several processes, for a model that they cannot train together.
    """
    if processes.count() == 1:
        choice = choose_parts(model)
        return choice.parts, Verification(choice.keras_parts), choice.reasons
    with _alone(model):
        choice = choose_parts(model)
    if choice.parts is None:
        if choice.reasons:
            _refuse(", ".join(choice.reasons))
        return None, Verification(), []  # without an optimizer or trainable variables
    strange = [each for each in reachable(model, through_functions=False) if _sums_may_differ(each)]
    if strange:
        raise InputError(
            f"expected metrics of Keras or subclasses of keras.metrics.Mean in {_SEVERAL}, whose variables are sums "
            f"over samples, got {type(strange[0]).__name__}"
        )
    parts = choice.parts
    dense = _SEVERAL if parts.sparse is not None else parts.dense_reason
    averaged = AveragedParts(model, replace(parts, sparse=None, dense_reason=dense))
    return averaged.parts(), SharedVerification(choice, averaged), choice.reasons


def _sums_may_differ(item: Any) -> bool:
    return isinstance(item, keras.Metric) and is_own(item) and not isinstance(item, keras.metrics.Mean)


def _refuse(reason: str) -> None:
    raise InputError(
        f"expected a model whose gradients {_SEVERAL} can average, got one that needs Keras's own {reason}"
    )


class SharedVerification(Verification):
    """Verifies parts in each process, and takes the verified steps in all of them together."""

    def __init__(self, choice: Choice, averaged: AveragedParts):
        super().__init__(choice.keras_parts)
        self._averaged = averaged
        self._taken: Counter[Kind] = Counter()

    def is_due(self, kind: Kind, data: Any) -> bool:
        """Return whether to verify: the first steps in all processes, later ones for batches of another kind."""
        return self._taken[kind] < BATCHES[kind] or (samples_of(data) > 0 and super().is_due(kind, data))

    def run(
        self, model: keras.Model, kind: Kind, data: Any, parts: Parts, keras_step: Callable[[], Logs], take: Take
    ) -> Outcome:
        """Compare steps in this process, and then take the step together; for the arguments see ``Verification``.

        Raises:
            InputError: for a model that changes more than its weights in training, which would differ between the
                processes, for one whose whole step falls back to Keras, and for fewer samples in a batch than
                processes.
        """
        before, local = State(model, gradients=False), self._averaged.local
        outcome = Outcome(local, {}, [])
        if samples_of(data):
            with _alone(model):
                outcome = super().run(model, kind, data, local, keras_step, take)
        verdict = self._verdict(model, kind, data, before, outcome)
        before.restore()
        if self._taken[kind] < BATCHES[kind]:
            verdict = any_of_all(verdict, local.device)
        *fell_back, whole, changes, empty = verdict
        is_trained = int(model.optimizer.iterations) > 0  # then these may be the first steps of parts chosen again
        if empty and not self._taken[kind] and not is_trained:
            raise InputError(f"expected a batch_size of {processes.count()}, the number of processes, or more")
        if whole:
            _refuse("; ".join(outcome.reasons) or "step, for the samples of another process")
        if changes:
            raise InputError(
                f"expected a model that changes nothing but its weights in training in {_SEVERAL}, got another, such "
                "as one with BatchNormalization, whose means would be those of each process's samples"
            )
        if fell_back[-1] and self._taken[kind] >= BATCHES[kind]:
            _refuse("optimizer for a batch of another kind")
        self._taken[kind] += 1
        names = [name for name, fell in zip(_NAMES, fell_back, strict=True) if fell]
        self._averaged.local = replace(local, **{name: getattr(self.keras_parts, name) for name in names})
        return Outcome(parts, take(parts), outcome.reasons)

    def _verdict(self, model: keras.Model, kind: Kind, data: Any, before: State, outcome: Outcome) -> list[bool]:
        """Return which parts fell back, whether all did, whether state changed, and whether there are no samples."""
        local, kept = self._averaged.local, outcome.parts
        fell_back = [kept is not None and getattr(kept, name) is not getattr(local, name) for name in _NAMES]
        return [*fell_back, kept is None, kind == "train" and _changes_state(model, before), not samples_of(data)]


def _changes_state(model: keras.Model, before: State) -> bool:
    """Return whether a training step has changed more than weights, optimizer, metrics and seeds."""
    variables = [*model.trainable_variables, *model.optimizer.variables, *model.metrics_variables]
    known = {id(variable.value) for variable in variables}
    others = [
        (name, tensor) for name, tensor, _ in named_tensors(model) if id(tensor) not in known and not is_seed(name)
    ]
    return any(name not in before.tensors or not torch.equal(tensor, before.tensors[name]) for name, tensor in others)
