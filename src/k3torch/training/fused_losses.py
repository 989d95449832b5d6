"""Keras's most common losses and metrics as one or two PyTorch calls, for float32 targets of the outputs' shape.

Each is equal to the mean (or the sum over samples) that Keras computes in several steps, up to float32 rounding.
"""

from collections.abc import Callable, Mapping
from typing import Any

from k3torch.training.keras_internals import private_attribute
import keras
import torch
from torch.nn import functional as F

Tensor = torch.Tensor
FusedLoss = Callable[[Tensor, Tensor], Tensor]

# Settings under which the calls below are equal to Keras.
_DEFAULTS = {"from_logits": False, "label_smoothing": 0.0, "axis": -1}


def fused_loss(loss: keras.losses.Loss) -> FusedLoss | None:
    """Return ``f(y, y_pred)``, the mean over the batch, or None if the loss or one of its settings is not supported."""
    function = getattr(loss, "fn", None)
    averaged = getattr(loss, "reduction", None) == "sum_over_batch_size"
    if not averaged or function not in _MEANS or not _are_defaults(private_attribute(loss, "_fn_kwargs")):
        return None
    return _MEANS[function]


def fused_metric(metric: keras.metrics.Metric) -> FusedLoss | None:
    """Return ``f(y, y_pred)``, which sums the metric's function over the batch, or None if it is not supported.

    Args:
        metric: a ``MeanMetricWrapper``.
    """
    function, settings = private_attribute(metric, "_fn"), private_attribute(metric, "_fn_kwargs")
    if function is keras.metrics.binary_accuracy and set(settings) <= {"threshold"}:
        threshold = settings.get("threshold", 0.5)
        return lambda y, y_pred: torch.count_nonzero((y_pred > threshold).eq(y)) / y.shape[1]
    if function not in _MEANS or not _are_defaults(settings):
        return None
    mean = _MEANS[function]
    return lambda y, y_pred: mean(y, y_pred) * len(y)


def _are_defaults(settings: Mapping[str, Any]) -> bool:
    return all(name in _DEFAULTS and _DEFAULTS[name] == value for name, value in settings.items())


def is_fusable(y: Any, y_pred: Tensor) -> bool:
    """Return whether the fused functions support a batch: float32 matrices of one shape, without a mask."""
    if getattr(y_pred, "_keras_mask", None) is not None:  # left by a Masking or Embedding layer
        return False
    return y.shape == y_pred.shape and y.ndim == 2 and y.dtype is y_pred.dtype is torch.float32


def _binary_crossentropy(y: Tensor, y_pred: Tensor) -> Tensor:
    margin = keras.backend.epsilon()
    return F.binary_cross_entropy(y_pred.clamp(margin, 1 - margin), y)


def _mean_squared_error(y: Tensor, y_pred: Tensor) -> Tensor:
    return F.mse_loss(y_pred, y)


def _mean_absolute_error(y: Tensor, y_pred: Tensor) -> Tensor:
    return F.l1_loss(y_pred, y)


_MEANS: dict[Any, FusedLoss] = {
    keras.losses.binary_crossentropy: _binary_crossentropy,
    keras.losses.mean_squared_error: _mean_squared_error,
    keras.losses.mean_absolute_error: _mean_absolute_error,
}
