"""DataLoaders over arrays, each with its own random generator.

Keras creates two iterators per epoch and uses one of them. A loader that drew its order from torch's global generator
would therefore change every other random number of the run, dropout masks included.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from k3torch.data.arrays import float32_tensor, number_array
from k3torch.data.batch_loader import BatchLoader, takes_arrays
from k3torch.errors import InputError, Problem, choice_problem, count_problem, is_number, refuse, seed_problem, unless
import numpy as np
from numpy.typing import ArrayLike, NDArray
import torch
from torch.utils.data import DataLoader, TensorDataset

Value = TypeVar("Value")
FLOAT32_MAX = float(np.finfo(np.float32).max)


def identity(value: Value) -> Value:
    """Return ``value``; the ``collate_fn`` of a loader whose dataset returns whole batches."""
    return value


class BatchedTensors(TensorDataset):
    """A TensorDataset that gathers a whole batch with one index operation, instead of sample by sample."""

    @takes_arrays
    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[torch.Tensor, ...]:
        """Return one batch of each tensor, first dimension len(indices)."""
        batch = torch.as_tensor(indices)
        return tuple(tensor[batch] for tensor in self.tensors)


def loader_problems(batch_size: Any, shuffle: Any, seed: Any) -> list[Problem]:
    """Check the arguments that all loaders share."""
    return [
        count_problem("batch_size", batch_size),
        choice_problem("shuffle", shuffle, (True, False)),
        seed_problem(seed),
    ]


def array_loader(*arrays: ArrayLike, batch_size: int, shuffle: bool = False, seed: int = 0) -> DataLoader[Any]:
    """Return a DataLoader over arrays of equal length, as ``(x, y)`` or ``(x, y, sample_weight)`` for Keras.

    Args:
        arrays: finite numbers, one entry for each sample; batches hold them as float32 tensors.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: draw a new order each epoch, from a generator seeded with ``seed``.
        seed: of that generator.

    Raises:
        InputError: for arrays of different lengths, values that are not finite numbers (the sample is named),
            and a batch_size, shuffle or seed that cannot be used.
    """
    refuse(loader_problems(batch_size, shuffle, seed))
    tensors = [float32_tensor(f"array {number}", array) for number, array in enumerate(arrays, start=1)]
    lengths = [len(tensor) for tensor in tensors]
    refuse([unless(len(set(lengths)) == 1, f"arrays of equal length, got {', '.join(map(str, lengths))}")])
    order = torch.Generator().manual_seed(int(seed))
    return BatchLoader(
        BatchedTensors(*tensors),
        batch_size=int(batch_size),
        shuffle=shuffle,
        generator=order,
        collate_fn=identity,
    )


def class_weights(labels: ArrayLike, class_weight: Mapping[int, float]) -> NDArray[np.float32]:
    """Return the weight of each sample's class, float32, shape (samples,), as ``fit(class_weight=...)`` computes it.

    ``fit`` accepts no ``class_weight`` with a DataLoader: pass this array to the dataset as ``sample_weight``.

    Args:
        labels: shape (samples,) or (samples, 1), rounded to the nearest class; or (samples, classes), one-hot or
            probabilities, of which the largest is the class.
        class_weight: class to weight; classes that it does not name have weight 1.

    Raises:
        InputError: for classes that are not integers, weights that are not finite numbers of 0 or more, and labels
            that are not finite numbers.
    """
    refuse([_class_weight_problem(class_weight)])
    targets = number_array("labels", labels)
    if targets.dtype.kind == "f":  # fit converts floats to float32 before it rounds them; integers stay exact
        targets = float32_tensor("labels", targets).numpy()
    if targets.ndim > 2 or (targets.ndim == 2 and targets.shape[1] == 0):
        raise InputError(f"expected labels of shape (samples,) or (samples, classes), got {targets.shape}")
    if targets.ndim == 2:
        targets = targets.argmax(axis=1) if targets.shape[1] > 1 else targets[:, 0]
    classes = np.rint(targets).astype(np.int64)
    weights = np.ones(len(classes), np.float32)
    for label, weight in class_weight.items():
        weights[classes == label] = weight
    return weights


def _class_weight_problem(class_weight: Any) -> Problem:
    if not isinstance(class_weight, Mapping):
        return f"class_weight as a dict of class and weight, got {class_weight!r}"
    bad = {
        label: weight
        for label, weight in class_weight.items()
        if not (_is_class(label) and is_number(weight) and 0 <= weight <= FLOAT32_MAX)
    }
    return unless(not bad, f"class_weight with integer classes and finite weights of 0 or more, got {bad!r}")


def _is_class(label: Any) -> bool:
    return isinstance(label, bool) or (is_number(label) and label == int(label))
