"""An optimizer by name, with the arguments that are usually varied."""

import inspect
from typing import Any

from k3torch.models.names import is_number, problem_with, refuse
import keras
from keras.optimizers import Optimizer
from keras.optimizers.schedules import LearningRateSchedule


def make_optimizer(
    optimizer: str | Optimizer = "rmsprop",
    *,
    learning_rate: float | LearningRateSchedule | None = None,
    momentum: float | None = None,
    nesterov: bool | None = None,
    clipnorm: float | None = None,
    clipvalue: float | None = None,
) -> Optimizer:
    """Return the named optimizer, with Keras's defaults wherever None is given.

    Args:
        optimizer: a name in any case, or an optimizer object, which is returned as it is.
        learning_rate: a step size, or a schedule over update steps (which replaces the ``decay`` of Keras 2).
        momentum: share of the last update that is kept; SGD and RMSprop have it.
        nesterov: look ahead along the velocity before taking the gradient; SGD has it.
        clipnorm: scale each variable's gradient to at most this Euclidean norm.
        clipvalue: clip each element of the gradients to plus or minus this.

    Raises:
        InputError: for an unknown name, an argument that the optimizer lacks, or settings beside an object.
    """
    wanted: dict[str, Any] = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "nesterov": nesterov,
        "clipnorm": clipnorm,
        "clipvalue": clipvalue,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    refuse(_problems(optimizer, given))
    if isinstance(optimizer, Optimizer):
        return optimizer
    return _class_of(optimizer)(**given)


def _class_of(name: str) -> type[Optimizer]:
    return type(keras.optimizers.get(name))


def _problems(optimizer: str | Optimizer, given: dict[str, Any]) -> list[str | None]:
    """List what is wrong, so that all of it can be said at once."""
    if isinstance(optimizer, Optimizer):
        names = ", ".join(given)
        return [f"an optimizer object together with {names}: set them on the object"] if given else []
    if unknown := problem_with("optimizer", optimizer):
        return [unknown]
    found: list[str | None] = []
    accepted = inspect.signature(_class_of(optimizer)).parameters
    found += [f"{name!r}, which {optimizer!r} lacks" for name in given if name not in accepted and name[:4] != "clip"]
    if "clipnorm" in given and "clipvalue" in given:
        found.append("both clipnorm and clipvalue: choose one")
    if given.get("nesterov") and not given.get("momentum"):
        found.append("nesterov without momentum: set momentum above 0")
    for name in ("learning_rate", "clipnorm", "clipvalue"):
        value = given.get(name, 1.0)
        if not isinstance(value, LearningRateSchedule) and not (is_number(value) and value > 0):
            found.append(f"{name} {value!r}: choose one above 0")
    momentum = given.get("momentum", 0.0)
    if not (is_number(momentum) and 0 <= momentum <= 1):
        found.append(f"momentum {momentum!r}: choose a share from 0 to 1")
    return found
