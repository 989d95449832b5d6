"""Random operators replaced by fixed numbers, so that two ways to compute a random model can be compared."""

from collections.abc import Callable, Sequence
from typing import Any

from k3torch.stack.reasons import UntraceableStep
import torch

try:  # PyTorch documents dispatch modes, but exports them under this private name alone
    from torch.utils._python_dispatch import TorchDispatchMode
except ImportError:
    TorchDispatchMode = None  # type: ignore[assignment, misc]

aten = torch.ops.aten
Mode: Any = object if TorchDispatchMode is None else TorchDispatchMode


class FixedRandomness(Mode):  # type: ignore[misc]
    """While active, the k-th random tensor that is drawn depends on k and on its shape alone.

    Replaced are Bernoulli, uniform and normal numbers, which dropout and noise layers draw; other random operators
    stay random. Nothing is drawn from a random generator for those replaced.

    Args:
        stacked: whether the first dimension of random tensors counts models, as under ``torch.vmap``; each model then
            gets the numbers that it would get alone.

    Raises:
        UntraceableStep: if this version of torch has no dispatch modes.
    """

    def __init__(self, stacked: bool):
        if TorchDispatchMode is None:
            raise UntraceableStep(f"PyTorch {torch.__version__} has no torch.utils._python_dispatch.TorchDispatchMode")
        super().__init__()
        self._stacked, self._draws = stacked, 0

    def __torch_dispatch__(
        self, operator: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the operator, or replace it."""
        replace = _REPLACED.get(operator)
        if replace is None:
            return operator(*args, **(kwargs or {}))
        return replace(self._uniform, *args, **(kwargs or {}))

    def _uniform(self, shape: Sequence[int], like: dict[str, Any]) -> torch.Tensor:
        """Return numbers between 0 and 1 (an additive sequence of the golden ratio), float32."""
        own = list(shape)[1:] if self._stacked else list(shape)
        count = torch.Size(own).numel()
        self._draws += 1
        index = torch.arange(1, count + 1, dtype=torch.float64)
        numbers = (0.6180339887498949 * index + 0.7548776662466927 * self._draws) % 1
        device = like.get("device") or "cpu"
        return numbers.float().clamp(1e-6, 1 - 1e-6).reshape(own).expand(list(shape)).to(device)


Uniform = Callable[[Sequence[int], dict[str, Any]], torch.Tensor]


def _bernoulli(uniform: Uniform, x: torch.Tensor, p: float, **_: Any) -> torch.Tensor:
    return (uniform(x.shape, {"device": x.device}) < p).to(x.dtype)


def _bernoulli_in_place(uniform: Uniform, x: torch.Tensor, p: float = 0.5, **_: Any) -> torch.Tensor:
    return x.copy_(_bernoulli(uniform, x, p))


def _native_dropout(uniform: Uniform, x: torch.Tensor, p: float, train: bool | None) -> Any:
    kept = uniform(x.shape, {"device": x.device}) < 1 - p if train else torch.ones_like(x, dtype=torch.bool)
    return x * kept / (1 - p if train else 1.0), kept


def _rand(uniform: Uniform, size: Sequence[int], dtype: torch.dtype | None = None, **like: Any) -> torch.Tensor:
    return uniform(size, like).to(dtype or torch.get_default_dtype())


def _randn(uniform: Uniform, size: Sequence[int], dtype: torch.dtype | None = None, **like: Any) -> torch.Tensor:
    normal: torch.Tensor = torch.special.ndtri(uniform(size, like))
    return normal.to(dtype or torch.get_default_dtype())


def _rand_like(uniform: Uniform, x: torch.Tensor, **_: Any) -> torch.Tensor:
    return uniform(x.shape, {"device": x.device}).to(x.dtype)


def _randn_like(uniform: Uniform, x: torch.Tensor, **_: Any) -> torch.Tensor:
    normal: torch.Tensor = torch.special.ndtri(uniform(x.shape, {"device": x.device}))
    return normal.to(x.dtype)


_REPLACED: dict[Any, Callable[..., Any]] = {
    aten.bernoulli.p: _bernoulli,
    aten.bernoulli_.float: _bernoulli_in_place,
    aten.native_dropout.default: _native_dropout,
    aten.rand.default: _rand,
    aten.randn.default: _randn,
    aten.rand_like.default: _rand_like,
    aten.randn_like.default: _randn_like,
}
