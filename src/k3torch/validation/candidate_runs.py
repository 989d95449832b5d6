"""The training of a search's candidates on the folds of one division of the samples."""

from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter

from k3torch.errors import InputError
from k3torch.stack.reasons import NotCompiled, UntraceableStep
from k3torch.validation import engines, halving
from k3torch.validation.candidates import Candidate
from k3torch.validation.engines import Shared
from k3torch.validation.job_training import Training, labels_refused, why_not_stacked
from k3torch.validation.jobs import Data, Fold, Job
from k3torch.validation.result import CrossValidation
from k3torch.validation.runs import Float, Run, Settings
from k3torch.validation.stopping import Stopping
import keras


def search_runs(
    candidates: Sequence[Candidate], data: Data, folds: Sequence[Fold], repeats: int, settings: Settings, name: str
) -> tuple[list[Run], Run]:
    """Train all candidates on these folds; return them, and the best, which alone keeps its models.

    ``name`` is that of the folds in checkpoints.
    """
    runs = [Run(candidate, f"{name}, candidate {number + 1}") for number, candidate in enumerate(candidates)]
    going, best = list(runs), runs[0]
    ranges = halving.rungs(settings.epochs, settings.halving)
    for number, epochs in enumerate(ranges):
        last = number == len(ranges) - 1
        finished: list[Run] = []
        for some in _stacks(going, data, folds, settings, epochs):
            missing = [run for run in some if not run.load(epochs, settings)]
            if missing:
                _train(missing, epochs, settings, last, repeats, together=len(missing) == len(some))
            finished += some
            if last:
                best = finished[_best(finished)]
                _forget((run for run in finished if run is not best), settings)
            settings.checkpoints.write_if_due()
        _check_same_metric(going)
        if not last:
            assert settings.halving is not None
            direction = going[0].greater_is_better
            kept = halving.survivors([run.mean for run in going], settings.halving, greater_is_better=direction)
            _forget((run for position, run in enumerate(going) if position not in kept), settings)
            going = [going[position] for position in kept]
    return runs, best


def result(run: Run, data: Data, names_of_features: list[str] | None, repeats: int) -> CrossValidation:
    """Return the cross-validation of a candidate that keeps its models."""
    assert run.training is not None
    return run.training.result(data, names_of_features, repeats, complete=True)


def refit(
    candidate: Candidate, epochs: int, data: Data, fold: Fold, settings: Settings, name: str
) -> tuple[Job, Float]:
    """Train a candidate on the training samples of one fold; return its job and its metrics on the others.

    ``name`` is that of the training in checkpoints.
    """
    jobs, checkpoints = settings.jobs(candidate, data, [fold]), settings.checkpoints
    training = Training(jobs, settings.batch_size, range(epochs), None, settings.bar, current=checkpoints.begin(name))
    run = Run(candidate, name, jobs, training)
    if (record := checkpoints.trained(name)) is not None:
        training.load(record)
    elif candidate.graphs is None or not _together([run], range(epochs), settings, True):
        training.train("auto", settings.seed)
    checkpoints.complete({name: training})
    return jobs[0], training.histories[0][1, :, -1]


def _stacks(
    runs: Sequence[Run], data: Data, folds: Sequence[Fold], settings: Settings, epochs: range
) -> Iterator[list[Run]]:
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
                if run.needs_models(epochs, settings):
                    _begin(run, data, folds, settings)
            yield some


def _begin(run: Run, data: Data, folds: Sequence[Fold], settings: Settings) -> None:
    """Build the models of a candidate, unless it goes on with those of an earlier range of epochs."""
    if not run.jobs:
        run.jobs = settings.jobs(run.candidate, data, folds)
        rule = settings.early_stopping
        run.rules = [] if rule is None else [Stopping(rule) for _ in run.jobs]


def _train(runs: Sequence[Run], epochs: range, settings: Settings, last: bool, repeats: int, *, together: bool) -> None:
    for run in runs:
        run.begin_training(epochs, settings, last)
    if together and runs[0].candidate.graphs is not None:
        started = perf_counter()
        if _together(runs, epochs, settings, last):
            for run in runs:
                run.complete(epochs, (perf_counter() - started) / len(runs), repeats, settings)
            return
    for run in runs:
        started = perf_counter()
        assert run.training is not None
        run.training.train("auto", settings.seed + epochs.start)
        run.complete(epochs, perf_counter() - started, repeats, settings)


def _together(runs: Sequence[Run], epochs: range, settings: Settings, last: bool) -> bool:
    """Train candidates with common graphs as one stack, or say why not and return False."""
    if reason := _why_not_together(runs):
        return _alone(runs, reason, settings)
    jobs = [job for run in runs for job in run.jobs]
    graphs = [run.candidate.graphs for run in runs for _ in run.jobs if run.candidate.graphs is not None]
    rules = [rule for run in runs for rule in run.rules]
    shared = Shared(graphs, all(run.candidate.verified for run in runs) and epochs.start > 0)
    current = settings.checkpoints.begin(f"{runs[0].key} and {len(runs) - 1} more, to epoch {epochs.stop}")
    histories: list[Float] = []
    kept: list[int] = []
    keras.utils.set_random_seed(settings.seed + epochs.start)
    try:
        with labels_refused():
            engines.stacked(
                jobs, settings.batch_size, epochs, rules, settings.bar, histories, kept, True, shared, last, current
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


def _forget(runs: Iterable[Run], settings: Settings) -> None:
    for run in runs:
        settings.checkpoints.forget(run.key)
        run.jobs, run.training, run.rules = [], None, []


def _check_same_metric(runs: Sequence[Run]) -> None:
    """Refuse candidates whose scores cannot be compared.

    Raises:
        InputError: names the metrics.
    """
    if len(names := {run.metric for run in runs}) > 1:
        raise InputError(f"expected the same first metric of all candidates, got {', '.join(sorted(names))}")
