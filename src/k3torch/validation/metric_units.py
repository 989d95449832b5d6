"""What a metric's values mean: whether a higher value is better, and how the value depends on the target's unit."""

from collections.abc import Sequence
from typing import Any

from k3torch.errors import InputError
import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating[Any]]

POWERS = (0, 1, 2)  # R2 has no unit, mean absolute error that of the target, mean squared error its square
_TRIALS = ((3.0, 0.0), (0.5, 2.0), (7.0, -11.0))  # factors and offsets of another unit


def greater_is_better(model: keras.Model, metric: str) -> bool | None:
    """Return whether a higher value of a metric is better; False for the loss, None if Keras does not say."""
    if metric == "loss":
        return False
    direction = getattr(metric_objects(model).get(metric), "_direction", None)
    return None if direction is None else direction == "up"


def unit_powers(model: keras.Model, names: Sequence[str]) -> list[int]:
    """Return for each metric the power of the target's unit that its values have; 0 for the loss.

    They are measured: targets and predictions are converted to other units, and the metric is computed in each.

    Args:
        model: built, with one output per sample.
        names: of the model's metrics, the loss among them.

    Raises:
        InputError: names the metrics that no power describes, such as a percentage of the target.
    """
    objects = metric_objects(model)
    powers = {name: _power(objects.get(name)) for name in names if name != "loss"}
    if unclear := [name for name, power in powers.items() if power is None]:
        raise InputError(
            f"expected metrics that change with the unit of the targets by a factor, such as mae, with "
            f"normalize_y=True, got {', '.join(unclear)}: leave it out or scale y yourself"
        )
    return [powers.get(name) or 0 for name in names]


def metric_objects(model: keras.Model) -> dict[str, Any]:
    """Return the metrics of a built model by their names in the history; the loss is not among them."""
    groups = (getattr(metric, "metrics", None) for metric in model.metrics)
    return {metric.name: metric for group in groups if group for metric in group}


def _power(metric: Any) -> int | None:
    if metric is None:  # of a layer of its own, not of the targets
        return None
    rng = np.random.default_rng(0)
    y, y_pred = (rng.normal(size=(8, 1)).astype("float32") for _ in range(2))
    value = _value(metric, y, y_pred)
    ratios = [_value(metric, a * y + b, a * y_pred + b) / value for a, b in _TRIALS] if value else [np.nan]
    for power in POWERS:
        if np.allclose(ratios, [a**power for a, _ in _TRIALS[: len(ratios)]], rtol=1e-3):
            return power
    return None


def _value(metric: Any, y: Float, y_pred: Float) -> float:
    metric.reset_state()
    metric.update_state(y, y_pred)
    value = float(metric.result())
    metric.reset_state()
    return value
