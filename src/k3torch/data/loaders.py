"""DataLoaders over arrays, each with a generator of its own.

Keras starts two iterators an epoch and drops one; a loader that draws its order from torch's global generator would
so change every other random number of the run, dropout masks included.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
import torch
from torch.utils.data import DataLoader, TensorDataset

Value = TypeVar("Value")


def identity(value: Value) -> Value:
    """Return ``value``: the collate_fn of a loader whose dataset returns whole batches."""
    return value


class BatchedTensors(TensorDataset):
    """A TensorDataset that gathers a whole batch by one index, instead of row by row and a collate."""

    def __getitems__(self, rows: list[int]) -> tuple[torch.Tensor, ...]:
        """Return each tensor's ``rows``, first dimension len(rows)."""
        index = torch.as_tensor(rows)
        return tuple(tensor[index] for tensor in self.tensors)


def array_loader(*arrays: ArrayLike, batch_size: int, shuffle: bool = False, seed: int = 0) -> DataLoader[Any]:
    """Return a DataLoader over arrays of equal length, as ``(x, y)`` or ``(x, y, sample_weight)`` for Keras.

    Args:
        arrays: float arrays, first dimension the rows; they become float32 tensors.
        batch_size: rows a batch; the last one may be shorter.
        shuffle: a new order each epoch, from a generator seeded with ``seed``.
        seed: of that generator.
    """
    tensors = [torch.as_tensor(array).to(torch.float32) for array in arrays]
    order = torch.Generator().manual_seed(seed)
    return DataLoader(
        BatchedTensors(*tensors),
        batch_size=batch_size,
        shuffle=shuffle,
        generator=order,
        collate_fn=identity,
    )


def class_weights(labels: ArrayLike, class_weight: Mapping[int, float]) -> NDArray[np.float32]:
    """Return each row's weight by its class, float32, shape (rows,); classes not named weigh 1.

    Keras takes no ``class_weight`` beside a DataLoader: give these to the dataset as ``sample_weight``.
    """
    classes = np.rint(np.asarray(labels)).astype(int).reshape(-1)
    weights = np.ones(len(classes), np.float32)
    for label, weight in class_weight.items():
        weights[classes == label] = weight
    return weights
