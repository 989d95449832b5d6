"""Outputs of classifiers as probabilities."""

import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def has_logits(model: keras.Model) -> bool:
    """Return whether a compiled model returns logits, which its loss then says with ``from_logits=True``."""
    losses = [loss for loss in keras.tree.flatten(model.loss) if isinstance(loss, keras.losses.Loss)]
    return any(loss.get_config().get("from_logits") for loss in losses)


def of_classes(outputs: Float) -> Float:
    """Return the probability of each class, (samples, classes); a single output is that of the second of two classes.

    Args:
        outputs: probabilities, (samples, 1) or (samples, classes).
    """
    return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs
