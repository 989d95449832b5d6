"""A DataLoader that asks its dataset for whole batches by arrays of sample numbers.

A plain DataLoader makes a list of Python integers for each batch, and a Subset translates it number by number. For
small networks that takes as long as the training. The batches, their order and what is drawn from the generator are
those of a plain DataLoader.
"""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
import torch
from torch.utils.data import DataLoader, RandomSampler, Subset

Item = TypeVar("Item")
Function = TypeVar("Function", bound=Callable[..., Any])


def takes_arrays(getitems: Function) -> Function:
    """Mark a ``__getitems__`` that takes an int64 array of sample numbers as well as a list, and returns a batch."""
    getitems.takes_arrays = True  # type: ignore[attr-defined]
    return getitems


class BatchLoader(DataLoader[Item]):
    """A DataLoader over a dataset whose ``__getitems__`` takes arrays, or over a Subset of one.

    Any other dataset, and one whose batches are made by worker processes or pinned, is loaded as usual.
    """

    def __iter__(self) -> Any:
        """Return an iterator over the batches of one epoch."""
        dataset, samples = flattened(self.dataset)
        marked = getattr(getattr(dataset, "__getitems__", None), "takes_arrays", False)
        if not marked or samples.dtype.kind not in "iu" or self.num_workers or self.pin_memory:
            return super().__iter__()
        torch.empty((), dtype=torch.int64).random_(generator=self.generator)  # a DataLoader seeds its workers
        return self._batches(dataset, samples)

    def _batches(self, dataset: Any, samples: NDArray[np.int64]) -> Iterator[Any]:
        count, size = len(samples), self.batch_size or 1
        shuffled = isinstance(self.sampler, RandomSampler)
        order = samples[self._permutation(count)] if shuffled else samples
        for start in range(0, count, size):
            if shuffled and start + size > count:
                self._permutation(count)
            yield self.collate_fn(dataset.__getitems__(order[start : start + size]))
        if shuffled and count % size == 0:
            self._permutation(count)

    def _permutation(self, count: int) -> NDArray[np.int64]:
        """Draw an order, as RandomSampler does before its first sample, and once more after its last."""
        order: NDArray[np.int64] = torch.randperm(count, generator=self.generator).numpy()
        return order


def flattened(dataset: Any) -> tuple[Any, NDArray[Any]]:
    """Return the dataset inside of all Subsets, and the numbers of the samples in it."""
    if type(dataset) is not Subset:
        return dataset, np.arange(len(dataset))
    inner, samples = flattened(dataset.dataset)
    chosen: Any = dataset.indices
    chosen = np.arange(chosen.start, chosen.stop, chosen.step) if isinstance(chosen, range) else np.asarray(chosen)
    return inner, samples[chosen] if chosen.dtype.kind in "iu" else chosen
