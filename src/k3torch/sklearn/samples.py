"""Samples, weights and targets as the models of the estimators take them."""

from typing import Any

from k3torch.data.arrays import finite_array
from k3torch.data.bags import BagDataset, bag_loader
from k3torch.data.loaders import array_loader
from k3torch.data.sparse import checked_csr
from k3torch.errors import InputError, first_line
from k3torch.models.probabilities import loss_names
import keras
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse


def loader(x: Any, y: NDArray[Any], weights: NDArray[np.float32] | None, batch_size: int, **order: Any) -> Any:
    """Return a DataLoader over dense or sparse samples; ``order`` are further arguments of ``array_loader``."""
    if issparse(x):
        return bag_loader(BagDataset(checked_csr("X", x), y, weights), batch_size, **order)
    arrays = (finite_array("X", x), y) if weights is None else (finite_array("X", x), y, weights)
    return array_loader(*arrays, batch_size=batch_size, **order)


def float_weights(values: ArrayLike, samples: int) -> NDArray[np.float32]:
    """Return weights of samples, (samples,), as float32.

    Raises:
        InputError: for another shape, and for numbers that are all zero or not finite.
    """
    weights = finite_array("sample_weight", values).astype(np.float32)
    if weights.shape != (samples,) or not weights.any():
        found = f"shape {weights.shape}" if weights.shape != (samples,) else "only 0"
        raise InputError(f"expected sample_weight of shape ({samples},), not all of them zero, got {found}")
    return weights


def output_shape(model: keras.Model, features: int) -> Any:
    """Return the shape of the outputs without the samples, and build a model that has no ``Input`` layer.

    Raises:
        InputError: if the model does not take so many features.
    """
    try:
        outputs = model(keras.KerasTensor((None, features)))
    except Exception as error:  # of layers of the caller's own, too
        raise InputError(f"expected a model that takes {features} features, got: {first_line(error)}") from error
    return keras.tree.map_structure(lambda output: output.shape[1:], outputs)


def class_targets(model: keras.Model, shape: Any, numbers: NDArray[np.int64], classes: int) -> NDArray[Any]:
    """Return the targets that the loss of a model takes.

    Args:
        model: compiled.
        shape: of its outputs, without the samples.
        numbers: of the samples' classes, from 0, (samples,).
        classes: how many there are.

    Raises:
        InputError: if the model has another number of outputs.
    """
    if shape == (1,) and classes == 2:
        return numbers[:, None].astype(np.float32)
    if shape != (classes,):
        one = "1 output or " if classes == 2 else ""
        raise InputError(f"expected a model with {one}an output for each of the {classes} classes, got {shape}")
    is_sparse = any("sparse" in name for name in loss_names(model))
    return numbers[:, None] if is_sparse else np.eye(classes, dtype=np.float32)[numbers]
