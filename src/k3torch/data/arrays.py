"""Labels, weights and features from lists, NumPy, pandas or torch, as arrays of real numbers."""

from numbers import Real
from typing import Any

from k3torch.errors import InputError, first_line
import numpy as np
from numpy.typing import ArrayLike, NDArray
import scipy.sparse
import torch


def number_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return ``values`` as a NumPy array of integers, floats or bools, of at least one dimension.

    Args:
        name: what the messages call the values.
        values: a list, an array, a tensor on any device, or a Series or DataFrame of pandas, whose index is ignored.
            The first dimension counts samples. Arrays of Python objects get the dtype of the numbers in them.

    Raises:
        InputError: for text, missing values and other objects (the sample is named, from 0), complex numbers, a single
            number, nested lists of unequal lengths, sparse matrices, masked values, and tensors without values.
    """
    array = _as_array(name, values)
    if array.ndim == 0:
        raise InputError(f"expected {name} as an array with one entry for each sample, got {values!r}")
    if array.dtype.kind in "OUSc":
        for (sample, *_), value in np.ndenumerate(np.asarray(values, dtype=object)):
            if not isinstance(value, (Real, np.bool_)):
                raise InputError(f"expected numbers as {name}, got {value!r} in sample {sample}")
        array = np.array(array.tolist())  # pandas has no other dtype than object for a table of floats and bools
        return array.astype(np.float64) if array.dtype == object else array
    if array.dtype.kind not in "biuf":
        raise InputError(f"expected numbers as {name}, got {array.dtype}")
    return array


def _as_array(name: str, values: Any) -> NDArray[Any]:
    """Return ``np.asarray(values)``, and refuse the containers of which it would make something else."""
    if scipy.sparse.issparse(values):
        raise InputError(f"expected {name} as a dense array, got a sparse matrix: use {name}.toarray()")
    if masked := _masked(values):
        raise InputError(f"expected {name} without masked values, got {masked}: fill or drop them")
    if isinstance(values, torch.Tensor) and values.is_meta:
        raise InputError(f"expected {name} with values, got a tensor on the device meta")
    try:
        if isinstance(values, torch.Tensor):
            tensor = values.detach().cpu()
            return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()  # NumPy has no bfloat16
        return np.asarray(values)
    except (TypeError, ValueError) as error:
        lists = isinstance(values, list | tuple)
        found = "lists of unequal lengths" if lists else f"{type(values).__name__}: {first_line(error)}"
        raise InputError(f"expected {name} as an array of numbers, got {found}") from error


def _masked(values: Any) -> int:
    """Return the number of masked values in an array, or in the arrays of a list, which ``np.asarray`` would use."""
    if isinstance(values, list | tuple):
        return sum(_masked(part) for part in values if isinstance(part, np.ma.MaskedArray | list | tuple))
    return int(np.ma.getmaskarray(values).sum()) if isinstance(values, np.ma.MaskedArray) else 0


def finite_array(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return ``number_array(name, values)`` if all numbers are finite in float32.

    Raises:
        InputError: as ``number_array``, and for a number that is not finite in float32 (the sample is named, from 0).
    """
    array = number_array(name, values)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            finite = np.isfinite(array.astype(np.float32, copy=False))
        if not finite.all():
            place = np.unravel_index(int(np.argmin(finite)), finite.shape)
            raise InputError(f"expected finite float32 numbers as {name}, got {array[place]} in sample {place[0]}")
    return array


def float32_tensor(name: str, values: ArrayLike) -> torch.Tensor:
    """Return ``values`` as a float32 tensor of the same shape on the CPU; a writable float32 array is not copied.

    Raises:
        InputError: as ``finite_array``.
    """
    array = finite_array(name, values)
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.float32, copy=not array.flags.writeable)))
