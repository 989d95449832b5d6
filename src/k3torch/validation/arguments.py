"""Checks and conversions of the arguments of ``cross_validate``; what cannot be used is refused in one line."""

from collections.abc import Iterable, Sequence
import inspect
from typing import Any, TypeAlias

from k3torch.data.arrays import finite_array
from k3torch.data.loaders import class_weights
from k3torch.data.sparse import checked_csr
from k3torch.errors import InputError, choice_problem, count_problem, did_you_mean, refuse, seed_problem, unless
import keras
import numpy as np
from numpy.typing import NDArray
import scipy.sparse

Array = NDArray[np.generic]
Features: TypeAlias = "Array | scipy.sparse.csr_matrix"

MAX_EPOCHS = 10_000_000  # the history is allocated at the start

# What the arguments of scikit-learn's cross_validate are called here.
SKLEARN_NAMES = {
    "cv": "folds= as the number of folds or the splitter",
    "scoring": "metrics= of compile, whose first is the score",
    "estimator": "build_model= as a function that returns a compiled model",
    "X": "x= as the samples",
    "random_state": "seed= as a whole number",
    "params": "sample_weight=, class_weight= and callbacks= by their names",
    "fit_params": "sample_weight=, class_weight= and callbacks= by their names",
    "return_estimator": "no return_estimator, since the models are in result.models",
    "return_indices": "no return_indices, since they are in result.indices",
    "return_train_score": "no return_train_score, since the training metrics are in result.history",
    "pre_dispatch": "n_jobs= as the number of processes",
    "error_score": "no error_score, since errors are raised",
    "param_distributions": "param_grid= as a ParameterSampler",
    "n_iter": "param_grid= as ParameterSampler(distributions, n_iter)",
    "factor": "halving= as the factor",
    "refit": "no refit, since the best candidate is trained on all samples",
}


def check_settings(
    *,
    build_model: Any,
    repeats: Any,
    epochs: Any,
    batch_size: Any,
    normalize: Any,
    normalize_y: Any,
    engine: Any,
    shuffle: Any,
    seed: Any,
    callbacks: Any,
    verbose: Any,
) -> None:
    """Check what does not depend on the data.

    Raises:
        InputError: names all bad arguments.
    """
    are_callbacks = callbacks is None or (
        isinstance(callbacks, list | tuple) and all(isinstance(c, keras.callbacks.Callback) for c in callbacks)
    )
    refuse(
        [
            unless(_is_builder(build_model), f"build_model as a function without arguments, got {build_model!r}"),
            *(count_problem(n, v) for n, v in (("repeats", repeats), ("epochs", epochs), ("batch_size", batch_size))),
            seed_problem(seed),
            unless(
                count_problem("epochs", epochs) or epochs <= MAX_EPOCHS,
                f"epochs of {MAX_EPOCHS} at most, got {epochs!r}",
            ),
            choice_problem("engine", engine, ("auto", "stacked", "fit")),
            choice_problem("normalize", normalize, (None, "fold", "train")),
            choice_problem("normalize_y", normalize_y, (True, False)),
            choice_problem("shuffle", shuffle, (True, False)),
            choice_problem("verbose", verbose, ("auto", 0, 1)),
            unless(are_callbacks, f"callbacks as a list of Keras callbacks, got {callbacks!r}"),
        ]
    )


def check_names(names: Iterable[str], known: Sequence[str], function: str = "cross_validate") -> None:
    """Check the names of keyword arguments.

    Raises:
        InputError: names those that the function does not have, and what replaces them: what stands for
            scikit-learn's name, or a similar name.
    """
    refuse(
        f"{SKLEARN_NAMES[name]}, got {name}="
        if name in SKLEARN_NAMES
        else f"an argument of {function}, got {name}={did_you_mean(name, known)}"
        for name in names
        if name not in known
    )


def _is_builder(build_model: Any) -> bool:
    if not callable(build_model) or isinstance(build_model, keras.Layer):
        return False
    try:
        inspect.signature(build_model).bind()
    except TypeError:
        return False
    except ValueError:  # a function of C has no signature
        return True
    return True


def feature_names(x: Any) -> list[str] | None:
    """Return the names of the columns of a DataFrame, None for anything else."""
    columns = getattr(x, "columns", None)
    return None if columns is None else [str(name) for name in columns]


def convert_features(x: Any) -> Features:
    """Return inputs as an array of shape (samples, ...); a one-dimensional x gets a second dimension of 1.

    A sparse matrix stays sparse, as float32 CSR.

    Raises:
        InputError: as ``finite_array``, and for a sparse matrix as ``checked_csr``.
    """
    if scipy.sparse.issparse(x):
        return checked_csr("x", x)
    inputs = finite_array("x", x)
    return inputs[:, None] if inputs.ndim == 1 else inputs


def convert_samples(x: Any, y: Any) -> tuple[Features, Array]:
    """Return inputs of shape (samples, ...) and targets of shape (samples, outputs).

    One-dimensional x and y get a second dimension of 1. Targets become int64 if they are whole numbers by dtype,
    float64 otherwise, which is rounded to float32 after scaling; inputs keep their dtype.

    Raises:
        InputError: as ``finite_array``, for lengths that differ, and for samples without features or targets.
    """
    inputs, targets = convert_features(x), finite_array("y", y)
    if inputs.shape[0] != len(targets):
        raise InputError(f"expected as many samples in y as in x ({inputs.shape[0]}), got {len(targets)}")
    for name, array in (("x", inputs), ("y", targets)):
        if 0 in array.shape[1:]:
            raise InputError(f"expected {name} with at least one number a sample, got shape {array.shape}")
    if targets.dtype == np.uint64 and targets.size and targets.max() > np.iinfo(np.int64).max:
        raise InputError(f"expected whole numbers below 2**63 in y, got {targets.max()}")
    targets = targets[:, None] if targets.ndim == 1 else targets
    return inputs, targets.astype("float64" if targets.dtype.kind in "fb" else "int64")


def training_weights(
    y: Array, sample_weight: NDArray[np.float32] | None, class_weight: Any
) -> NDArray[np.float32] | None:
    """Return the product of sample and class weights, (samples,), or None without either.

    Raises:
        InputError: as ``convert_class_weight``.
    """
    if class_weight is None:
        return sample_weight
    of_classes = convert_class_weight(class_weight, y)
    return of_classes if sample_weight is None else sample_weight * of_classes


def convert_sample_weight(sample_weight: Any, samples: int) -> NDArray[np.float32]:
    """Return the weights as float32, shape (samples,).

    Raises:
        InputError: as ``finite_array``, and for another shape or a negative weight.
    """
    weights = finite_array("sample_weight", sample_weight)
    if weights.shape != (samples,):
        raise InputError(f"expected sample_weight of shape ({samples},), got shape {weights.shape}")
    if samples and weights.min() < 0:
        raise InputError(f"expected sample_weight of 0 or more, got {weights.min()}")
    return weights.astype("float32")


def convert_class_weight(class_weight: Any, y: Array) -> NDArray[np.float32]:
    """Return the weight of each sample's class, shape (samples,), by the rules of ``fit``.

    The class is the label rounded to a whole number, or the index of the largest of several outputs; a class that is
    not named has the weight 1.

    Raises:
        InputError: as ``class_weights``, and for targets of more than two dimensions.
    """
    if y.ndim > 2:
        raise InputError(f"expected y of shape (samples, outputs) for class_weight, got shape {y.shape}")
    return class_weights(y, class_weight)
