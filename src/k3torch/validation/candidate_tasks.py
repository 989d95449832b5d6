"""Candidates of a search, trained in other processes: some candidates with all of their folds are a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math
from typing import Any

from k3torch.stack.device_choice import uncompiled_seconds
from k3torch.training.checkpoint_file import fitting
from k3torch.validation import candidate_runs
from k3torch.validation.candidates import Candidate
from k3torch.validation.checkpoints import Stored, Values
from k3torch.validation.folds import Split
from k3torch.validation.jobs import Data, Fold, scaled_folds
from k3torch.validation.process_lock import LOCK
from k3torch.validation.runs import Run, Settings
from k3torch.validation.search_problems import Problem
from k3torch.validation.tasks import Environment, QuietBar, Result, packed, results

# Seconds that a task would take uncompiled: some ten seconds compiled, beside which tracing and compiling are little.
TASK_SECONDS = 200.0


@dataclass(frozen=True)
class CandidateTask:
    """How some candidates are trained in a worker.

    Attributes:
        candidates: without graphs.
        records: what is stored of an earlier training of each, which goes on, or None.
        splits: the folds of each repeat.
        epochs: to train.
        last: whether the training ends with them.
        settings: fields of ``Settings``.
        scaling: arguments of ``scaled_folds``.
        environment: Keras's settings in the process of the search.
    """

    candidates: Sequence[Candidate]
    records: Sequence[Values | None]
    splits: Sequence[Sequence[Split]]
    epochs: range
    last: bool
    settings: Mapping[str, Any]
    scaling: Mapping[str, Any]
    environment: Environment


def train_rung(
    runs: Sequence[Run], data: Data, folds: Sequence[Fold], repeats: int, epochs: range, settings: Settings, last: bool
) -> None:
    """Train candidates to the end of these epochs in other processes, and set their scores and records."""
    bar = settings.bar
    missing = [run for run in runs if not _load(run, epochs, settings)]
    if not missing:
        return
    width = len(folds) // repeats
    splits = [[fold.split for fold in folds[start : start + width]] for start in range(0, len(folds), width)]
    plain, scaling = settings.plain(), settings.scaling
    size = _candidates_of_a_task(runs[0], data, folds, settings, len(epochs))
    groups = [missing[start : start + size] for start in range(0, len(missing), size)]
    environment = Environment.of_this_process()
    calls = {
        number: (
            CandidateTask(
                [Candidate(run.candidate.params, run.candidate.build) for run in some], [run.record for run in some],
                splits, epochs, last, plain, scaling, environment,
            ),
        )
        for number, some in enumerate(groups)
    }  # fmt: skip
    bar.total = max(bar.total, bar.done + len(groups))
    assert settings.n_jobs is not None
    for number, found in results(train_candidates, calls, data, settings.n_jobs, bar, settings.checkpoints):
        for run, values in zip(groups[number], found, strict=True):
            _take(run, values, epochs, settings)


def train_candidates(x: Any, y: Any, weights: Any, training_weights: Any, task: CandidateTask) -> Result:
    """Train some candidates, in a worker; return the scores of each, and what is stored of those that may go on.

    For the samples see ``Data``.
    """
    data = Data(x, y, weights, training_weights)
    with LOCK, task.environment.used():
        bar = QuietBar()
        settings = Settings(bar=bar, **task.settings)
        folds, repeats = scaled_folds(data, task.splits, **task.scaling), len(task.splits)
        candidate_runs.find_groups(task.candidates, data, [Problem(folds, folds[0])], settings)
        runs = [Run(candidate, str(number)) for number, candidate in enumerate(task.candidates)]
        for some in candidate_runs.stacks(runs, data, folds, settings, task.epochs):
            for run in some:
                record = task.records[int(run.key)]
                if record is not None:
                    run.take_record(record, task.epochs, settings)
            candidate_runs.train(some, task.epochs, settings, task.last, repeats, together=True)
        kept = [runs[candidate_runs.best_of(runs)]] if task.last else runs
        found = []
        for run in runs:
            assert run.training is not None
            found.append(run.values() | {"record": run.training.record() if run in kept else None})
        return packed(found, bar.lines)


def _candidates_of_a_task(run: Run, data: Data, folds: Sequence[Fold], settings: Settings, epochs: int) -> int:
    job = settings.jobs(run.candidate, data, folds[:1])[0]
    seconds = uncompiled_seconds(job.model, len(job.training), len(folds), settings.batch_size, epochs)
    return max(1, math.ceil(TASK_SECONDS / seconds))


def _take(run: Run, values: Values, epochs: range, settings: Settings) -> None:
    record = values.pop("record")
    run.set_values(values)
    run.record = record
    run.stored(settings)[epochs.stop] = values
    if record is None:
        settings.checkpoints.forget(run.key)
    else:
        settings.checkpoints.complete({run.key: Stored(record)})


@fitting()
def _load(run: Run, epochs: range, settings: Settings) -> bool:
    """Take what a checkpoint has of these epochs; return whether it has it."""
    if (values := run.stored(settings).get(epochs.stop)) is None:
        return False
    _take(run, values | {"record": settings.checkpoints.trained(run.key)}, epochs, settings)
    return True
