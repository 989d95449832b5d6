"""Optimizers by name, with the arguments that are varied most often."""

from collections.abc import Callable, Iterable, Mapping
import inspect
from typing import Any

from k3torch.errors import Problem, choice_problem, is_number, refuse, unless
from k3torch.models.names import name_problem
import keras
from keras.optimizers import Optimizer
from keras.optimizers.schedules import LearningRateSchedule
import numpy as np

FLOAT32_MAX = float(np.finfo(np.float32).max)


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
    refuse(optimizer_problems(optimizer, arguments))
    if isinstance(optimizer, Optimizer):
        return optimizer
    # Keras accepts Python floats only.
    given = {name: float(v) if is_number(v) else v for name, v in arguments.items() if v is not None}
    return _class_of(optimizer)(**given)


def _class_of(name: str) -> type[Optimizer]:
    return type(keras.optimizers.get(name))


def optimizer_problems(optimizer: Any, arguments: Mapping[str, Any]) -> list[Problem]:
    """Check the optimizer and those of the arguments of ``make_optimizer`` that are not None."""
    given = {name: value for name, value in arguments.items() if value is not None}
    if isinstance(optimizer, Optimizer):
        return [unless(not given, f"no {', '.join(given)} together with an optimizer object, which has its own")]
    unknown = name_problem("optimizer", optimizer)
    return [
        unknown,
        *([] if unknown else _foreign(optimizer, given)),
        *(_CHECKS[name](name, value) for name, value in given.items()),
        unless(
            not given.get("nesterov") or given.get("momentum", 0.0),
            f"momentum as a number above 0 for Nesterov momentum, got {given.get('momentum', 'none')}",
        ),
        unless(
            not {"clipnorm", "clipvalue"} <= set(given),
            "clipnorm as the only clipping of the gradients, got clipping by value too: give one of them",
        ),
    ]


def _foreign(optimizer: str, given: Iterable[str]) -> list[Problem]:
    """Return a problem for each argument that the optimizer does not have."""
    accepted = {*inspect.signature(_class_of(optimizer)).parameters, "clipnorm", "clipvalue"}
    return [
        unless(name in accepted, f"{name} as an argument of the optimizer, got {optimizer!r}, which does not have it")
        for name in given
    ]


def limit_problem(name: str, value: Any) -> Problem:
    """Return a problem unless ``value`` is a number above 0 that float32 can hold."""
    return unless(is_number(value) and 0 < value <= FLOAT32_MAX, f"{name} as a float32 number above 0, got {value!r}")


_CHECKS: dict[str, Callable[[str, Any], Problem]] = {
    "learning_rate": lambda name, value: (
        None if isinstance(value, LearningRateSchedule) else limit_problem(name, value)
    ),
    "momentum": lambda name, value: unless(
        is_number(value) and 0 <= value <= 1, f"{name} as a fraction from 0 to 1, got {value!r}"
    ),
    "nesterov": lambda name, value: choice_problem(name, value, (True, False)),
    "clipnorm": limit_problem,
    "clipvalue": limit_problem,
}
