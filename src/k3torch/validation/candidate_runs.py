"""The training of a search's candidates on the folds of one division of the samples."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from k3torch.errors import InputError
from k3torch.stack import stateless
from k3torch.stack.reasons import NotCompiled, UntraceableStep
from k3torch.training.epoch_bar import EpochBar
from k3torch.validation import engines, halving
from k3torch.validation.candidates import Candidate
from k3torch.validation.engines import Shared
from k3torch.validation.job_training import Engine, Training, labels_refused, why_not_stacked, with_units
from k3torch.validation.jobs import Data, Fold, Job, jobs_of
from k3torch.validation.metric_units import greater_is_better
from k3torch.validation.result import CrossValidation, score_index
from k3torch.validation.stopping import Stopping
import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """How all candidates are trained.

    Attributes:
        batch_size: samples per update.
        epochs: of each model, at most.
        early_stopping: which each model is followed by, or None.
        choose_epochs: whether a candidate is scored at its best epoch.
        halving: 3 keeps the better third, or None.
        normalized: whether the samples are scaled.
        units: whether the targets are scaled.
        seed: of the training.
        bar: for progress; it is open.
        engine: of candidates that are trained on their own.
    """

    batch_size: int
    epochs: int
    early_stopping: keras.callbacks.EarlyStopping | None
    choose_epochs: bool
    halving: int | None
    normalized: bool
    units: bool
    seed: int
    bar: EpochBar
    engine: Engine = "auto"

    def jobs(self, candidate: Candidate, data: Data, folds: Sequence[Fold]) -> list[Job]:
        """Return a job of the candidate for each fold, with built models."""
        jobs = jobs_of(candidate.build, data, folds, normalized=self.normalized)
        for job in jobs:
            engines.build(job)
        return with_units(jobs) if self.units else jobs


@dataclass
class Run:
    """A candidate that is trained on some folds.

    Attributes:
        candidate: which.
        jobs: one for each fold of each repeat, as long as they are needed.
        training: what came of it.
        scores: (repeats, folds).
        epochs: for which a model for new samples is to be trained.
        seconds: of the training, its part of those of the stack.
    """

    candidate: Candidate
    jobs: list[Job] = field(default_factory=list)
    training: Training | None = None
    rules: list[Stopping] = field(default_factory=list)
    scores: Float = field(default_factory=lambda: np.empty((0, 0)))
    epochs: int = 0
    seconds: float = 0.0
    metric: str = ""
    greater_is_better: bool = False

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(self.scores.mean())

    def score(self, repeats: int, settings: Settings) -> None:
        """Set the scores and the epochs from what came of the training so far."""
        assert self.training is not None
        names = stateless.metric_names(self.jobs[0].model)
        found = self.training.scored(repeats)
        position = score_index(names)
        self.metric, direction = names[position], greater_is_better(self.jobs[0].model, names[position])
        if direction is None:
            raise InputError(
                f"expected a first metric of which Keras says whether higher is better, got {self.metric!r}: put "
                "another one, such as mae, first in compile"
            )
        self.greater_is_better = direction
        self.scores, self.epochs = found.scores, max(1, round(float(found.epochs.mean())))
        if settings.choose_epochs:
            self.epochs = found.best_epoch(direction)
            self.scores = found.curves[..., self.epochs - 1]


def search_runs(
    candidates: Sequence[Candidate], data: Data, folds: Sequence[Fold], repeats: int, settings: Settings
) -> tuple[list[Run], Run]:
    """Train all candidates on these folds; return them, and the best, which alone keeps its models."""
    runs = [Run(candidate) for candidate in candidates]
    going, best = list(runs), runs[0]
    ranges = halving.rungs(settings.epochs, settings.halving)
    for number, epochs in enumerate(ranges):
        last = number == len(ranges) - 1
        finished: list[Run] = []
        for some in _stacks(going, data, folds, settings):
            started = perf_counter()
            _train(some, epochs, settings, last)
            for run in some:
                run.score(repeats, settings)
                run.seconds += (perf_counter() - started) / len(some)
            finished += some
            if last:
                best = finished[_best(finished)]
                _forget(run for run in finished if run is not best)
        _check_same_metric(going)
        if not last:
            assert settings.halving is not None
            direction = going[0].greater_is_better
            kept = halving.survivors([run.mean for run in going], settings.halving, greater_is_better=direction)
            _forget(run for position, run in enumerate(going) if position not in kept)
            going = [going[position] for position in kept]
    return runs, best


def result(run: Run, data: Data, names_of_features: list[str] | None, repeats: int) -> CrossValidation:
    """Return the cross-validation of a candidate that keeps its models."""
    assert run.training is not None
    return run.training.result(data, names_of_features, repeats, complete=True)


def refit(candidate: Candidate, epochs: int, data: Data, fold: Fold, settings: Settings) -> tuple[Job, Float]:
    """Train a candidate on the training samples of one fold; return its job and its metrics on the others."""
    jobs = settings.jobs(candidate, data, [fold])
    training = Training(jobs, settings.batch_size, range(epochs), None, settings.bar)
    if candidate.graphs is None or not _together([Run(candidate, jobs, training)], range(epochs), settings, True):
        training.train(settings.engine, settings.seed)
    return jobs[0], training.histories[0][1, :, -1]


def _stacks(runs: Sequence[Run], data: Data, folds: Sequence[Fold], settings: Settings) -> Iterator[list[Run]]:
    """Yield the candidates that are trained at once, with their models: of one group, as many as memory allows."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        group = run.candidate.group
        groups.setdefault(id(run) if group is None else group, []).append(run)
    for members in groups.values():
        _begin(members[0], data, folds, settings)
        size = max(1, engines.jobs_per_stack(members[0].jobs) // len(folds))
        for start in range(0, len(members), size):
            some = members[start : start + size]
            settings.bar.status("building the models")
            for run in some:
                _begin(run, data, folds, settings)
            yield some


def _begin(run: Run, data: Data, folds: Sequence[Fold], settings: Settings) -> None:
    """Build the models of a candidate, unless it goes on with those of an earlier range of epochs."""
    if not run.jobs:
        run.jobs = settings.jobs(run.candidate, data, folds)
        rule = settings.early_stopping
        run.rules = [] if rule is None else [Stopping(rule) for _ in run.jobs]


def _train(runs: Sequence[Run], epochs: range, settings: Settings, last: bool) -> None:
    rule = settings.early_stopping
    for run in runs:
        before = run.training
        run.training = Training(
            run.jobs, settings.batch_size, epochs, None if rule is None else [rule], settings.bar, rules=run.rules,
            last=last, before=before,
        )  # fmt: skip
    if runs[0].candidate.graphs is not None and _together(runs, epochs, settings, last):
        return
    for run in runs:
        assert run.training is not None
        run.training.train(settings.engine, settings.seed + epochs.start)


def _together(runs: Sequence[Run], epochs: range, settings: Settings, last: bool) -> bool:
    """Train candidates with common graphs as one stack, or say why not and return False."""
    if reason := _why_not_together(runs):
        return _alone(runs, reason, settings)
    jobs = [job for run in runs for job in run.jobs]
    graphs = [run.candidate.graphs for run in runs for _ in run.jobs if run.candidate.graphs is not None]
    rules = [rule for run in runs for rule in run.rules]
    shared = Shared(graphs, all(run.candidate.verified for run in runs) and epochs.start > 0)
    histories: list[Float] = []
    kept: list[int] = []
    keras.utils.set_random_seed(settings.seed + epochs.start)
    try:
        with labels_refused():
            engines.stacked(
                jobs, settings.batch_size, epochs, rules, settings.bar, histories, kept, True, shared, last=last
            )
    except (NotCompiled, UntraceableStep) as error:
        reason = why_not_stacked(error) if isinstance(error, UntraceableStep) else str(error)
        return _alone(runs, reason, settings)
    for position, run in enumerate(runs):
        part = slice(position * len(run.jobs), (position + 1) * len(run.jobs))
        assert run.training is not None
        run.training.take(histories[part], kept[part])
        run.candidate.verified = True
    return True


def _why_not_together(runs: Sequence[Run]) -> str | None:
    """Return what no comparison of steps shows: settings, and models of a candidate that differ."""
    if all(run.candidate.verified for run in runs):
        return None
    reasons = (engines.why_not_stacked([job.model for job in run.jobs]) for run in runs)
    return next((reason for reason in reasons if reason), None)


def _alone(runs: Sequence[Run], reason: str, settings: Settings) -> bool:
    settings.bar.notice(f"training each candidate on its own: {reason}")
    for run in runs:
        run.candidate.graphs = run.candidate.group = None
    return False


def _best(runs: Sequence[Run]) -> int:
    direction = runs[0].greater_is_better
    return halving.ranked([run.mean for run in runs], greater_is_better=direction)[0]


def _forget(runs: Iterable[Run]) -> None:
    for run in runs:
        run.jobs, run.training, run.rules = [], None, []


def _check_same_metric(runs: Sequence[Run]) -> None:
    """Refuse candidates whose scores cannot be compared.

    Raises:
        InputError: names the metrics.
    """
    if len(names := {run.metric for run in runs}) > 1:
        raise InputError(f"expected the same first metric of all candidates, got {', '.join(sorted(names))}")
