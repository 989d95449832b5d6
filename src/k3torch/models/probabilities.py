"""Outputs of classifiers as probabilities, by the loss that the model was compiled with."""

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def has_logits(model: keras.Model) -> bool:
    """Return whether a compiled model returns logits, which its loss then says with ``from_logits=True``."""
    losses = [loss for loss in keras.tree.flatten(model.loss) if isinstance(loss, keras.losses.Loss)]
    return any(loss.get_config().get("from_logits") for loss in losses)


def has_margins(model: keras.Model) -> bool:
    """Return whether the outputs of a compiled model are margins, not probabilities: whether it has a hinge loss."""
    return any("hinge" in name for name in loss_names(model))


def activated(model: keras.Model, outputs: Any) -> Any:
    """Return a tensor of outputs with logits as probabilities.

    Args:
        model: compiled with one loss.
        outputs: of the model, (samples, outputs). A sigmoid is applied to the logits of a binary loss and to a single
            logit, a softmax to others. Outputs that are not logits are returned unchanged.
    """
    if not has_logits(model):
        return outputs
    binary = outputs.shape[-1] == 1 or any("binary" in name for name in loss_names(model))
    return keras.ops.sigmoid(outputs) if binary else keras.ops.softmax(outputs)


def loss_names(model: keras.Model) -> list[str]:
    """Return the names of a model's losses in lower case: of strings, functions, or classes and their bases."""
    names: list[str] = []
    for loss in keras.tree.flatten(model.loss):
        if isinstance(loss, str):
            names.append(loss.lower())
        elif isinstance(loss, keras.losses.Loss):
            names += [base.__name__.lower() for base in type(loss).__mro__]
        else:
            names.append(getattr(loss, "__name__", type(loss).__name__).lower())
    return names


def of_classes(outputs: Float) -> Float:
    """Return the probability of each class, (samples, classes); a single output is that of the second of two classes.

    Args:
        outputs: probabilities, (samples, 1) or (samples, classes).
    """
    return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs
