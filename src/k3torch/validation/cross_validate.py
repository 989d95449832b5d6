"""K-fold cross-validation of any compiled Keras model; all folds and repeats are trained as one stack if possible."""

from collections.abc import Callable, Mapping, Sequence
import functools
import re
import sys
import threading
from typing import Any, Literal, ParamSpec, TypeVar

from k3torch.data.scaling import Standardizer
from k3torch.errors import InputError
from k3torch.stack import stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.reasons import DifferentStep, UntraceableStep
from k3torch.training.model_state import layers_of
from k3torch.validation import engines
from k3torch.validation.arguments import (
    Array,
    check_settings,
    convert_class_weight,
    convert_sample_weight,
    convert_samples,
)
from k3torch.validation.engines import Job, MetricHistory
from k3torch.validation.folds import Indices, make_repeats
from k3torch.validation.result import CrossValidation, Interrupted, score_index
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

Engine = Literal["auto", "stacked", "fit"]
Normalize = Literal["fold", "train"]
P = ParamSpec("P")
R = TypeVar("R")


_LOCK = threading.RLock()  # random generators, Keras's registries and torch's compiler are global to the process


def _one_after_another(function: Callable[P, R]) -> Callable[P, R]:
    """Have calls from several threads run one after another."""

    @functools.wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        with _LOCK:
            return function(*args, **kwargs)

    return locked


@_one_after_another
def cross_validate(
    build_model: Callable[[], keras.Model],
    x: ArrayLike,
    y: ArrayLike,
    *,
    folds: Any = 4,
    repeats: int = 1,
    epochs: int = 100,
    batch_size: int = 1,
    normalize: Normalize | None = "fold",
    engine: Engine = "auto",
    shuffle: bool = True,
    seed: int = 0,
    sample_weight: ArrayLike | None = None,
    class_weight: Mapping[int, float] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | None = None,
    groups: ArrayLike | None = None,
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
        normalize: subtract the mean and divide by the standard deviation of each feature, measured on the training
            samples of each fold ("fold") or on all samples ("train", which leaks the validation samples into
            training); None leaves x unchanged.
        engine: "stacked" trains all models as one stack, "fit" trains one model after another with Keras's ``fit``.
            "auto" trains a stack if its step was verified to be equal to Keras's own; otherwise it uses ``fit``, and
            prints one line with the reason on standard error.
        shuffle: whether to train in a new order of the samples in each epoch, or always in the order of the fold.
        seed: of folds, initial weights and orders of samples; at most 2**32 - 1.
        sample_weight: (samples,), for training and validation.
        class_weight: class to weight, for training alone; multiplied with ``sample_weight`` if both are given.
        callbacks: Keras callbacks, called for every model in turn; they require the engine "fit".
        groups: (samples,), for splitters that keep groups together.

    Raises:
        InputError: for an argument that cannot be used, and with ``engine="stacked"`` for a model that is not
            supported in a stack.
        Interrupted: a KeyboardInterrupt with the result so far.
    """
    check_settings(
        build_model=build_model, repeats=repeats, epochs=epochs, batch_size=batch_size, normalize=normalize,
        engine=engine, shuffle=shuffle, seed=seed, callbacks=callbacks,
    )  # fmt: skip
    repeats, epochs, seed = int(repeats), int(epochs), int(seed)
    inputs, targets = convert_samples(x, y)
    weights = None if sample_weight is None else convert_sample_weight(sample_weight, len(inputs))
    training_weights = _training_weights(targets, weights, class_weight)
    keras.utils.set_random_seed(seed)  # splitters with random_state=None draw from NumPy's generator
    splits = make_repeats(folds, inputs, targets, groups, repeats=repeats, seed=seed)

    jobs: list[Job] = []
    for repeat, parts in enumerate(splits):
        for fold, (training, validation) in enumerate(parts):
            key = (seed, repeat, fold)
            keras.utils.set_random_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
            scaled = _scaled(inputs, training, normalize)
            learnt = _samples(scaled, targets, training_weights, training)
            held_out = _samples(scaled, targets, weights, validation)
            jobs.append(Job(_new_model(build_model, inputs, jobs), learnt, held_out, _order(len(learnt), shuffle, key)))

    for job in jobs:  # both engines begin with the same variables, and the same random states
        engines.build(job)
    batch_size = min(int(batch_size), max(len(job.training) for job in jobs))
    keras.utils.set_random_seed(seed)
    histories: list[MetricHistory] = []
    used = "stacked"
    try:
        if engine == "fit" or not _stacked(jobs, batch_size, epochs, callbacks, engine == "stacked", histories):
            used = "fit"
            keras.utils.set_random_seed(seed)  # as if no stack had been tried
            engines.fit(jobs, batch_size, epochs, callbacks or (), histories)
    except (IndexError, RuntimeError) as error:
        if not (isinstance(error, IndexError) or re.search("out of (bounds|range)", str(error))):
            raise
        raise InputError(f"expected labels and ids below the widths of the model's layers, got: {error}") from error
    except KeyboardInterrupt:
        if not histories:
            raise
        unknown = [np.full_like(histories[0], np.nan)] * (len(jobs) - len(histories))
        raise Interrupted(_result(jobs, [*histories, *unknown], repeats, used, complete=False)) from None
    return _result(jobs, histories, repeats, used, complete=True)


def _training_weights(
    targets: Array, weights: NDArray[np.float32] | None, class_weight: Mapping[int, float] | None
) -> NDArray[np.float32] | None:
    """Return the product of sample and class weights, or None without either."""
    if class_weight is None:
        return weights
    of_classes = convert_class_weight(class_weight, targets)
    return of_classes if weights is None else weights * of_classes


def _scaled(x: Array, training: Indices, normalize: Normalize | None) -> NDArray[np.float32]:
    """Return all samples as float32, scaled by the statistics of the fold's training samples or of all samples."""
    if normalize is None:
        return x.astype("float32")
    return Standardizer.fit(x[training] if normalize == "fold" else x).transform(x).astype("float32")


def _samples(x: NDArray[np.float32], y: Array, weights: NDArray[np.float32] | None, chosen: Indices) -> Samples:
    return Samples(x[chosen], y[chosen], None if weights is None else weights[chosen])


def _order(samples: int, shuffle: bool, key: tuple[int, ...]) -> engines.EpochOrder:
    """Return a function from epoch to the order of the samples, so that both engines use the same orders."""
    if not shuffle:
        return lambda _: np.arange(samples)
    return lambda epoch: np.random.default_rng([*key, epoch]).permutation(samples)


def _new_model(build_model: Callable[[], keras.Model], x: Array, others: Sequence[Job]) -> keras.Model:
    model = build_model()
    if not isinstance(model, keras.Model) or not model.compiled:
        raise InputError(f"expected build_model() to return a compiled Keras model, got {model!r}: call compile in it")
    if model.optimizer is None:
        raise InputError("expected build_model() to return a model with an optimizer, got none: pass one to compile")
    if any(model is other.model or model.optimizer is other.model.optimizer for other in others):
        raise InputError(
            "expected build_model() to return a new model with a new optimizer, got one of an earlier call: create "
            "both in build_model"
        )
    held = {id(part) for other in others for part in layers_of(other.model)}
    if shared := next((part.name for part in layers_of(model) if id(part) in held), None):
        raise InputError(
            f"expected build_model() to return a model with new layers, got layer {shared!r} of an earlier call, "
            "whose training it would continue: create the layers in build_model"
        )
    if isinstance(model, keras.Sequential) and not model.built:  # without an Input layer it needs the shape of x
        model.build((None, *x.shape[1:]))
    return model


def _stacked(
    jobs: Sequence[Job],
    batch_size: int,
    epochs: int,
    callbacks: Sequence[Any] | None,
    required: bool,
    histories: list[MetricHistory],
) -> bool:
    """Train as a stack; for a model that is not supported say why and return False, or refuse it if ``required``."""
    models = [job.model for job in jobs]
    reason = "callbacks act on one model at a time" if callbacks else engines.why_not_stacked(models)
    if reason is None:
        try:
            engines.stacked(jobs, batch_size, epochs, _print_notice, histories)
            return True
        except DifferentStep as difference:
            reason = str(difference)
        except UntraceableStep as error:
            reason = f"its step cannot be mapped over models ({error})"
    if required:
        raise InputError(f'expected a model that can be stacked, but {reason}: use engine="fit"')
    _print_notice(f"training with fit, fold after fold: {reason}")
    return False


def _result(
    jobs: Sequence[Job], histories: Sequence[MetricHistory], repeats: int, engine: str, complete: bool
) -> CrossValidation:
    """Return the result of the jobs, which are ordered by repeat, then by fold."""
    names = stateless.metric_names(jobs[0].model)
    table = np.asarray(histories)
    done = [_epochs_done(job.model, values, engine, complete) for job, values in zip(jobs, table, strict=True)]
    score = score_index(names)
    scores = [values[1, score, max(epochs, 1) - 1] for values, epochs in zip(table, done, strict=True)]
    table = table.reshape(repeats, len(jobs) // repeats, *table.shape[1:])
    return CrossValidation(
        scores=np.reshape(scores, table.shape[:2]),
        metric=names[score],
        history={
            prefix + name: table[:, :, part, metric]
            for part, prefix in enumerate(("", "val_"))
            for metric, name in enumerate(names)
        },
        models=[job.model for job in jobs],
        engine=engine,
        validation_ratio=float(np.mean([len(job.validation) / len(job.training) for job in jobs])),
    )


def _epochs_done(model: keras.Model, values: MetricHistory, engine: str, complete: bool) -> int:
    """Return the number of epochs that a model was trained for; a NaN in ``values`` may also be a diverged loss."""
    if complete and engine == "stacked":
        return int(values.shape[-1])
    if complete:
        return len(model.history.epoch)  # a callback may have stopped it early
    return int((~np.isnan(values)).any(axis=(0, 1)).sum())


def _print_notice(line: str) -> None:
    print(line, file=sys.stderr)
