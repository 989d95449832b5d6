"""Checks of the names of Keras's activations, losses, optimizers and so on, with suggestions for misspelt ones."""

from types import ModuleType
from typing import Any, Literal

from k3torch.errors import Problem, did_you_mean, unless
import keras

Kind = Literal["activation", "initializer", "loss", "metric", "optimizer", "regularizer"]

_MODULES: dict[Kind, ModuleType] = {
    "activation": keras.activations,
    "initializer": keras.initializers,
    "loss": keras.losses,
    "metric": keras.metrics,
    "optimizer": keras.optimizers,
    "regularizer": keras.regularizers,
}
# Short names that dir() does not list.
_ALIASES: dict[Kind, tuple[str, ...]] = {
    "initializer": ("uniform", "normal", "one", "zero"),
    "loss": ("mse", "mae", "mape", "msle", "bce", "kld"),
    "metric": ("mse", "mae", "mape", "msle", "bce"),
    "regularizer": ("l1l2",),
}
# Public names of the modules that are functions or base classes, not choices.
_EXCLUDED = {"get", "serialize", "deserialize", "optimizer"}.union(kind.capitalize() for kind in _MODULES)
# Metrics that compile() replaces by one for the shape of the output.
_RESOLVED_BY_COMPILE = ("accuracy", "acc", "crossentropy", "ce")


def known_names(kind: Kind) -> list[str]:
    """Return all names from which Keras creates an object of this kind with default arguments, sorted."""
    listed = {name for name in dir(_MODULES[kind]) if not name.startswith("_")}.union(_ALIASES.get(kind, ()))
    if kind == "optimizer":  # Keras ignores the case of these
        listed = {name.lower() for name in listed}
    if kind == "metric":
        listed |= set(_RESOLVED_BY_COMPILE)
    return sorted(name for name in listed if _is_known(kind, name))


def name_problem(kind: Kind, choice: Any) -> Problem:
    """Return a problem unless ``choice`` is an object of this kind, or a name from which Keras creates one.

    A misspelt name gets a suggestion; a name that is similar to none gets the list of known names.
    """
    if not isinstance(choice, str):
        if kind == "optimizer":
            valid = isinstance(choice, keras.optimizers.Optimizer)
        else:
            valid = choice is None or callable(choice) or isinstance(choice, dict)  # a dict is a configuration
        return unless(valid, f"{kind} as a name or an object, got {choice!r}")
    if _is_known(kind, choice):
        return None
    known = known_names(kind)
    listed = " ".join(name for name in known if name.islower())
    return f"a known {kind}, got {choice!r}" + (did_you_mean(choice, known) or f", known: {listed}")


def _is_known(kind: Kind, name: str) -> bool:
    if kind == "metric" and name in _RESOLVED_BY_COMPILE:
        return True
    if name in _EXCLUDED:
        return False
    try:
        return _MODULES[kind].get(name) is not None
    except (ValueError, TypeError, KeyError):  # no such name, or a class with required arguments
        return False
