"""The number of threads for the steps of a model: one where its operations take microseconds."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from k3torch import runtime
from k3torch.training.fast_step import PLAIN_LAYERS
import keras
import torch
from torch.utils.data import DataLoader

# The largest operations for which one thread is at least as fast as two: see docs/benchmarks.md, "Threads".
MULTIPLICATIONS = 2**22  # of a matrix product
WEIGHTS = 2**20  # of a layer, which the optimizer goes through


@contextmanager
def threads_for(model: keras.Model, x: Any, batch_size: Any) -> Iterator[None]:
    """Set the threads of torch for training or evaluation, and afterwards put back what was set before.

    Denormals are flushed to zero in this thread; see ``runtime.single_threaded``. On CUDA, and for a model of other
    layers than a step's fast forward pass supports, torch keeps the threads that it has.

    Args:
        model: any model.
        x: the samples, as ``fit`` gets them.
        batch_size: as ``fit`` gets it.
    """
    samples = _samples_per_batch(x, batch_size)
    small = samples is not None and is_small(model, samples)
    with runtime.single_threaded() if small else runtime.denormals_flushed():
        yield


@contextmanager
def threads_of_sparse_step(model: keras.Model, x: torch.Tensor) -> Iterator[None]:
    """Set the threads of torch for a step on the rows that occur in bags, (samples, words), and then put them back.

    Args:
        model: a chain of layers; the first multiplies the bags by its kernel.
        x: the bags.
    """
    first, *others = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    products = int(first.units) * len(x.col_indices())
    small = products <= MULTIPLICATIONS and all(_is_small(layer, len(x)) for layer in others)
    with runtime.threads(1) if small and torch.get_num_threads() > 1 else nullcontext():
        yield


def is_small(model: keras.Model, samples: int) -> bool:
    """Return whether one thread is enough for batches of so many samples."""
    if not model.built or not model.weights or model.weights[0].value.device.type != "cpu":
        return False
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    if any(type(layer) not in PLAIN_LAYERS for layer in layers):
        return False
    return all(_is_small(layer, samples) for layer in layers)


def _is_small(layer: keras.Layer, samples: int) -> bool:
    weights = sum(int(weight.value.numel()) for weight in layer.weights)
    if type(layer) is keras.layers.Dense and samples * weights > MULTIPLICATIONS:
        return False
    return weights <= WEIGHTS  # the product of SparseDense costs only the words that occur


def _samples_per_batch(x: Any, batch_size: Any) -> int | None:
    """Return the number of samples of a batch, or None if it is not known before the first."""
    if isinstance(x, DataLoader):
        size = x.batch_size or getattr(x.batch_sampler, "batch_size", None)
        return size if isinstance(size, int) else None
    first = keras.tree.flatten(x)[:1]
    if first and (isinstance(first[0], torch.Tensor) or hasattr(first[0], "__array__")):
        return int(batch_size or 32)  # Keras's default
    return None
