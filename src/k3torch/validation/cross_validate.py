"""K-fold cross-validation of any compiled Keras model, all folds and repeats trained as one where that is exact."""

from collections.abc import Callable, Mapping, Sequence
import sys
from typing import Any, Literal

from k3torch.data.scaling import Standardizer
from k3torch.errors import InputError, choice_problem, count_problem, refuse
from k3torch.stack import stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.reasons import UntraceableStep
from k3torch.validation import engines
from k3torch.validation.engines import Job
from k3torch.validation.folds import Indices, Split, make_folds
from k3torch.validation.result import CrossValidation, Interrupted
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray

Engine = Literal["auto", "stacked", "fit"]
Normalize = Literal["fold", "train"]
Table = NDArray[np.generic]


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
    """Train a fresh model for each fold and repeat, measure it on the fold it has not seen, and sum up.

    Keras's, NumPy's and Python's random generators are seeded on the way.

    Args:
        build_model: returns a compiled model with fresh weights; called once for each fold and repeat.
        x: (rows, ...) numbers; the models get float32.
        y: (rows,) or (rows, outputs): numbers, or classes as whole numbers.
        folds: a number of consecutive folds, a scikit-learn splitter, or pairs of row numbers; see ``make_folds``.
        repeats: from the second on the rows are shuffled before folding, and the initial weights are new.
        epochs: passes over a fold's training rows.
        batch_size: rows an update; the last batch of an epoch may be shorter.
        normalize: shift and scale columns by mean and deviation of each fold's training rows ("fold"), of all rows
            ("train", which lets the models peek at the validation rows), or leave them (None).
        engine: "stacked" trains all models as one, "fit" with Keras's loop one after another; "auto" stacks where
            that gives the weights that ``fit`` gives, and says why in one line where it does not.
        shuffle: whether each epoch has an order of its own.
        seed: of folds, initial weights and orders.
        sample_weight: (rows,), for training and validation.
        class_weight: class to weight, for training alone; multiplied with ``sample_weight`` where both are given.
        callbacks: Keras callbacks, which act on one model at a time and so call for ``fit``.
        groups: (rows,), for splitters that keep groups together.

    Raises:
        InputError: for an argument that cannot be used; with ``engine="stacked"`` also where a stack is not exact.
        Interrupted: a KeyboardInterrupt that holds the result so far.
    """
    refuse(
        [
            *(count_problem(n, v) for n, v in (("repeats", repeats), ("epochs", epochs), ("batch_size", batch_size))),
            count_problem("seed", seed, minimum=0),
            choice_problem("engine", engine, ("auto", "stacked", "fit")),
            choice_problem("normalize", normalize, (None, "fold", "train")),
        ]
    )
    inputs, targets = _arrays(x, y)
    weights = None if sample_weight is None else _weights(sample_weight, len(inputs))
    splits = [make_folds(folds, inputs, targets, groups, repeat=r, seed=seed) for r in range(repeats)]
    class_weights = None if class_weight is None else _of_classes(targets, class_weight)

    jobs: list[Job] = []
    for repeat, parts in enumerate(splits):
        for fold, split in enumerate(parts):
            keras.utils.set_random_seed(int(np.random.SeedSequence([seed, repeat, fold]).generate_state(1)[0]))
            training, validation = _rows(inputs, targets, weights, class_weights, split, normalize)
            order = _orders(len(training), shuffle, (seed, repeat, fold))
            jobs.append(Job(_built(build_model, inputs, jobs), training, validation, order))

    keras.utils.set_random_seed(seed)
    figures: list[engines.Metrics] = []
    chosen = "stacked"
    try:
        if engine == "fit" or not _stacked(jobs, batch_size, epochs, callbacks, engine == "stacked", figures):
            chosen = "fit"
            engines.fit(jobs, batch_size, epochs, callbacks or (), figures)
    except IndexError as error:
        raise InputError(f"expected labels and ids below the widths of the model's layers, got: {error}") from error
    except KeyboardInterrupt:
        if not figures:
            raise
        unknown = [np.full_like(figures[0], np.nan)] * (len(jobs) - len(figures))
        raise Interrupted(_result(jobs, [*figures, *unknown], repeats, chosen)) from None
    return _result(jobs, figures, repeats, chosen)


def _result(jobs: Sequence[Job], figures: Sequence[Any], repeats: int, engine: str) -> CrossValidation:
    names = stateless.metric_names(jobs[0].model)
    table = np.asarray(figures)  # (jobs, 2, metrics, epochs)
    table = table.reshape(repeats, len(jobs) // repeats, *table.shape[1:])
    history = {
        prefix + name: table[:, :, j, i] for j, prefix in enumerate(("", "val_")) for i, name in enumerate(names)
    }
    metric = names[min(1, len(names) - 1)]
    curve = history[f"val_{metric}"]
    # Callbacks may have stopped some models early.
    last = np.maximum(np.sum(~np.isnan(curve), axis=-1, keepdims=True) - 1, 0)
    scores = np.take_along_axis(curve, last, axis=-1)[..., 0]
    shares = [len(job.validation) / len(job.training) for job in jobs]
    return CrossValidation(scores, metric, history, [job.model for job in jobs], engine, float(np.mean(shares)))


def _stacked(
    jobs: Sequence[Job],
    batch_size: int,
    epochs: int,
    callbacks: Sequence[Any] | None,
    must: bool,
    figures: list[engines.Metrics],
) -> bool:
    """Train as a stack; where that is not exact say why and return False, or refuse if it ``must`` be."""
    reason = (
        "callbacks act on one model at a time" if callbacks else engines.why_not_stacked([job.model for job in jobs])
    )
    if reason is None:
        try:
            engines.stacked(jobs, batch_size, epochs, _say, figures)
            return True
        except UntraceableStep as error:
            reason = f"its step cannot be mapped over models ({error})"
    if must:
        raise InputError(f'expected a model that can be stacked, but {reason}: use engine="fit"')
    _say(f"training with fit, fold after fold: {reason}")
    return False


def _rows(
    x: Table, y: Table, weights: Table | None, class_weights: Table | None, split: Split, normalize: str | None
) -> tuple[Samples, Samples]:
    """Return a fold's training and validation rows, normalised and as float32."""
    training, validation = split
    scale = None if normalize is None else Standardizer.fit(x[training] if normalize == "fold" else x)

    def part(rows: Indices, weighting: Table | None) -> Samples:
        chosen = x[rows] if scale is None else scale.transform(x[rows])
        return Samples(chosen.astype("float32"), y[rows], None if weighting is None else weighting[rows])

    both = weights if class_weights is None else class_weights if weights is None else weights * class_weights  # type: ignore[operator]
    return part(training, both), part(validation, weights)


def _orders(rows: int, shuffle: bool, key: tuple[int, ...]) -> engines.EpochOrder:
    """Return the order of the rows in an epoch, the same whichever engine asks, and however often."""
    if not shuffle:
        return lambda _: np.arange(rows)
    return lambda epoch: np.random.default_rng([*key, epoch]).permutation(rows)


def _built(build_model: Callable[[], keras.Model], x: Table, others: Sequence[Job]) -> keras.Model:
    model = build_model()
    if not isinstance(model, keras.Model) or not model.compiled:
        raise InputError(f"expected build_model() to return a compiled Keras model, got {model!r}: compile it there")
    if any(model is other.model or model.optimizer is other.model.optimizer for other in others):
        raise InputError("expected build_model() to make model and optimizer anew, got the same again: build it there")
    for metric in stateless.given_metrics(model):
        if None in (getattr(metric, "average", 0), getattr(metric, "class_aggregation", 0)):  # F1Score, R2Score
            raise InputError(f"expected metrics of one number, got {metric.name}, one a class: let it average them")
    if isinstance(model, keras.Sequential) and not model.built:  # one without an Input knows its shapes by its data
        model.build((None, *x.shape[1:]))
    return model


def _arrays(x: ArrayLike, y: ArrayLike) -> tuple[Table, Table]:
    inputs, targets = np.asarray(x), np.asarray(y)
    for name, array in (("x", inputs), ("y", targets)):
        if array.dtype.kind not in "fiub" or array.ndim == 0:
            raise InputError(f"expected {name} as an array of numbers, got dtype {array.dtype}: convert it first")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            row = np.argwhere(~np.isfinite(array))[0][0]
            raise InputError(f"expected finite numbers in {name}, found {array[row]} in row {row}: fill or drop it")
    if len(inputs) != len(targets):
        raise InputError(f"expected as many rows in y as in x ({len(inputs)}), got {len(targets)}")
    if inputs.ndim == 1:
        inputs = inputs[:, None]
    if targets.ndim == 1:
        targets = targets[:, None]
    return inputs, targets.astype("float32" if targets.dtype.kind in "fb" else "int64")


def _weights(sample_weight: ArrayLike, rows: int) -> Table:
    weights = np.asarray(sample_weight, dtype="float32")
    if weights.shape != (rows,) or not (weights >= 0).all():
        raise InputError(f"expected sample_weight as {rows} numbers of 0 or more, got shape {weights.shape}")
    return weights


def _of_classes(y: Table, class_weight: Mapping[int, float]) -> Table:
    """Return the weight of each row's class; a class that is not named weighs 1, as in ``fit``."""
    if not isinstance(class_weight, Mapping) or not all(weight >= 0 for weight in class_weight.values()):
        raise InputError(f"expected class_weight as class to number of 0 or more, got {class_weight!r}: give a dict")
    labels = y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1)
    return np.array([class_weight.get(int(label), 1.0) for label in labels], dtype="float32")


def _say(line: str) -> None:
    print(line, file=sys.stderr)
