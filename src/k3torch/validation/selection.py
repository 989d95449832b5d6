"""The selection of a search's best candidate, on the folds of one division of the samples."""

from collections.abc import Sequence

from k3torch.validation import candidate_runs, candidate_tasks, halving
from k3torch.validation.candidates import Candidate
from k3torch.validation.jobs import Data, Fold
from k3torch.validation.runs import Run, Settings


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
        if settings.n_jobs is None:
            best = candidate_runs.train_here(going, data, folds, repeats, epochs, settings, last)
        else:
            candidate_tasks.train_rung(going, data, folds, repeats, epochs, settings, last)
            best = going[candidate_runs.best_of(going)]
            if last:
                candidate_runs.forget((run for run in going if run is not best), settings)
        candidate_runs.check_same_metric(going)
        if not last:
            assert settings.halving is not None
            direction = going[0].greater_is_better
            kept = halving.survivors([run.mean for run in going], settings.halving, greater_is_better=direction)
            candidate_runs.forget((run for position, run in enumerate(going) if position not in kept), settings)
            going = [going[position] for position in kept]
    if best.record is not None:  # of another process
        candidate_runs.begin(best, data, folds, settings)
        best.take_record(best.record, range(settings.epochs), settings)
    settings.checkpoints.keep(best.key)
    return runs, best
