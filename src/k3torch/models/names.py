"""Check the names by which Keras's parts are asked for, and suggest the right one for a misspelt name."""

from types import ModuleType
from typing import Any, Literal

from k3torch.errors import Problem, did_you_mean, unless
import keras

Kind = Literal["activation", "initializer", "loss", "metric", "optimizer", "regularizer"]

_HOME: dict[Kind, ModuleType] = {
    "activation": keras.activations,
    "initializer": keras.initializers,
    "loss": keras.losses,
    "metric": keras.metrics,
    "optimizer": keras.optimizers,
    "regularizer": keras.regularizers,
}
# Names that dir() does not show: short ones, and those that compile() fits to the shape of the output.
_UNLISTED: dict[Kind, tuple[str, ...]] = {
    "initializer": ("uniform", "normal", "one", "zero"),
    "loss": ("mse", "mae", "mape", "msle", "bce", "kld"),
    "metric": ("mse", "mae", "mape", "msle", "bce"),
    "regularizer": ("l1l2",),
}
_NOT_FOR_USE = {"get", "serialize", "deserialize", "optimizer"}.union(kind.capitalize() for kind in _HOME)
_FITTED_BY_COMPILE = ("accuracy", "acc", "crossentropy", "ce")


def known_names(kind: Kind) -> list[str]:
    """Return the names by which Keras makes its activations, losses, ... with their defaults."""
    listed = {name for name in dir(_HOME[kind]) if not name.startswith("_")}.union(_UNLISTED.get(kind, ()))
    if kind == "optimizer":  # Keras reads these in any case
        listed = {name.lower() for name in listed}
    if kind == "metric":
        listed |= set(_FITTED_BY_COMPILE)
    return sorted(name for name in listed if _is_known(kind, name))


def name_problem(kind: Kind, choice: Any) -> Problem:
    """Check for an object, or a name from which Keras builds one; a misspelt name gets a suggestion."""
    if not isinstance(choice, str):
        if kind == "optimizer":
            usable = isinstance(choice, keras.optimizers.Optimizer)
        else:
            usable = choice is None or callable(choice) or isinstance(choice, dict)  # a dict holds a configuration
        return unless(usable, f"{kind} as a name or an object, got {choice!r}")
    if _is_known(kind, choice):
        return None
    known = known_names(kind)
    in_short = " ".join(name for name in known if name.islower())
    return f"a known {kind}, got {choice!r}" + (did_you_mean(choice, known) or f", known: {in_short}")


def _is_known(kind: Kind, name: str) -> bool:
    if kind == "metric" and name in _FITTED_BY_COMPILE:
        return True
    if name in _NOT_FOR_USE:
        return False
    try:
        return _HOME[kind].get(name) is not None
    except (ValueError, TypeError, KeyError):  # no such name, or a class that cannot be made without arguments
        return False
