"""Checks and conversions of the arguments of ``cross_validate``; what cannot be used is refused in one line."""

from collections.abc import Mapping
import inspect
from typing import Any

from k3torch.data.loaders import class_weights
from k3torch.errors import InputError, choice_problem, count_problem, is_number, refuse, seed_problem, unless
import keras
import numpy as np
from numpy.typing import NDArray
import scipy.sparse

Array = NDArray[np.generic]

MAX_EPOCHS = 10_000_000  # the history is allocated at the start


def check_settings(
    *,
    build_model: Any,
    repeats: Any,
    epochs: Any,
    batch_size: Any,
    normalize: Any,
    engine: Any,
    shuffle: Any,
    seed: Any,
    callbacks: Any,
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
            choice_problem("shuffle", shuffle, (True, False)),
            unless(are_callbacks, f"callbacks as a list of Keras callbacks, got {callbacks!r}"),
        ]
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


def convert_samples(x: Any, y: Any) -> tuple[Array, Array]:
    """Return inputs of shape (samples, ...) and targets of shape (samples, outputs).

    One-dimensional x and y get a second dimension of 1. Targets become int64 if they are whole numbers by dtype,
    float32 otherwise; inputs keep their dtype.

    Raises:
        InputError: as ``convert_numbers``, for lengths that differ, and for samples without features or targets.
    """
    inputs, targets = convert_numbers("x", x), convert_numbers("y", y)
    if len(inputs) != len(targets):
        raise InputError(f"expected as many samples in y as in x ({len(inputs)}), got {len(targets)}")
    for name, array in (("x", inputs), ("y", targets)):
        if 0 in array.shape[1:]:
            raise InputError(f"expected {name} with at least one number a sample, got shape {array.shape}")
    if targets.dtype == np.uint64 and targets.size and targets.max() > np.iinfo(np.int64).max:
        raise InputError(f"expected whole numbers below 2**63 in y, got {targets.max()}")
    inputs, targets = (array[:, None] if array.ndim == 1 else array for array in (inputs, targets))
    return inputs, targets.astype("float32" if targets.dtype.kind in "fb" else "int64")


def convert_sample_weight(sample_weight: Any, samples: int) -> NDArray[np.float32]:
    """Return the weights as float32, shape (samples,).

    Raises:
        InputError: as ``convert_numbers``, and for another shape or a negative weight.
    """
    weights = convert_numbers("sample_weight", sample_weight)
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
        InputError: for anything but a mapping from whole numbers to finite numbers of 0 or more, and for targets of
            more than two dimensions.
    """
    if not isinstance(class_weight, Mapping) or not all(map(_is_class_weight, class_weight.items())):
        raise InputError(f"expected class_weight as a dict from class number to weight, got {class_weight!r}")
    if y.ndim > 2:
        raise InputError(f"expected y of shape (samples, outputs) for class_weight, got shape {y.shape}")
    return class_weights(y[:, 0] if y.shape[1] == 1 else y.argmax(axis=1), class_weight)


def _is_class_weight(item: tuple[Any, Any]) -> bool:
    label, weight = item
    is_label = isinstance(label, bool) or (is_number(label) and label == round(label))
    return is_label and is_number(weight) and 0 <= weight <= np.finfo(np.float32).max.item()


def convert_numbers(name: str, values: Any) -> Array:
    """Return an array of bool, integer or float dtype, with at least one dimension.

    Takes what NumPy converts, torch tensors, and pandas objects whose columns are all numbers or bools.

    Raises:
        InputError: for sparse, masked and ragged arrays, other dtypes, and values that float32 cannot hold.
    """
    if scipy.sparse.issparse(values):
        raise InputError(f"expected {name} as a dense array, got a sparse matrix: use {name}.toarray()")
    if keras.ops.is_tensor(values) and getattr(values, "is_meta", False):
        raise InputError(f"expected {name} with values, got a tensor on the device meta")
    if np.ma.is_masked(values):
        raise InputError(
            f"expected {name} without masked values, got {np.ma.getmaskarray(values).sum()}: fill or drop them"
        )
    try:
        array = np.asarray(keras.ops.convert_to_numpy(values) if keras.ops.is_tensor(values) else values)
        if array.dtype == object:  # pandas has no other dtype for a table of floats and bools
            array = np.array(array.tolist())
    except (TypeError, ValueError) as error:
        raise InputError(f"expected {name} as an array of numbers, got {type(values).__name__}: {error}") from error
    if array.dtype.kind not in "fiub" or array.ndim == 0:
        raise InputError(f"expected {name} as an array of numbers, got dtype {array.dtype}, shape {array.shape}")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            usable = np.isfinite(array.astype("float32"))
        if not usable.all():
            where = tuple(np.argwhere(~usable)[0].tolist())
            raise InputError(f"expected finite float32 numbers in {name}, got {array[where]} in sample {where[0]}")
    return array
