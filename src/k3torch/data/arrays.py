"""Labels, weights and features from lists, NumPy, pandas or torch, as arrays of real numbers."""

from numbers import Real
from typing import Any

from k3torch.errors import InputError
import numpy as np
from numpy.typing import ArrayLike, NDArray
import torch


def number_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return ``values`` as a NumPy array of integers, floats or bools, one row a sample.

    Args:
        name: what the messages call the values.
        values: a list, an array, a tensor on any device, or a Series or DataFrame of pandas, whose index is ignored.

    Raises:
        InputError: for text, missing values and other objects (the row is named), complex numbers, a single number,
            and nested lists of unequal lengths.
    """
    if isinstance(values, torch.Tensor):
        tensor = values.detach().cpu()
        values = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"expected {name} as an array of numbers, got lists of unequal lengths") from error
    if array.ndim == 0:
        raise InputError(f"expected {name} as an array with one row for each sample, got {values!r}")
    if array.dtype.kind in "OUSc":
        for (row, *_), value in np.ndenumerate(np.asarray(values, dtype=object)):
            if not isinstance(value, (Real, np.bool_)):
                raise InputError(f"expected numbers as {name}, got {value!r} in row {row}")
        return array.astype(np.float64)
    if array.dtype.kind not in "biuf":
        raise InputError(f"expected numbers as {name}, got {array.dtype}")
    return array


def float32_tensor(name: str, values: ArrayLike) -> torch.Tensor:
    """Return ``values`` as a float32 tensor of the same shape on the CPU; a writable float32 array is not copied.

    Raises:
        InputError: as ``number_array``, and for a number that is not finite in float32 (the row is named).
    """
    array = number_array(name, values)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(array.astype(np.float32, copy=not array.flags.writeable))
    finite = np.isfinite(numbers)
    if not finite.all():
        place = np.unravel_index(int(np.argmin(finite)), finite.shape)
        raise InputError(f"expected finite float32 numbers as {name}, got {array[place]} in row {place[0]}")
    return torch.from_numpy(numbers)
