"""Steps on CUDA that do not synchronise with the device, whatever layers, losses and optimizers they are made of.

Keras makes tensors of the numbers in its formulas at each step: ``torch.as_tensor(0.01, device="cuda")`` fills a tensor
on the CPU and copies it, and the copy synchronises with the device. Some of its optimizers pass the learning rate,
a tensor on the device, where torch expects a number, and torch reads it. Inside of ``asynchronous`` the first is a
kernel that fills a tensor on the device, and the second a product of tensors.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# A tensor of more numbers is copied: each number costs a kernel.
MAX_NUMBERS = 16


def asynchronous(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context for steps on this device, in this thread; on other devices than CUDA it does nothing."""
    return _Asynchronous() if device.type == "cuda" else nullcontext()


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
    on_cuda = torch.device(kwargs.get("device") or "cpu").type == "cuda"
    if args or not on_cuda or isinstance(data, torch.Tensor) or not set(kwargs) <= {"dtype", "device"}:
        return function(data, *args, **kwargs)
    on_host = function(data, dtype=kwargs.get("dtype"), device="cpu")
    if not 0 < on_host.numel() <= MAX_NUMBERS or on_host.is_complex():
        return function(data, **kwargs)
    numbers = [
        torch.full((), number, dtype=on_host.dtype, device=kwargs["device"]) for number in on_host.flatten().tolist()
    ]
    return numbers[0] if on_host.ndim == 0 else torch.stack(numbers).reshape(on_host.shape)


def _add_multiples(targets: Any, terms: Any, alpha: torch.Tensor) -> Any:
    return torch._foreach_add_(targets, torch._foreach_mul(terms, alpha))
