"""Trainings of a cross-validation or search in other processes (``n_jobs``), each a whole stack.

How the work is divided follows from the arguments, not from the number of workers, and each task uses one thread. So
scores are the same for any number of workers.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
import os
from typing import Any

from k3torch import parallel, runtime
from k3torch.errors import Problem, unless
from k3torch.training.checkpoint_file import Arrays, decode, encode
from k3torch.training.epoch_bar import EpochBar
from k3torch.validation import engines
from k3torch.validation.checkpoints import Checkpoints
from k3torch.validation.folds import Split
from k3torch.validation.job_training import Engine, Training, with_units
from k3torch.validation.jobs import Data, Job, jobs_of, scaled_folds
from k3torch.validation.process_lock import LOCK
import keras
import numpy as np

Result = tuple[Any, Arrays, list[str]]  # what a task returns: values that JSON can hold, their arrays, notices


def n_jobs_problem(n_jobs: Any) -> Problem:
    """Return why ``n_jobs`` cannot be used, or None."""
    whole = isinstance(n_jobs, int | np.integer) and not isinstance(n_jobs, bool) and n_jobs != 0
    return unless(n_jobs is None or whole, f"n_jobs as a whole number other than 0, or None, got {n_jobs!r}")


@dataclass(frozen=True)
class Environment:
    """What of Keras's settings a worker needs."""

    policy: str
    floatx: str
    epsilon: float
    device: str | None

    @classmethod
    def of_this_process(cls) -> "Environment":
        """Return the settings of this process."""
        device = os.environ.get("KERAS_TORCH_DEVICE")
        return cls(keras.config.dtype_policy().name, keras.config.floatx(), keras.config.epsilon(), device)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Use these settings and a single thread in this process, and afterwards its own."""
        before = self.of_this_process()
        self._apply()
        try:
            with runtime.single_threaded():
                yield
        finally:
            before._apply()

    def _apply(self) -> None:
        if self.device is not None and self.device != os.environ.get("KERAS_TORCH_DEVICE"):
            runtime.configure(self.device)  # type: ignore[arg-type]
        keras.config.set_dtype_policy(self.policy)
        keras.config.set_floatx(self.floatx)
        keras.config.set_epsilon(self.epsilon)


class QuietBar(EpochBar):
    """A bar that shows nothing, and keeps its notices for the process that shows them."""

    def __init__(self) -> None:
        super().__init__("task", 1, verbose=0)
        self.lines: list[str] = []

    def notice(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)


def results(
    function: Callable[..., Result],
    tasks: Mapping[int, tuple[Any]],
    data: Data,
    n_jobs: int,
    bar: EpochBar,
    checkpoints: Checkpoints,
) -> Iterator[tuple[int, Any]]:
    """Train tasks in other processes, and yield the number and the values of each as soon as it returns.

    Notices of the workers are shown once. A checkpoint is written, if one is due, when the caller has taken the values.

    Args:
        function: is called with the samples and a task.
        tasks: by their numbers.
        data: all samples.
        n_jobs: how many processes at a time.
        bar: for progress; it goes on by one with each task.
        checkpoints: of the call.
    """
    bar.status("training in other processes")
    said: set[str] = set()
    for number, result in parallel.completed(function, tasks, arrays_of(data), n_jobs, bar.notice):
        for line in result[2]:
            if line not in said:
                bar.notice(line)
        said.update(result[2])
        yield number, unpacked(result)
        checkpoints.write_if_due()
        bar.advance({})


def packed(values: Any, notices: Sequence[str] = ()) -> Result:
    """Return plain values and arrays as a task returns them."""
    arrays: Arrays = {}
    return encode(values, arrays), arrays, list(notices)


def unpacked(result: Result) -> Any:
    """Return what ``packed`` was given; its arrays can be written to, which those that Ray returns cannot."""
    values, arrays, _ = result
    return decode(values, {name: each if each.flags.writeable else each.copy() for name, each in arrays.items()})


@dataclass(frozen=True)
class FoldTask:
    """How some folds of a cross-validation are trained in a worker.

    Attributes:
        build_model: returns a compiled model.
        splits: of each repeat and fold, None for those of other tasks.
        batch_size: samples per update.
        epochs: to train.
        callbacks: of the caller, or None.
        engine: as in ``cross_validate``.
        seed: of the training.
        scaling: arguments of ``scaled_folds``.
        environment: Keras's settings in the process of the caller.
    """

    build_model: Callable[[], keras.Model]
    splits: Sequence[Sequence[Split | None]]
    batch_size: int
    epochs: int
    callbacks: Sequence[Any] | None
    engine: Engine
    seed: int
    scaling: Mapping[str, Any]
    environment: Environment

    @property
    def jobs(self) -> int:
        """The number of folds to train."""
        return sum(split is not None for of_repeat in self.splits for split in of_repeat)


def divided(splits: Sequence[Sequence[Split]]) -> list[list[list[Split | None]]]:
    """Return the folds of each task: those of a repeat, or with one repeat a single one; None for the others."""
    if len(splits) == 1:
        (folds,) = splits
        return [[[split if own is split else None for split in folds]] for own in folds]
    return [[list(folds) if own is folds else [None] * len(folds) for folds in splits] for own in splits]


def arrays_of(data: Data) -> tuple[Any, ...]:
    """Return the arguments of ``Data``: Dask sends arrays to a worker once if a call has them as arguments."""
    return tuple(getattr(data, field.name) for field in fields(data))


def train_folds(x: Any, y: Any, weights: Any, training_weights: Any, task: FoldTask) -> Result:
    """Train some folds, in a worker, and return what is stored of their training; for the samples see ``Data``."""
    data = Data(x, y, weights, training_weights)
    with LOCK, task.environment.used():
        folds = scaled_folds(data, task.splits, **task.scaling)
        normalized = task.scaling["normalize"] is not None
        jobs = jobs_of(task.build_model, data, folds, normalized=normalized)
        for job in jobs:
            engines.build(job)
        if task.scaling["normalize_y"]:
            jobs = with_units(jobs)
        bar = QuietBar()
        training = Training(jobs, task.batch_size, range(task.epochs), task.callbacks, bar)
        training.train(task.engine, task.seed)
        return packed(training.record(), bar.lines)


def train_in_tasks(
    training: Training, data: Data, tasks: Sequence[FoldTask], n_jobs: int, checkpoints: Checkpoints
) -> None:
    """Train the jobs of a cross-validation in other processes, and take the results as if trained here."""
    bar = training.bar
    bar.title, bar.total = f"{len(tasks)} tasks", len(tasks)
    parts, start = [], 0
    for task in tasks:
        jobs: Sequence[Job] = training.jobs[start : start + task.jobs]
        parts.append(Training(jobs, training.batch_size, training.epochs, training.callbacks, bar))
        start += len(jobs)
    waiting: dict[int, tuple[FoldTask]] = {}
    for number, (task, part) in enumerate(zip(tasks, parts, strict=True)):
        if (record := checkpoints.trained(_name(number))) is None:
            waiting[number] = (task,)
        else:
            part.load(record)
            checkpoints.complete({_name(number): part})
            bar.done += 1
    for number, record in results(train_folds, waiting, data, n_jobs, bar, checkpoints):
        parts[number].load(record)
        checkpoints.complete({_name(number): parts[number]})
    training.join(parts)


def _name(number: int) -> str:
    return f"task {number + 1}"


def fold_tasks(splits: Sequence[Sequence[Split]], seed: int, **arguments: Any) -> list[FoldTask]:
    """Return the tasks of a cross-validation; ``arguments`` are the fields of ``FoldTask`` that are the same in all."""
    environment = Environment.of_this_process()
    return [
        FoldTask(splits=chosen, seed=seed_of_task(seed, number), environment=environment, **arguments)
        for number, chosen in enumerate(divided(splits))
    ]


def seed_of_task(seed: int, number: int) -> int:
    """Return the seed of a task; that of the first is the seed itself."""
    return seed if number == 0 else int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
