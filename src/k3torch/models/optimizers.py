"""Optimizers by name, with the arguments that are varied most often."""

import inspect
from typing import Any

from k3torch.errors import Problem, is_number, refuse, unless
from k3torch.models.names import name_problem
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
    """Return the named optimizer, with Keras's default for every argument that is None.

    Args:
        optimizer: a name in upper or lower case, or an optimizer object, which is returned unchanged.
        learning_rate: above 0, or a schedule over update steps (which replaces the ``decay`` of Keras 2).
        momentum: from 0 to 1; for SGD and RMSprop.
        nesterov: use Nesterov momentum; for SGD, with a momentum above 0.
        clipnorm: largest Euclidean norm of each variable's gradient; larger gradients are scaled down to it.
        clipvalue: largest absolute value of each element of the gradients.

    Raises:
        InputError: for an unknown name, an argument that the optimizer does not have, a value out of range, or
            arguments together with an object.
    """
    arguments: dict[str, Any] = {
        "learning_rate": learning_rate,
        "momentum": momentum,
        "nesterov": nesterov,
        "clipnorm": clipnorm,
        "clipvalue": clipvalue,
    }
    given = {name: value for name, value in arguments.items() if value is not None}
    refuse(_problems(optimizer, given))
    if isinstance(optimizer, Optimizer):
        return optimizer
    # Keras accepts Python floats only.
    numbers = {name: float(value) for name, value in given.items() if is_number(value)}
    return _class_of(optimizer)(**given | numbers)


def _class_of(name: str) -> type[Optimizer]:
    return type(keras.optimizers.get(name))


def _problems(optimizer: str | Optimizer, given: dict[str, Any]) -> list[Problem]:
    """Check the optimizer and the arguments that are not None."""
    if isinstance(optimizer, Optimizer):
        return [unless(not given, f"no {', '.join(given)} together with an optimizer object, which has its own")]
    if unknown := name_problem("optimizer", optimizer):
        return [unknown]
    accepted = inspect.signature(_class_of(optimizer)).parameters
    momentum = given.get("momentum", 0.0)
    return [
        *(
            unless(
                name in accepted or name in ("clipnorm", "clipvalue"), f"no {name!r}, which {optimizer!r} does not have"
            )
            for name in given
        ),
        unless(not {"clipnorm", "clipvalue"} <= set(given), "either clipnorm or clipvalue, got both"),
        unless(momentum or not given.get("nesterov"), "momentum above 0 with nesterov, got none"),
        *(
            unless(_is_rate(given.get(name, 1.0)), f"{name} above 0, got {given.get(name)!r}")
            for name in ("learning_rate", "clipnorm", "clipvalue")
        ),
        unless(is_number(momentum) and 0 <= momentum <= 1, f"momentum as a fraction from 0 to 1, got {momentum!r}"),
    ]


def _is_rate(value: Any) -> bool:
    return isinstance(value, LearningRateSchedule) or (is_number(value) and value > 0)
