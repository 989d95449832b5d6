"""The state of a stack for a checkpoint: each group of models is copied after an epoch of its own."""

from collections.abc import Sequence
from typing import Any

from k3torch.stack.model_stack import ModelStack
from k3torch.training.checkpoint_file import fitting
from k3torch.training.model_state import set_random_states
from k3torch.validation.checkpoints import Current, Values
from k3torch.validation.stopping import Stopping
import numpy as np
from numpy.typing import NDArray


class StackCheckpoint:
    """Loads and stores the models of a stack.

    Groups of models do not wait for one another: when a checkpoint is due, each is copied as soon as it has completed
    its epoch, and the checkpoint is written with the last of them.

    Args:
        current: the training.
        stack: not trained yet.
        first: the number of its first model among the jobs of the training.
        rules: for each model when it stops, or none.
        table: the history of the stack, (models, 2, metrics, epochs).
        epochs: to train.

    Attributes:
        next: the epoch with which each model goes on.
    """

    def __init__(
        self,
        current: Current,
        stack: ModelStack,
        first: int,
        rules: Sequence[Stopping],
        table: NDArray[np.float64],
        epochs: range,
    ):
        self._current, self._stack, self._first = current, stack, first
        self._rules, self._table = rules, table
        self.next = [epochs.start] * len(table)
        self._active: set[int] = set()  # models that are trained further
        self._waiting: set[int] = set()  # those that are to be copied before a checkpoint is written
        self._begun = False
        self._load()

    @fitting()
    def _load(self) -> None:
        current = self._current
        for model in range(len(self._table)):
            if (stored := current.jobs.get(self._first + model)) is None:
                continue
            for tensor, value in zip(self._stack.state(model), stored["state"], strict=True):
                tensor.copy_(value)
            if (generator := self._stack.generator(model)) is not None:
                generator.bit_generator.state = stored["generator"]
            self.next[model] = stored["next"]
            self._table[model, :, :, : stored["next"]] = stored["history"]
            if self._rules:
                self._rules[model].load(stored["rule"])
        if current.random is not None:
            set_random_states(current.random)
            current.random = None  # of the stacks after this one, too

    def begin(self, active: set[int]) -> None:
        """``active``: the models that are trained further."""
        self._active = set(active)

    def after_epoch(self, models: range, epoch: int, further: bool) -> None:
        """Copy models that have completed an epoch if a checkpoint is due; ``further``: they are trained further."""
        for model in models:
            self.next[model] = epoch + 1
        if not further:
            self._active.difference_update(models)
        if not self._begun:
            if not self._current.is_due():
                return
            self._begun, self._waiting = True, set(self._active)
            for model in set(range(len(self._table))) - self._active:
                self._copy(model)
        for model in models:
            self._copy(model)
        self._waiting.difference_update(models)
        if not self._waiting:
            self._begun = False
            self._current.write()

    def _copy(self, model: int) -> None:
        generator = self._stack.generator(model)
        stored: Values = {
            "state": [tensor.clone() for tensor in self._stack.state(model)],
            "generator": None if generator is None else generator.bit_generator.state,
            "next": self.next[model],
            "history": self._table[model, :, :, : self.next[model]].copy(),
            "rule": self._rules[model].values() if self._rules else None,
        }
        self._current.jobs[self._first + model] = stored


def finished(model: Any, history: NDArray[np.float64], kept: int, rule: Stopping | None) -> Values:
    """Return what is stored of a job whose stack is complete, while others of its training are not."""
    return {"model": model, "history": history, "kept": kept, "rule": rule and rule.values(), "finished": True}
