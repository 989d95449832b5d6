"""Keras's commonest losses and metrics as one or two PyTorch calls, for float32 targets of the outputs' shape.

Each is the mean (or the sum over rows) that Keras arrives at in several steps, up to float32 rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
import torch
from torch.nn import functional as F

Tensor = torch.Tensor
Formula = Callable[[Tensor, Tensor], Tensor]

_DEFAULTS = {"from_logits": False, "label_smoothing": 0.0, "axis": -1}


def loss_formula(loss: keras.losses.Loss) -> Formula | None:
    """Return ``f(y, y_pred)``, the mean over the batch, or None for a loss that is not among these."""
    return _MEANS.get(getattr(loss, "fn", None)) if _as_usual(getattr(loss, "_fn_kwargs", {})) else None


def metric_formula(metric: keras.metrics.Metric) -> Formula | None:
    """Return ``f(y, y_pred)``, the sum over rows of a MeanMetricWrapper's function, or None for another one."""
    if metric._fn is keras.metrics.binary_accuracy and set(metric._fn_kwargs) <= {"threshold"}:
        threshold = metric._fn_kwargs.get("threshold", 0.5)
        return lambda y, y_pred: (y_pred > threshold).to(y.dtype).eq(y).sum() / y.shape[1]
    mean = _MEANS.get(metric._fn) if _as_usual(metric._fn_kwargs) else None
    return mean and (lambda y, y_pred: mean(y, y_pred) * len(y))


def _as_usual(settings: Mapping[str, Any]) -> bool:
    return all(name in _DEFAULTS and _DEFAULTS[name] == value for name, value in settings.items())


def fits(y: Any, y_pred: Tensor) -> bool:
    """Tell whether a formula may be used for these."""
    return y.shape == y_pred.shape and y.ndim == 2 and y.dtype is y_pred.dtype is torch.float32


def _binary_crossentropy(y: Tensor, y_pred: Tensor) -> Tensor:
    margin = keras.backend.epsilon()
    return F.binary_cross_entropy(y_pred.clamp(margin, 1 - margin), y)


def _mean_squared_error(y: Tensor, y_pred: Tensor) -> Tensor:
    return F.mse_loss(y_pred, y)


def _mean_absolute_error(y: Tensor, y_pred: Tensor) -> Tensor:
    return F.l1_loss(y_pred, y)


_MEANS: dict[Any, Formula] = {
    keras.losses.binary_crossentropy: _binary_crossentropy,
    keras.losses.mean_squared_error: _mean_squared_error,
    keras.losses.mean_absolute_error: _mean_absolute_error,
}
