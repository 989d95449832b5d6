"""Checks of the arguments of the builders; an argument that cannot be used is a part of one line."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from k3torch.errors import Problem, count_problem, is_number, unless
from k3torch.models.names import Kind, name_problem
from k3torch.models.optimizers import limit_problem, optimizer_problems
import keras
import numpy as np

MAX_WEIGHTS = 2**31  # 8 GiB as float32, and as much again for the gradients and each slot of the optimizer
MAX_LAYERS = 1000

_OF_OPTIMIZER = ("learning_rate", "momentum", "nesterov", "clipnorm", "clipvalue")


def argument_problems(arguments: Mapping[str, Any]) -> list[Problem]:
    """Return a problem for each argument of ``vanilla_model``, by name, that cannot be used."""
    problems = [check(name, arguments[name]) for name, check in _CHECKS.items() if name in arguments]
    if not any(problems):
        problems.append(_size_problem(arguments))
    of_optimizer = {name: arguments[name] for name in _OF_OPTIMIZER if name in arguments}
    return [*problems, *optimizer_problems(arguments.get("optimizer", "adam"), of_optimizer)]


def _units_problem(name: str, units: Any) -> Problem:
    listed = isinstance(units, Sequence) or (isinstance(units, np.ndarray) and units.ndim > 0)
    if not listed or isinstance(units, str | bytes):  # an iterator would be used up
        return f"{name} as a list of widths, got {units!r}"
    if len(units) > MAX_LAYERS:
        return f"{name} as a list of {MAX_LAYERS} widths at most, got {len(units)}"
    bad = [width for width in units if count_problem(name, width)]
    return unless(not bad, f"{name} as whole numbers of 1 or more, got {', '.join(map(repr, bad))}")


def _size_problem(arguments: Mapping[str, Any]) -> Problem:
    """Return a problem if the layers have more weights than memory can be expected to hold."""
    sizes = {"features": [arguments.get("features", 1)], "units": list(arguments.get("units", ()))}
    sizes["outputs"] = [arguments.get("outputs", 1)]
    widths = [int(width) for group in sizes.values() for width in group]
    weights = sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))
    largest = max(sizes, key=lambda name: max(sizes[name], default=0))
    return unless(weights <= MAX_WEIGHTS, f"{largest} as a size of at most {MAX_WEIGHTS} weights in all, got {weights}")


def _metrics_problem(name: str, metrics: Any) -> Problem:
    if not isinstance(metrics, Sequence) or isinstance(metrics, str | bytes):
        return f"{name} as a list, got {metrics!r}"
    return "; expected ".join(filter(None, (name_problem("metric", metric, name) for metric in metrics))) or None


def _dropout_problem(name: str, rate: Any) -> Problem:
    return unless(
        is_number(rate) and 0 <= rate < 1, f"{name} as a fraction from 0 to, but not including, 1, got {rate!r}"
    )


def _class_problem(base: type, shown: str, name: str, choice: Any) -> Problem:
    fits = isinstance(choice, type) and issubclass(choice, base)
    return unless(fits, f"{name} as {shown} or a subclass of it, got {choice!r}")


def _named(kind: Kind) -> Callable[[str, Any], Problem]:
    return lambda name, choice: name_problem(kind, choice, name)


_CHECKS: dict[str, Callable[[str, Any], Problem]] = {
    "features": count_problem,
    "units": _units_problem,
    "outputs": count_problem,
    "output_activation": _named("activation"),
    "activation": _named("activation"),
    "dropout": _dropout_problem,
    "kernel_initializer": _named("initializer"),
    "kernel_regularizer": _named("regularizer"),
    "bias_regularizer": _named("regularizer"),
    "activity_regularizer": _named("regularizer"),
    "max_norm": lambda name, value: None if value is None else limit_problem(name, value),
    "loss": _named("loss"),
    "metrics": _metrics_problem,
    "model_class": partial(_class_problem, keras.Model, "keras.Model"),
    "first_layer": partial(_class_problem, keras.layers.Dense, "keras.layers.Dense"),
}
