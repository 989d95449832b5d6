"""Check the names by which Keras's parts are asked for, and suggest the right one for a misspelt name."""

from collections.abc import Iterable
from types import ModuleType
from typing import Any, Literal

import keras

from k3torch.errors import InputError, did_you_mean

Kind = Literal["activation", "initializer", "loss", "metric", "optimizer", "regularizer"]

_HOME: dict[Kind, ModuleType] = {
    "activation": keras.activations,
    "initializer": keras.initializers,
    "loss": keras.losses,
    "metric": keras.metrics,
    "optimizer": keras.optimizers,
    "regularizer": keras.regularizers,
}
# Keras reads these without listing them: short names, and those that compile() fits to the shape of the output.
_UNLISTED: dict[Kind, tuple[str, ...]] = {
    "initializer": ("uniform", "normal", "one", "zero"),
    "loss": ("mse", "mae", "mape", "msle", "bce", "kld"),
    "metric": ("accuracy", "acc", "crossentropy", "ce", "mse", "mae", "mape", "msle", "bce"),
}
_HELPERS = {"get", "serialize", "deserialize", "legacy", "schedules"}


def known_names(kind: Kind) -> list[str]:
    """Return the names under which Keras knows its activations, losses, ..."""
    listed = {name for name in dir(_HOME[kind]) if not name.startswith("_")} - _HELPERS
    if kind == "optimizer":  # Keras reads these in any case; all others it reads as they are written
        listed = {name.lower() for name in listed}
    return sorted(listed.union(_UNLISTED.get(kind, ())))


def problem_with(kind: Kind, choice: Any) -> str | None:
    """Return a sentence about ``choice`` if it is a name unknown to Keras; objects and known names give None."""
    if not isinstance(choice, str):
        return None
    names = known_names(kind)
    if (choice.lower() if kind == "optimizer" else choice) in names:
        return None
    return f"unknown {kind} {choice!r}{did_you_mean(choice, names)}"


def refuse(problems: Iterable[str | None]) -> None:
    """Raise one InputError that holds every problem found; without any, do nothing."""
    found = [problem for problem in problems if problem]
    if found:
        raise InputError("expected arguments that a Keras model can use, got " + "; ".join(found))
