"""The training of one stack of a cross-validation: its history, early stopping, progress and checkpoints."""

from collections.abc import Sequence
from typing import Any

from k3torch.stack.model_group import EpochResult
from k3torch.stack.model_stack import ModelStack
from k3torch.training.checkpoint_file import fitting
from k3torch.training.checkpoint_state import load_model_values, model_values
from k3torch.training.epoch_bar import EpochBar
from k3torch.validation.checkpoints import Current
from k3torch.validation.jobs import Job
from k3torch.validation.result import score_index
from k3torch.validation.stack_checkpoint import StackCheckpoint
from k3torch.validation.stopping import Stopping
import numpy as np
from numpy.typing import NDArray

MetricHistory = NDArray[np.float64]  # of one model, (2, metrics, epochs): training, validation


@fitting()
def load_finished(
    current: Current,
    first: int,
    jobs: Sequence[Job],
    rules: Sequence[Stopping],
    histories: list[MetricHistory],
    kept: list[int],
) -> bool:
    """Load the jobs of a stack that was complete before an interruption; return whether it was."""
    stored = [current.jobs.get(first + number, {}) for number in range(len(jobs))]
    if not all(values.get("finished") for values in stored):
        return False
    for number, (job, values) in enumerate(zip(jobs, stored, strict=True)):
        load_model_values(job.model, values["model"])
        values["model"] = model_values(job.model)
        if rules:
            rules[number].load(values["rule"])
    histories += [values["history"] for values in stored]
    kept += [values["kept"] for values in stored]
    return True


def one_stack(
    stack: ModelStack,
    jobs: Sequence[Job],
    epochs: range,
    rules: Sequence[Stopping],
    bar: EpochBar,
    histories: list[MetricHistory],
    kept: list[int],
    last: bool,
    first: int,
    current: Current,
) -> None:
    """Train the models of a stack, as ``engines.stacked`` does; ``first`` is the number of its first job there."""
    for number, rule in enumerate(rules):
        rule.enter(stack, number)
    bar.status("training")
    table = np.full((len(jobs), 2, len(stack.names), epochs.stop), np.nan)
    histories += list(table)
    progress = _Progress(bar, stack.names, len(jobs), epochs)
    going = {number for number in range(len(jobs)) if not rules or not rules[number].stopped}
    progress.leave_out(len(jobs) - len(going))
    checkpoint = StackCheckpoint(current, stack, first, rules, table, epochs)
    going = _go_on(going, checkpoint, epochs, rules, progress, table)

    def report(done: EpochResult) -> bool:
        """Keep the metrics of an epoch; return whether any of its models is to be trained further."""
        values = np.stack([done.training, done.validation])  # (2, metrics, models)
        further = [keep(model, done.epoch, values[:, :, i]) for i, model in enumerate(done.models)]  # of all models
        checkpoint.after_epoch(done.models, done.epoch, any(further) and done.epoch + 1 < epochs.stop)
        return any(further)

    def keep(model: int, epoch: int, values: NDArray[Any]) -> bool:
        if rules and rules[model].stopped:
            return False
        table[model, :, :, epoch] = jobs[model].in_units(values)
        further = not rules or rules[model].after_epoch(epoch, stack.names, values)
        progress.add(model, epoch, table[model, 1, :, epoch], stopped=not further)
        return further

    try:
        stack.train(epochs, lambda model, epoch: jobs[model].order(epoch), report, going, checkpoint.next.__getitem__)
    finally:  # the models of an interrupted stack are trained as far as it came
        for rule in rules:
            rule.finish() if last else rule.leave()
        kept += [rule.kept for rule in rules] or [int(number) for number in progress.last_epochs]
        stack.unstack()


def _go_on(
    going: set[int],
    checkpoint: StackCheckpoint,
    epochs: range,
    rules: Sequence[Stopping],
    progress: "_Progress",
    table: NDArray[np.float64],
) -> set[int]:
    """Count the epochs that were done before an interruption; return the models that are trained further."""
    for model in going:
        stopped = bool(rules) and rules[model].stopped
        end = rules[model].epochs if stopped else checkpoint.next[model]
        for epoch in range(epochs.start, end):
            progress.add(model, epoch, table[model, 1, :, epoch], stopped=stopped and epoch + 1 == end)
    further = {
        model
        for model in going
        if checkpoint.next[model] < epochs.stop and not (rules and rules[model].stopped)
    }  # fmt: skip
    checkpoint.begin(further)
    return further


class _Progress:
    """Advances a bar when all models have completed an epoch, or have stopped before it."""

    def __init__(self, bar: EpochBar, names: Sequence[str], models: int, epochs: range):
        self._bar, self._score, self._first = bar, score_index(names), epochs.start
        self._label = f"mean val_{names[self._score]}"
        self._scores = np.full((models, len(epochs)), np.nan)  # of a model that has stopped: the last one
        self._waiting = np.full(len(epochs) + 1, models)  # for each epoch, the models that are not beyond it
        self._next = 0
        self.last_epochs = np.full(models, epochs.start - 1)

    def leave_out(self, models: int) -> None:
        """Wait for so many models less."""
        self._waiting[:-1] -= models

    def add(self, model: int, epoch: int, metrics: NDArray[np.float64], stopped: bool) -> None:
        """Take the validation metrics, (metrics,), of a model's epoch."""
        first = epoch - self._first
        span = slice(first, None if stopped else first + 1)
        self._scores[model, span] = metrics[self._score]
        self._waiting[:-1][span] -= 1
        self.last_epochs[model] = epoch
        while not self._waiting[self._next]:
            scores = self._scores[:, self._next]
            self._bar.advance({self._label: float(scores[self.last_epochs >= self._first].mean())})
            self._next += 1
