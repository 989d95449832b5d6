"""K-fold cross-validation of any compiled Keras model; all folds and repeats are trained as one stack if possible."""

from collections.abc import Callable, Mapping, Sequence
import functools
import inspect
from typing import Any, ParamSpec, TypeVar

from k3torch import interrupts, runtime
from k3torch.errors import refuse
from k3torch.training.epoch_bar import EpochBar, Verbose
from k3torch.validation import engines
from k3torch.validation.arguments import check_names, check_settings, feature_names
from k3torch.validation.checkpoint_settings import call_settings
from k3torch.validation.checkpoints import Checkpoint, Checkpoints, claimed
from k3torch.validation.fold_scaling import Normalize
from k3torch.validation.folds import make_repeats
from k3torch.validation.job_training import Engine, Training, with_units
from k3torch.validation.jobs import Data, make_jobs
from k3torch.validation.process_lock import LOCK
from k3torch.validation.result import CrossValidation, Interrupted
from k3torch.validation.tasks import fold_tasks, n_jobs_problem, train_in_tasks
import keras
from numpy.typing import ArrayLike

P = ParamSpec("P")
R = TypeVar("R")


def checked_and_locked(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse unknown keyword arguments with a hint, and have calls from several threads run one after another."""
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def locked(*args: P.args, **kwargs: P.kwargs) -> R:
        check_names(kwargs, names, function.__name__)
        with LOCK, interrupts.not_lost():
            return function(*args, **kwargs)

    return locked


@checked_and_locked
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
    checkpoint: Checkpoint = None,
    n_jobs: int | None = None,
    verbose: Verbose = "auto",
) -> CrossValidation:
    """Train a new model for each fold and repeat, and evaluate it on the validation samples of that fold.

    Seeds the random generators of Keras, torch, NumPy and Python.

    Args:
        build_model: returns a compiled model with new weights; called once for each fold and repeat.
        x: (samples, ...), numbers; the models get float32. Arrays, torch tensors, pandas objects, or a SciPy sparse
            matrix (CSR, CSC or COO), which all folds share and which never becomes dense: models get CSR tensors, and
            train with ``fit``. Their first layer has to take these, as ``SparseDense`` does. Not with ``normalize``.
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
        checkpoint: a folder. The state is saved there at the ends of epochs, so rarely that this takes at most 1% of
            the time, and at the end. The same call goes on from there after an interruption; its result is that of an
            uninterrupted call, bit for bit.
        n_jobs: None trains all models in this process. Otherwise the repeats, or the folds of a single one, are trained
            in so many processes of one thread each, -1 for one a core, or where ``joblib.parallel_config`` says, such
            as on a cluster of Dask or Ray. The result is the same for any number; random layers get other random
            numbers than with None. ``callbacks`` are copied: what they keep stays in the workers.
        verbose: "auto" shows a progress bar on a terminal and in a notebook, with notices below it, such as why
            ``fit`` is used or why a stack is not compiled; elsewhere it prints the notices on standard error. 0 shows
            neither: notices concern speed alone, and ``engine`` of the result says how the models were trained.
            Warnings are given in any case. 1 is as "auto", and prints a line of progress every 10 seconds where there
            is neither a terminal nor a notebook.

    Raises:
        InputError: for an argument that cannot be used or does not exist (the message says what scikit-learn's names,
            such as ``cv``, are called here), and with ``engine="stacked"`` for a model that is not
            supported in a stack; for a checkpoint of another call or other versions, for a folder of checkpoints that
            another process uses or that cannot be written to, and if all checkpoints are damaged.
        Interrupted: a KeyboardInterrupt with the result so far.
    """
    check_settings(
        build_model=build_model, repeats=repeats, epochs=epochs, batch_size=batch_size, normalize=normalize,
        normalize_y=normalize_y, engine=engine, shuffle=shuffle, seed=seed, callbacks=callbacks, verbose=verbose,
    )  # fmt: skip
    refuse([n_jobs_problem(n_jobs)])
    repeats, epochs, seed = int(repeats), int(epochs), int(seed)
    data = Data.of(x, y, sample_weight, class_weight)
    inputs, targets = data.x, data.y
    keras.utils.set_random_seed(seed)  # splitters with random_state=None draw from NumPy's generator
    splits = make_repeats(folds, inputs, targets, groups, repeats=repeats, seed=seed)
    with claimed(checkpoint) as folder, EpochBar("cross-validation", epochs, verbose) as bar:
        bar.status("building the models")
        scaling: dict[str, Any] = {
            "normalize": normalize, "normalize_y": normalize_y, "shuffle": shuffle, "seed": seed
        }  # fmt: skip
        with runtime.garbage_collection_paused():
            jobs = make_jobs(build_model, data, splits, **scaling)
            for job in jobs:  # both engines begin with the same variables, and the same random states
                engines.build(job)
        if normalize_y:
            jobs = with_units(jobs)
        batch_size = min(int(batch_size), max(len(job.training) for job in jobs))
        settings = call_settings(
            "cross_validate", jobs[0].model, data, splits, callbacks=callbacks, epochs=epochs, batch_size=batch_size,
            engine=engine, n_jobs=n_jobs, **scaling,
        )  # fmt: skip
        checkpoints = Checkpoints(folder, settings)
        training = Training(jobs, batch_size, range(epochs), callbacks, bar, current=checkpoints.begin("folds"))
        try:
            if (record := checkpoints.trained("folds")) is not None:
                training.load(record)
            elif n_jobs is not None:
                tasks = fold_tasks(
                    splits, seed, build_model=build_model, batch_size=batch_size, epochs=epochs, callbacks=callbacks,
                    engine=engine, scaling=scaling,
                )  # fmt: skip
                train_in_tasks(training, data, tasks, int(n_jobs), checkpoints)
                checkpoints.write()
            else:
                training.train(engine, seed)
                checkpoints.complete({"folds": training})
                checkpoints.write()
        except KeyboardInterrupt:
            if not training.histories:
                raise
            raise Interrupted(training.result(data, feature_names(x), repeats, complete=False)) from None
        return training.result(data, feature_names(x), repeats, complete=True)
