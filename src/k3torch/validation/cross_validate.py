"""K-fold cross-validation of any compiled Keras model; all folds and repeats are trained as one stack if possible."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
import functools
import inspect
import re
import threading
from typing import Any, Literal, ParamSpec, TypeVar

from k3torch.errors import InputError
from k3torch.stack import stateless
from k3torch.stack.reasons import DifferentStep, SlowerThanFit, UntraceableStep
from k3torch.training.epoch_bar import EpochBar, Verbose
from k3torch.validation import engines, stopping
from k3torch.validation.arguments import (
    check_names,
    check_settings,
    convert_sample_weight,
    convert_samples,
    feature_names,
    training_weights,
)
from k3torch.validation.engines import MetricHistory
from k3torch.validation.fold_scaling import Normalize
from k3torch.validation.folds import make_repeats
from k3torch.validation.jobs import Data, Job, make_jobs
from k3torch.validation.metric_units import greater_is_better, unit_powers
from k3torch.validation.predictions import out_of_fold
from k3torch.validation.result import CrossValidation, Interrupted, score_index
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

Engine = Literal["auto", "stacked", "fit"]
P = ParamSpec("P")
R = TypeVar("R")


_LOCK = threading.RLock()  # random generators, Keras's registries and torch's compiler are global to the process


def _checked_and_locked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse unknown keyword arguments with a hint, and have calls from several threads run one after another."""
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_names(kwargs, names)
        with _LOCK:
            return function(*args, **kwargs)

    return locked


@_checked_and_locked
def cross_validate(
    build_model: Callable[[], keras.Model],
    x: ArrayLike,
    y: ArrayLike,
    *,
    folds: Any = 4,
    repeats: int = 1,
    epochs: int = 100,
    batch_size: int = 1,
    normalize: Normalize | None = None,
    normalize_y: bool = False,
    engine: Engine = "auto",
    shuffle: bool = True,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    class_weight: Mapping[int, float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    groups: ArrayLike | None = None,
    verbose: Verbose = "auto",
) -> CrossValidation:
    """Train a new model for each fold and repeat, and evaluate it on the validation samples of that fold.

    Seeds the random generators of Keras, torch, NumPy and Python.

    Args:
        build_model: returns a compiled model with new weights; called once for each fold and repeat.
        x: (samples, ...), numbers; the models get float32. Arrays, torch tensors or pandas objects, not sparse.
        y: (samples,) or (samples, outputs): numbers, or classes as whole numbers.
        folds: a number of folds, a scikit-learn splitter, or pairs of index arrays; see ``make_folds``.
        repeats: how often to train on all folds, each time with new initial weights and new orders of the training
            samples. If ``folds`` is a number, each repeat also divides the samples into other folds; a splitter does so
            if its ``random_state`` makes it.
        epochs: passes over the training samples of a fold.
        batch_size: samples per update; the last batch of an epoch may be smaller.
        normalize: None leaves x unchanged. Otherwise subtract the mean and divide by the standard deviation of each
            feature, measured on the training samples of each fold ("fold") or on all samples ("train", which leaks the
            validation samples into training). The returned models begin with a ``keras.layers.Normalization`` that
            does this, so they take x as it is given here.
        normalize_y: whether to train on targets of mean 0 and standard deviation 1, measured on the training samples
            of each fold. The returned models end with a ``keras.layers.Rescaling`` to the unit of y. Metrics are in
            that unit; the loss is that of the scaled targets. One target only, and at least one metric.
        engine: "stacked" trains all models as one stack, "fit" trains one model after another with Keras's ``fit``.
            "auto" trains a stack if its step was verified to be equal to Keras's own; otherwise it uses ``fit``, and
            says why in one line.
        shuffle: whether to train in a new order of the samples in each epoch, or always in the order of the fold.
        seed: of folds, initial weights and orders of samples; at most 2**32 - 1.
        sample_weight: (samples,), for training and validation.
        class_weight: class to weight, for training alone; multiplied with ``sample_weight`` if both are given.
        callbacks: Keras callbacks, called for every model in turn. A single ``keras.callbacks.EarlyStopping`` follows
            each model of a stack, as it would in ``fit``: a model that has stopped is not trained further. Any others
            require the engine "fit".
        groups: (samples,), for splitters that keep groups together.
        verbose: "auto" shows a progress bar on a terminal and in a notebook, with notices below it, such as why
            ``fit`` is used or why a stack is not compiled; elsewhere it prints the notices on standard error. 0 shows
            neither: notices concern speed alone, and ``engine`` of the result says how the models were trained.
            Warnings are given in any case. 1 is as "auto", and prints a line of progress every 10 seconds where there
            is neither a terminal nor a notebook.

    Raises:
        InputError: for an argument that cannot be used or does not exist (the message says what scikit-learn's names,
            such as ``cv``, are called here), and with ``engine="stacked"`` for a model that is not
            supported in a stack.
        Interrupted: a KeyboardInterrupt with the result so far.
    """
    check_settings(
        build_model=build_model, repeats=repeats, epochs=epochs, batch_size=batch_size, normalize=normalize,
        normalize_y=normalize_y, engine=engine, shuffle=shuffle, seed=seed, callbacks=callbacks, verbose=verbose,
    )  # fmt: skip
    repeats, epochs, seed = int(repeats), int(epochs), int(seed)
    inputs, targets = convert_samples(x, y)
    weights = None if sample_weight is None else convert_sample_weight(sample_weight, len(inputs))
    data = Data(inputs, targets, weights, training_weights(targets, weights, class_weight))
    keras.utils.set_random_seed(seed)  # splitters with random_state=None draw from NumPy's generator
    splits = make_repeats(folds, inputs, targets, groups, repeats=repeats, seed=seed)
    with EpochBar("cross-validation", epochs, verbose) as bar:
        bar.status("building the models")
        jobs = make_jobs(
            build_model, data, splits, normalize=normalize, normalize_y=normalize_y, shuffle=shuffle, seed=seed
        )
        for job in jobs:  # both engines begin with the same variables, and the same random states
            engines.build(job)
        if normalize_y:
            jobs = _with_units(jobs)
        batch_size = min(int(batch_size), max(len(job.training) for job in jobs))
        training = _Training(jobs, batch_size, epochs, callbacks, bar)
        try:
            _train(training, engine, seed)
        except KeyboardInterrupt:
            if not training.histories:
                raise
            raise Interrupted(_result(training, data, feature_names(x), repeats, complete=False)) from None
        return _result(training, data, feature_names(x), repeats, complete=True)


@dataclass
class _Training:
    """The jobs, how they are trained, and what came of it so far: the engine, and the metrics of each job."""

    jobs: Sequence[Job]
    batch_size: int
    epochs: int
    callbacks: Sequence[Any] | None
    bar: EpochBar
    engine: Literal["stacked", "fit"] = "stacked"
    histories: list[MetricHistory] = field(default_factory=list)
    final: Sequence[NDArray[np.float64]] | None = None  # metrics of the returned models, if not those of the last epoch
    kept: list[int] = field(default_factory=list)  # for each job of a stack the epoch whose weights its model has


def _train(training: _Training, engine: Engine, seed: int) -> None:
    """Train all jobs as a stack if that is possible and wanted, else with ``fit``."""
    keras.utils.set_random_seed(seed)
    try:
        if engine == "fit" or not _stacked(training, required=engine == "stacked"):
            training.engine = "fit"
            keras.utils.set_random_seed(seed)  # as if no stack had been tried
            t = training
            t.final = engines.fit(t.jobs, t.batch_size, t.epochs, t.callbacks or (), t.bar, t.histories)
    except (IndexError, RuntimeError) as error:
        if not (isinstance(error, IndexError) or re.search("out of (bounds|range)", str(error))):
            raise
        raise InputError(f"expected labels and ids below the widths of the model's layers, got: {error}") from error


def _with_units(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs with the factors from metrics of scaled targets to metrics in the unit of y.

    Raises:
        InputError: for several targets, for models without a metric, and as ``metric_units.unit_powers``.
    """
    model, outputs = jobs[0].model, jobs[0].training.y.shape[1:]
    names = stateless.metric_names(model)
    if outputs != (1,):
        raise InputError(f"expected one target a sample with normalize_y=True, got targets of shape {outputs}")
    if len(names) == 1:
        raise InputError("expected a model with a metric, such as mae, with normalize_y=True, got the loss alone")
    powers = np.array(unit_powers(model, names))
    return [replace(job, units=float(job.scaling.targets.std[0]) ** powers) for job in jobs if job.scaling.targets]


def _stacked(training: _Training, required: bool) -> bool:
    """Train as a stack; for a model that is not supported say why and return False, or refuse it if ``required``."""
    t, models = training, [job.model for job in training.jobs]
    callbacks = t.callbacks or ()
    reason = None if stopping.supported(callbacks) else "callbacks act on one model at a time"
    reason = reason or engines.why_not_stacked(models)
    if reason is None:
        try:
            engines.stacked(t.jobs, t.batch_size, t.epochs, callbacks, t.bar, t.histories, t.kept, required)
            return True
        except DifferentStep as difference:
            reason = str(difference)
        except SlowerThanFit as slower:
            reason = str(slower)
        except UntraceableStep as error:
            reason = f"its step cannot be mapped over models ({error})"
    if required:
        raise InputError(f'expected a model that can be stacked, but {reason}: use engine="fit"')
    t.bar.notice(f"training with fit, fold after fold: {reason}")
    return False


def _result(
    training: _Training, data: Data, names_of_features: list[str] | None, repeats: int, complete: bool
) -> CrossValidation:
    """Return the result of the jobs, which are ordered by repeat, then by fold; NaN for those that were not begun."""
    jobs, histories = training.jobs, training.histories
    names = stateless.metric_names(jobs[0].model)
    table = np.asarray([*histories, *[np.full_like(histories[0], np.nan)] * (len(jobs) - len(histories))])
    kept = (
        [*training.kept, *[-1] * (len(jobs) - len(training.kept))]
        if training.engine == "stacked"
        else [_epochs_done(job.model, values, complete) - 1 for job, values in zip(jobs, table, strict=True)]
    )
    score = score_index(names)
    last = training.final or [values[1, :, max(epoch, 0)] for values, epoch in zip(table, kept, strict=True)]
    scores = [values[score] for values in last]
    table = table.reshape(repeats, len(jobs) // repeats, *table.shape[1:])
    greater = greater_is_better(jobs[0].model, names[score])
    models, indices = [job.whole_model() for job in jobs], [job.split for job in jobs]
    return CrossValidation(
        scores=np.reshape(scores, table.shape[:2]),
        metric=names[score],
        greater_is_better=greater,
        history={
            prefix + name: table[:, :, part, metric]
            for part, prefix in enumerate(("", "val_"))
            for metric, name in enumerate(names)
        },
        models=models,
        indices=indices,
        out_of_fold=out_of_fold(models, data.x, indices) if complete else np.full(data.y.shape, np.nan),
        engine=training.engine,
        feature_names=names_of_features,
    )


def _epochs_done(model: keras.Model, values: MetricHistory, complete: bool) -> int:
    """Return the number of epochs that a model was trained for; a NaN in ``values`` may also be a diverged loss."""
    if complete:
        return len(model.history.epoch)  # a callback may have stopped it early
    return int((~np.isnan(values)).any(axis=(0, 1)).sum())
