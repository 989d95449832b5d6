"""The training of a search's candidates on the folds of one division of the samples."""

from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter

from k3torch.errors import InputError
from k3torch.stack import model_stack
from k3torch.stack.device_choice import uncompiled_seconds
from k3torch.stack.reasons import NotCompiled, UntraceableStep
from k3torch.validation import engines, halving
from k3torch.validation.candidates import Candidate, share_graphs
from k3torch.validation.engines import Shared
from k3torch.validation.job_training import SPARSE, Training, labels_refused, why_not_stacked
from k3torch.validation.jobs import Data, Fold, Job
from k3torch.validation.result import CrossValidation
from k3torch.validation.runs import Float, Run, Settings
from k3torch.validation.search_problems import Problem
from k3torch.validation.stopping import Stopping
import keras


def train_here(
    runs: Sequence[Run], data: Data, folds: Sequence[Fold], repeats: int, epochs: range, settings: Settings, last: bool
) -> Run:
    """Train candidates to the end of these epochs, and return the best; if they are the last, it keeps its models."""
    finished: list[Run] = []
    for some in stacks(runs, data, folds, settings, epochs):
        missing = [run for run in some if not run.load(epochs, settings)]
        if missing:
            train(missing, epochs, settings, last, repeats, together=len(missing) == len(some))
        finished += some
        if last:
            best = finished[best_of(finished)]
            forget((run for run in finished if run is not best), settings)
        if missing:
            settings.checkpoints.write_if_due()
    return finished[best_of(finished)]


def find_groups(candidates: Sequence[Candidate], data: Data, problems: Sequence[Problem], s: Settings) -> None:
    """Let candidates share the graphs of their steps where that pays."""
    if s.engine == "fit":
        s.bar.notice(f"training with fit, model after model: {SPARSE}")
        return
    epochs = s.epochs * len(candidates) * len(problems)
    first = problems[0].folds[:1]
    job, models = s.jobs(candidates[0], data, first)[0], len(problems[0].folds)
    seconds = uncompiled_seconds(job.model, len(job.training), models, s.batch_size, epochs)
    if len(candidates) == 1 or seconds < model_stack.WORTH_COMPILING:
        return
    s.bar.status("tracing the steps")
    every = [fold for problem in problems for fold in (*problem.folds, problem.test)]
    reason = share_graphs(candidates, every, s.batch_size, lambda candidate: s.jobs(candidate, data, first)[0])
    groups = {c.group for c in candidates if c.group is not None}
    alone = sum(c.group is None for c in candidates)
    if reason:
        s.bar.notice(f"training {alone} of {len(candidates)} candidates on their own: {reason}")
    elif len(groups) > 1:
        s.bar.notice(
            f"{len(candidates)} candidates differ in more than numbers: {len(groups)} stacks, one after another"
        )


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
    run = Run(candidate, name, jobs=jobs, training=training)
    if (record := checkpoints.trained(name)) is not None:
        training.load(record)
    elif candidate.graphs is None or not _together([run], range(epochs), settings, True):
        training.train(settings.engine, settings.seed)
    checkpoints.complete({name: training})
    checkpoints.keep(name)
    return jobs[0], training.histories[0][1, :, -1]


def stacks(
    runs: Sequence[Run], data: Data, folds: Sequence[Fold], settings: Settings, epochs: range
) -> Iterator[list[Run]]:
    """Yield the candidates that are trained at once, with their models: of one group, as many as memory allows."""
    groups: dict[object, list[Run]] = {}
    for run in runs:
        group = run.candidate.group
        groups.setdefault(id(run) if group is None else group, []).append(run)
    for members in groups.values():
        begin(members[0], data, folds, settings)
        size = max(1, engines.jobs_per_stack(members[0].jobs) // len(folds))
        for start in range(0, len(members), size):
            some = members[start : start + size]
            settings.bar.status("building the models")
            for run in some:
                if run.needs_models(epochs, settings):
                    begin(run, data, folds, settings)
            yield some


def begin(run: Run, data: Data, folds: Sequence[Fold], settings: Settings) -> None:
    """Build the models of a candidate, unless it goes on with those of an earlier range of epochs."""
    if not run.jobs:
        run.jobs = settings.jobs(run.candidate, data, folds)
        rule = settings.early_stopping
        run.rules = [] if rule is None else [Stopping(rule) for _ in run.jobs]


def train(runs: Sequence[Run], epochs: range, settings: Settings, last: bool, repeats: int, *, together: bool) -> None:
    """Train candidates on, as one stack if ``together`` and their graphs are the same, and score them."""
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
        run.training.train(settings.engine, settings.seed + epochs.start)
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


def best_of(runs: Sequence[Run]) -> int:
    """Return the position of the best candidate."""
    direction = runs[0].greater_is_better
    return halving.ranked([run.mean for run in runs], greater_is_better=direction)[0]


def forget(runs: Iterable[Run], settings: Settings) -> None:
    """Drop the models of candidates that are not trained further."""
    for run in runs:
        settings.checkpoints.forget(run.key)
        run.jobs, run.training, run.rules, run.record = [], None, [], None


def check_same_metric(runs: Sequence[Run]) -> None:
    """Refuse candidates whose scores cannot be compared.

    Raises:
        InputError: names the metrics.
    """
    if len(names := {run.metric for run in runs}) > 1:
        raise InputError(f"expected the same first metric of all candidates, got {', '.join(sorted(names))}")
