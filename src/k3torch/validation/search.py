"""Search for the parameters of a model by cross-validation; candidates that differ in numbers are one stack."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from k3torch.errors import InputError, count_problem, refuse, unless
from k3torch.stack import stateless
from k3torch.training.checkpoint_file import fitting
from k3torch.training.epoch_bar import EpochBar, Verbose
from k3torch.validation import candidate_runs
from k3torch.validation.arguments import check_settings, feature_names
from k3torch.validation.candidates import Candidate, make_candidates
from k3torch.validation.checkpoint_settings import call_settings
from k3torch.validation.checkpoints import Checkpoint, Checkpoints, claimed
from k3torch.validation.cross_validate import checked_and_locked
from k3torch.validation.fold_scaling import Normalize
from k3torch.validation.job_training import Engine
from k3torch.validation.jobs import Data
from k3torch.validation.metric_units import metric_objects
from k3torch.validation.predictions import mean_prediction
from k3torch.validation.result import CrossValidation, Interrupted, score_index
from k3torch.validation.runs import Run, Settings
from k3torch.validation.search_problems import Division, Problem
from k3torch.validation.search_result import OuterFold, SearchResult
from k3torch.validation.selection import search_runs
from k3torch.validation.tasks import n_jobs_problem
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
import scipy.sparse


@checked_and_locked
def search(
    build_model: Callable[..., keras.Model],
    param_grid: Any,
    x: ArrayLike,
    y: ArrayLike,
    *,
    folds: Any = 4,
    repeats: int = 1,
    epochs: int = 100,
    batch_size: int = 1,
    early_stopping: int | keras.callbacks.EarlyStopping | None = None,
    choose_epochs: bool = False,
    halving: int | None = None,
    outer: Any = None,
    normalize: Normalize | None = None,
    normalize_y: bool = False,
    shuffle: bool = True,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    class_weight: Mapping[int, float] | None = None,
    groups: ArrayLike | None = None,
    checkpoint: Checkpoint = None,
    n_jobs: int | None = None,
    verbose: Verbose = "auto",
) -> SearchResult:
    """Cross-validate a model with each setting of its parameters, and train one with the best setting on all samples.

    Candidates whose models differ in nothing but numbers, such as learning rate, dropout rate, penalties, momentum or
    label smoothing, are trained as one stack, by one compiled step. The others are trained one after another. The
    scores of a candidate are those of ``cross_validate`` with the same arguments and seed, up to float32 rounding;
    random layers get other random numbers.

    The best candidate was selected for its score, so this score is too good. ``outer`` estimates the error without that
    bias. Seeds the random generators of Keras, torch, NumPy and Python.

    Args:
        build_model: takes the parameters as keyword arguments, and returns a compiled model with new weights. The score
            is its first metric after the loss: losses with penalties or smoothed labels cannot be compared.
        param_grid: a dict from parameter to a list of its values, a list of such dicts, or scikit-learn's
            ``ParameterGrid`` or ``ParameterSampler``.
        x: as in ``cross_validate``.
        y: as in ``cross_validate``.
        folds: as in ``cross_validate``; each candidate has the same folds.
        repeats: as in ``cross_validate``.
        epochs: passes over the training samples of a fold, at most.
        batch_size: samples per update.
        early_stopping: stop each model by itself: a ``keras.callbacks.EarlyStopping``, or its patience, with
            ``restore_best_weights=True`` and its other defaults. Scores are those of the weights that a model ends
            with; the models for new samples are trained for the mean number of epochs that the folds ended with.
        choose_epochs: whether the number of epochs is selected too: a candidate is scored at the epoch with the best
            mean of the smoothed validation curves, as ``CrossValidation.best_epoch``. Not with ``early_stopping`` or
            ``halving``.
        halving: drop candidates early: 3 goes on with the better third of them after a ninth and after a third of the
            epochs. Their training continues. None trains all to the end. Not with ``early_stopping`` for a sparse x.
        outer: number of outer folds, or a splitter, or pairs of index arrays: the whole search is repeated on the
            training samples of each outer fold, and the selected candidate, trained on all of these, is tested on the
            others.
        normalize: as in ``cross_validate``.
        normalize_y: as in ``cross_validate``.
        shuffle: as in ``cross_validate``.
        seed: as in ``cross_validate``.
        sample_weight: as in ``cross_validate``.
        class_weight: as in ``cross_validate``.
        groups: as in ``cross_validate``; not with ``outer``.
        checkpoint: as in ``cross_validate``.
        n_jobs: None trains all candidates in this process. Otherwise candidates, some together if each takes little
            time, are trained in other processes, as in ``cross_validate``.
        verbose: as in ``cross_validate``.

    Raises:
        InputError: for an argument that cannot be used or does not exist, and for candidates that cannot be compared.
        Interrupted: a KeyboardInterrupt in the outer folds; its result has those that were done. Before, when nothing
            is selected yet, it is a plain KeyboardInterrupt, and nothing is kept.
    """
    candidates = make_candidates(build_model, param_grid)
    rule = _early_stopping(early_stopping)
    _check(rule, choose_epochs, halving, outer, groups, sparse=scipy.sparse.issparse(x))
    check_settings(
        build_model=candidates[0].build, repeats=repeats, epochs=epochs, batch_size=batch_size, normalize=normalize,
        normalize_y=normalize_y, engine="auto", shuffle=shuffle, seed=seed, callbacks=None, verbose=verbose,
    )  # fmt: skip
    refuse([n_jobs_problem(n_jobs)])
    data = Data.of(x, y, sample_weight, class_weight)
    keras.utils.set_random_seed(int(seed))  # splitters with random_state=None draw from NumPy's generator
    scaling = {"normalize": normalize, "normalize_y": normalize_y, "shuffle": shuffle}
    division = Division(folds, int(repeats), outer, groups, int(seed), scaling)
    problems = division.problems(data, int(batch_size))
    size = min(int(batch_size), max(len(fold.training) for problem in problems for fold in problem.folds))
    with claimed(checkpoint) as folder, EpochBar("search", int(epochs), verbose) as bar:
        engine: Engine = "fit" if scipy.sparse.issparse(data.x) else "auto"
        settings = Settings(
            size, int(epochs), rule, choose_epochs, halving, normalize is not None, normalize_y, int(seed), bar,
            scaling={"seed": int(seed), **scaling}, n_jobs=None if n_jobs is None else int(n_jobs), engine=engine,
        )  # fmt: skip
        if folder is not None:
            described = _described(candidates, data, problems, int(batch_size), settings)
            settings = replace(settings, checkpoints=Checkpoints(folder, described))
        if n_jobs is None:
            candidate_runs.find_groups(candidates, data, problems, settings)
        whole, *of_outer_folds = problems
        try:
            found = _select(candidates, data, whole, int(repeats), settings, feature_names(x))
        except KeyboardInterrupt:
            kept = "nothing is kept" if checkpoint is None else "the next call with this checkpoint folder goes on"
            raise KeyboardInterrupt(f"the search was interrupted before its result: {kept}") from None
        tested: list[OuterFold] = []
        try:
            for number, problem in enumerate(of_outer_folds, start=1):
                name = f"outer fold {number}"
                tested.append(_outer_test(candidates, data, problem, int(repeats), settings, name))
        except KeyboardInterrupt:
            raise Interrupted(replace(found, outer=tested)) from None
        settings.checkpoints.write()
        bar.total = bar.done
    return found if outer is None else replace(found, outer=tested)


def _described(
    candidates: Sequence[Candidate], data: Data, problems: Sequence[Problem], batch_size: int, s: Settings
) -> dict[str, Any]:
    """Return what has to be the same when a search goes on from a checkpoint."""
    job = s.jobs(candidates[0], data, problems[0].folds[:1])[0]
    return call_settings(
        "search", job.model, data, [[fold.split for fold in problem.folds] for problem in problems],
        [] if s.early_stopping is None else [s.early_stopping],
        candidates=[list(candidate.params.items()) for candidate in candidates], epochs=s.epochs, batch_size=batch_size,
        choose_epochs=s.choose_epochs, halving=s.halving, n_jobs=s.n_jobs, **s.scaling,
    )  # fmt: skip


def _select(
    candidates: Sequence[Candidate],
    data: Data,
    problem: Problem,
    repeats: int,
    settings: Settings,
    names_of_features: list[str] | None,
) -> SearchResult:
    """Return the scores of all candidates, and the models of the best one."""
    runs, best = search_runs(candidates, data, problem.folds, repeats, settings, "folds")
    ensemble = candidate_runs.result(best, data, names_of_features, repeats)
    model, _ = candidate_runs.refit(best.candidate, best.epochs, data, problem.test, settings, "best model")
    return SearchResult(
        params=[run.candidate.params for run in runs],
        scores=np.array([run.scores for run in runs]),
        epochs=np.array([run.epochs for run in runs]),
        seconds=np.array([run.seconds for run in runs]),
        best_index=runs.index(best),
        best_model=model.whole_model(),
        ensemble=ensemble,
        ensemble_score=_ensemble_score(best, ensemble, data.y),
    )


def _ensemble_score(best: Run, ensemble: CrossValidation, y: NDArray[Any]) -> float:
    """Return the metric of the predictions out of fold, NaN where there is none."""
    metric = metric_objects(best.jobs[0].model).get(ensemble.metric)
    if metric is None or not np.isfinite(ensemble.out_of_fold).all():
        return float("nan")
    metric.reset_state()
    metric.update_state(y, ensemble.out_of_fold)
    value = float(metric.result())
    metric.reset_state()
    return value


def _outer_test(
    candidates: Sequence[Candidate], data: Data, problem: Problem, repeats: int, settings: Settings, name: str
) -> OuterFold:
    """Select a candidate on the inner folds, and test it on the samples of the outer fold, ``name`` in checkpoints."""
    checkpoints, test = settings.checkpoints, problem.test.split[1]
    if (stored := checkpoints.parts.get(name)) is None:
        runs, best = search_runs(candidates, data, problem.folds, repeats, settings, name)
        last = f"{name}, best model"
        job, metrics = candidate_runs.refit(best.candidate, best.epochs, data, problem.test, settings, last)
        stored = {
            "candidate": runs.index(best),
            "epochs": best.epochs,
            "inner_score": best.mean,
            "score": float(metrics[score_index(stateless.metric_names(job.model))]),
            "predictions": mean_prediction([inner.whole_model() for inner in best.jobs], data.x[test]),
        }
        checkpoints.forget(best.key)
        checkpoints.forget(last)
        for run in runs:
            checkpoints.parts.pop(run.key, None)
        checkpoints.parts[name] = stored
        checkpoints.write_if_due()
    with fitting():
        params, scores = candidates[stored["candidate"]].params, (stored["inner_score"], stored["score"])
        return OuterFold(params, stored["epochs"], *scores, test, stored["predictions"])


def _early_stopping(given: Any) -> keras.callbacks.EarlyStopping | None:
    if given is None or type(given) is keras.callbacks.EarlyStopping:
        return given
    if problem := count_problem("early_stopping", given, minimum=0):
        raise InputError(f"expected {problem.replace(', got', ', its patience, or a keras EarlyStopping, got')}")
    return keras.callbacks.EarlyStopping(patience=int(given), restore_best_weights=True)


def _check(rule: Any, choose_epochs: Any, halving: Any, outer: Any, groups: Any, *, sparse: bool) -> None:
    """Refuse what cannot be combined.

    Raises:
        InputError: names all problems.
    """
    refuse(
        [
            unless(choose_epochs in (True, False), f"choose_epochs as one of True, False, got {choose_epochs!r}"),
            None if halving is None else count_problem("halving", halving, minimum=2),
            unless(not (choose_epochs and rule), "one of choose_epochs and early_stopping, got both"),
            unless(not (choose_epochs and halving), "one of choose_epochs and halving, got both"),
            unless(not (sparse and rule and halving), "one of early_stopping and halving for a sparse x, got both"),
            unless(groups is None or outer is None, "one of groups and outer, got both"),
        ]
    )
