"""Checks of the names of Keras's activations, losses, optimizers and so on, with suggestions for misspelt ones."""

import inspect
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
# These do not fit into a Dense layer: glu halves the number of its outputs, STFT makes kernels of three dimensions.
_EXCLUDED |= {"glu", "stft", "STFT", "STFTInitializer"}
_CLASSES: dict[Kind, type[Any]] = {
    "activation": keras.Layer,
    "initializer": keras.initializers.Initializer,
    "loss": keras.losses.Loss,
    "metric": keras.metrics.Metric,
    "optimizer": keras.optimizers.Optimizer,
    "regularizer": keras.regularizers.Regularizer,
}
_OPTIONAL: set[Kind] = {"activation", "initializer", "regularizer"}  # None is Keras's default
_FROM_CLASS: set[Kind] = {"initializer", "loss", "metric", "regularizer"}  # Keras creates an object without arguments
# Names that compile() replaces by one for the shape of the output.
_RESOLVED_BY_COMPILE: dict[Kind, tuple[str, ...]] = {"loss": ("crossentropy", "ce"), "metric": ("accuracy", "acc")}


def known_names(kind: Kind) -> list[str]:
    """Return all names from which Keras creates an object of this kind with default arguments, sorted."""
    listed = {name for name in dir(_MODULES[kind]) if not name.startswith("_")}
    listed = listed.union(_ALIASES.get(kind, ()), _RESOLVED_BY_COMPILE.get(kind, ()))
    if kind == "optimizer":  # Keras ignores the case of these
        listed = {name.lower() for name in listed}
    return sorted(name for name in listed if _is_known(kind, name))


def name_problem(kind: Kind, choice: Any, argument: str | None = None) -> Problem:
    """Return a problem unless ``choice`` is an object of this kind, or a name from which Keras creates one.

    A misspelt name gets a suggestion; a name that is similar to none gets the list of known names. ``argument`` is the
    argument's name in the message, by default the kind.
    """
    argument = argument or kind
    if not isinstance(choice, str):
        return unless(_is_object(kind, choice), f"{argument} as a name or an object, got {choice!r}")
    if _is_known(kind, choice):
        return None
    known = known_names(kind)
    listed = " ".join(name for name in known if name.islower())
    return f"{argument} as a known name, got {choice!r}" + (did_you_mean(choice, known) or f", known: {listed}")


def _is_object(kind: Kind, choice: Any) -> bool:
    """Return whether Keras takes ``choice``, which is no name, as an object of this kind."""
    if isinstance(choice, _CLASSES[kind]):
        return kind != "metric" or _binds(choice.update_state, 2, "sample_weight")  # those of keras.metrics.Mean differ
    if choice is None:
        return kind in _OPTIONAL
    if isinstance(choice, type):
        return kind in _FROM_CLASS and issubclass(choice, _CLASSES[kind]) and _created(kind, choice) is not None
    if isinstance(choice, dict):  # a configuration; as a loss it would be one loss per output
        made = None if kind == "loss" else _created(kind, choice)
        return made is not None and not isinstance(made, dict) and _is_object(kind, made)
    others = [other for name, other in _CLASSES.items() if (kind, name) != ("metric", "loss")]
    return callable(choice) and not isinstance(choice, tuple(others)) and _is_function(kind, choice)


def _is_function(kind: Kind, function: Any) -> bool:
    """Return whether Keras can call a function, which is no object of this kind, as one of this kind."""
    if kind == "optimizer":
        return False
    if kind == "initializer":
        return _binds(function, 1, "dtype")
    return _binds(function, 2 if kind in ("loss", "metric") else 1)


def _binds(function: Any, positional: int, *names: str) -> bool:
    """Return whether a function takes this number of positional arguments, and these named ones."""
    try:
        inspect.signature(function).bind(*[None] * positional, **dict.fromkeys(names))
    except TypeError:
        return False
    except ValueError:  # a function of C has no signature
        return True
    return True


def _is_known(kind: Kind, name: str) -> bool:
    if name in _RESOLVED_BY_COMPILE.get(kind, ()):
        return True
    made = None if name in _EXCLUDED else _created(kind, name)
    return made is not None and _is_object(kind, made)


def _created(kind: Kind, choice: Any) -> Any:
    """Return what Keras creates from a name, a class or a configuration, or None if it creates nothing."""
    try:
        return _MODULES[kind].get(choice)
    except (ValueError, TypeError, KeyError, AttributeError):  # unknown, or a class with required arguments
        return None
