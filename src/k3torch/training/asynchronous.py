"""Steps on CUDA that do not synchronise with the device, whatever layers, losses and optimizers they are made of.

Keras makes tensors of the numbers in its formulas at each step: ``torch.as_tensor(0.01, device="cuda")`` fills a tensor
on the CPU and copies it, and the copy synchronises with the device. Some of its optimizers pass the learning rate,
a tensor on the device, where torch expects a number, and torch reads it. Inside of ``asynchronous`` the first is a
kernel that fills a tensor on the device, and the second a product of tensors.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray
import torch
from torch.overrides import TorchFunctionMode

# A tensor of more numbers is copied: each number costs a kernel.
MAX_NUMBERS = 16
ASYNCHRONOUS = ("cuda",)  # types of devices


def asynchronous(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context for steps on this device, in this thread; on other devices than CUDA it does nothing."""
    return _Asynchronous() if device.type in ASYNCHRONOUS else nullcontext()


def device_of(model: Any) -> torch.device:
    """Return the device of a model's variables; the CPU for a model that is not built."""
    variables = model.variables
    return variables[0].value.device if variables else torch.device("cpu")


class _Asynchronous(TorchFunctionMode):
    """Replaces the calls of torch that would synchronise with the device by others of the same result."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function in (torch.as_tensor, torch.tensor):
            return _made_on_device(function, *args, **kwargs)
        if isinstance(kwargs.get("alpha"), torch.Tensor) and function is torch._foreach_add_:
            return _add_multiples(*args, **kwargs)
        return function(*args, **kwargs)


def _made_on_device(function: Callable[..., Any], data: Any, *args: Any, **kwargs: Any) -> Any:
    """Return what ``function(data, ...)`` does; a few numbers are written by kernels."""
    device = torch.device(kwargs.get("device") or "meta")
    if args or device.type not in ASYNCHRONOUS or not set(kwargs) <= {"dtype", "device"} or not _is_numbers(data):
        return function(data, *args, **kwargs)
    array = np.asarray(data)
    if not 0 < array.size <= MAX_NUMBERS or array.dtype.kind not in "biuf":
        return function(data, **kwargs)
    dtype = kwargs.get("dtype") or _dtype(data, array)
    numbers = [torch.full((), number, dtype=dtype, device=kwargs["device"]) for number in array.ravel().tolist()]
    return numbers[0] if array.ndim == 0 else torch.stack(numbers).reshape(array.shape)


def _is_numbers(data: Any) -> bool:
    """Return whether NumPy can read the data without torch: numbers, arrays, and lists of numbers."""
    if isinstance(data, list | tuple):
        return all(isinstance(item, bool | int | float | np.generic) for item in data)
    return isinstance(data, bool | int | float | np.generic | np.ndarray)


def _dtype(data: Any, array: NDArray[Any]) -> torch.dtype:
    """Return the dtype that torch gives a tensor of the data."""
    if isinstance(data, np.generic | np.ndarray) or array.dtype.kind != "f":
        return torch.from_numpy(np.empty(0, array.dtype)).dtype
    return torch.get_default_dtype()


def _add_multiples(targets: Any, terms: Any, alpha: torch.Tensor) -> Any:
    return torch._foreach_add_(targets, torch._foreach_mul(terms, alpha))


def unpacked(data: Any, device: torch.device) -> tuple[Any, Any, Any]:
    """Return x, y and sample_weight of a batch with all tensors on the device; copies to a GPU are asynchronous."""
    there = device.type != "cpu"  # the host must not read what is not copied yet

    def move(value: Any) -> Any:
        if value is None:
            return None
        tensor = value if isinstance(value, torch.Tensor) else keras.ops.convert_to_tensor(value)
        return tensor if tensor.device == device else tensor.to(device, non_blocking=there)

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
        return move(x), move(y), move(sample_weight)
    return keras.tree.map_structure(move, (x, y, sample_weight))  # type: ignore[no-any-return]


def inputs_of(data: Any) -> Any:
    """Return the x of a batch, or None."""
    return data[0] if isinstance(data, tuple | list) and data else None
