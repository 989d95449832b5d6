"""Bags of words as sparse matrices, and the Dataset that makes batches of them.

The inputs of a batch are a torch CSR tensor of shape (batch, num_words). Keras treats it as one input of ``num_words``
features; it takes about a hundredth of the memory of the dense tensor. On CUDA batches of up to 2**15 words are dense:
a step whose tensors have the same shapes for each batch can be a CUDA graph, which is faster there.
"""

from collections.abc import Sequence
import operator
from typing import Any

from k3torch import kernels
from k3torch.data.arrays import float32_tensor, number_array
from k3torch.data.batch_loader import BatchLoader, takes_arrays
from k3torch.data.device_bags import DeviceBags, csr_tensor, suits_dense_batches
from k3torch.data.loaders import identity, loader_problems
from k3torch.data.sparse import checked_csr, is_partition
from k3torch.errors import InputError, choice_problem, count_problem, refuse, unless
from k3torch.runtime import available_devices
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
import torch
from torch.utils.data import DataLoader, Dataset

Batch = tuple[torch.Tensor, ...]
CHUNK = 512  # reviews that are counted at a time


def bag_of_words(ids: ArrayLike, offsets: ArrayLike, num_words: int, counts: bool = False) -> csr_matrix:
    """Return the multi-hot encoding of the reviews as a float32 CSR matrix of shape (reviews, ``num_words``).

    Args:
        ids: word ids of all reviews, one review after another, int, shape (words,).
        offsets: review ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; int, shape (reviews + 1,). Reviews may be empty.
        num_words: number of columns; ids are from 0 to ``num_words - 1``.
        counts: store how often each word occurs (Keras's ``"count"`` mode) instead of 1 (``"multi_hot"``).

    Raises:
        InputError: for a bad ``num_words`` or ``counts``, ids outside the range, offsets that do not divide ``ids``
            into reviews, or 2**31 ids or more.
    """
    refuse([count_problem("num_words", num_words), choice_problem("counts", counts, (True, False))])
    words, bounds = _int_array("ids", ids), _int_array("offsets", offsets)
    refuse(
        [
            unless(num_words < 2**31, f"num_words below {2**31}, got {num_words}"),
            unless(len(words) < 2**31, f"fewer than {2**31} ids, got {len(words)}: encode the reviews in parts"),
            unless(
                is_partition(bounds, len(words)),
                f"offsets that do not decrease, from 0 to {len(words)}, the number of ids, "
                f"got {len(bounds)} from {bounds[:1]} to {bounds[-1:]}",
            ),
        ]
    )
    if len(words) and not 0 <= words.min() <= words.max() < num_words:
        raise InputError(
            f"expected word ids from 0 to {num_words - 1}, got {words.min()} to {words.max()}: "
            "load the reviews with the same num_words, or raise it"
        )
    # Allocated for reviews without repeated words; the operating system provides only the pages that are written.
    columns, values = np.empty(len(words), np.int32), np.empty(len(words), np.float32)
    starts = np.zeros(len(bounds), np.int32)
    for first in range(0, len(bounds) - 1, CHUNK):
        distinct, times, ends = _count(words, bounds[first : first + CHUNK + 1])
        here = slice(starts[first], starts[first] + len(distinct))
        starts[first + 1 : first + 1 + len(ends)] = starts[first] + ends
        columns[here], values[here] = distinct, times if counts else 1.0
    return csr_matrix((values[: starts[-1]], columns[: starts[-1]], starts), shape=(len(bounds) - 1, num_words))


def _int_array(name: str, values: ArrayLike) -> NDArray[Any]:
    array = number_array(name, values)
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise InputError(f"expected {name} as integers in one dimension, got {array.dtype} of shape {array.shape}")
    return array.astype(np.int64) if array.size == 0 else array  # NumPy makes floats of an empty list


def _count(words: NDArray[Any], bounds: NDArray[Any]) -> tuple[NDArray[np.int64], ...]:
    """Return the distinct ids of each review between ``bounds``, sorted, how often each occurs, and the ends."""
    # A review and an id as one integer: NumPy sorts these in vector registers.
    both = np.repeat(np.arange(len(bounds) - 1) << 32, np.diff(bounds).astype(np.int64))
    both |= words[bounds[0] : bounds[-1]].astype(np.int64)
    both.sort()
    last = np.flatnonzero(np.diff(both, append=-1))  # of equal ones
    distinct, ends = both[last], np.arange(1, len(bounds)) << 32
    return distinct & (2**32 - 1), np.diff(last, prepend=-1), np.searchsorted(distinct, ends)


class BagDataset(Dataset[Batch]):
    """Bags of words with their labels; a DataLoader gets a whole batch with one call.

    Args:
        bags: a SciPy CSR matrix (samples, num_words), from ``bag_of_words`` or scikit-learn's vectorizers; CSC, COO
            and other types of numbers are converted to float32 CSR.
        labels: shape (samples,) or (samples, outputs), as a list, array, tensor, Series or DataFrame. Batches hold
            them as float32 of at least two dimensions.
        sample_weight: shape (samples,), or None. Batches hold them as float32.
        device: where batches are gathered. On an accelerator the whole matrix is copied there once; a batch then costs
            one asynchronous copy, of the sample numbers, from pinned memory.
        dense: whether the inputs of a batch are dense. None: on CUDA up to 2**15 words, if the ids of all samples,
            padded to the length of the longest, are at most 2**28. An accelerator keeps a dense matrix of whole numbers
            from 0 to 255 in bytes, if these are at most 2**30.

    Raises:
        InputError: for a matrix with inconsistent or non-finite arrays, labels or weights that are not finite numbers,
            lengths that differ, and a device that this machine does not have.
    """

    def __init__(
        self,
        bags: csr_matrix,
        labels: ArrayLike,
        sample_weight: ArrayLike | None = None,
        device: torch.device | str = "cpu",
        dense: bool | None = None,
    ):
        refuse([choice_problem("dense", dense, (None, True, False))])
        self.bags = checked_csr("bags", bags)
        self.device = _usable_device(device)
        self.dense = bool(self.device.type == "cuda" and suits_dense_batches(self.bags) if dense is None else dense)
        targets = float32_tensor("labels", labels)
        labels_and_weights = [targets[:, None] if targets.ndim == 1 else targets]
        if sample_weight is not None:
            weights = float32_tensor("sample weights", sample_weight)
            refuse([unless(weights.numel() == len(weights), f"one weight for each sample, got {tuple(weights.shape)}")])
            labels_and_weights.append(weights.reshape(-1))
        refuse(
            unless(len(tensor) == len(self), f"{len(self)} {name}, one for each sample, got {len(tensor)}")
            for name, tensor in zip(("labels", "sample weights"), labels_and_weights, strict=False)
        )
        self.labels_and_weights = [tensor.to(self.device) for tensor in labels_and_weights]
        self._on_device = None if self.device.type == "cpu" else DeviceBags(self.bags, self.device, self.dense)

    def __len__(self) -> int:
        return int(self.bags.shape[0])

    def __repr__(self) -> str:
        samples, words = self.bags.shape
        return f"BagDataset({samples} samples, {words} words, {self.bags.nnz} nonzero values, device={self.device})"

    def __getitem__(self, index: int | slice) -> Batch:
        """Return one sample with its label and weight; x is dense, (num_words,), float32. A slice gives a batch.

        Raises:
            IndexError: for an index out of range; negative indices count from the end.
            TypeError: for an index that is no whole number and no slice.
        """
        if isinstance(index, slice):
            return self.__getitems__(range(len(self))[index])
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(f"expected an index as a whole number or a slice, got {index!r}") from None
        x, *rest = self.__getitems__([number])
        return (x[0] if x.layout == torch.strided else x.to_dense()[0], *(tensor[0] for tensor in rest))

    @takes_arrays
    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Return ``(x, y)`` or ``(x, y, sample_weight)``; x is (len(indices), num_words), float32, CSR or ``dense``.

        Raises:
            IndexError: for an index out of range; negative indices count from the end.
            TypeError: for indices that are no whole numbers.
        """
        rows = _index_array(indices)
        low, high = (rows.min(), rows.max()) if len(rows) else (0, -1)
        if low < -len(self) or high >= len(self):
            raise IndexError(f"expected indices from 0 to {len(self) - 1}, got {low} to {high}")
        rows = np.ascontiguousarray(rows, np.int64)
        if low < 0:
            rows = np.where(rows < 0, rows + len(self), rows)
        on_device = self._copied(torch.from_numpy(rows))
        if self._on_device is not None:
            x = self._on_device.batch(rows, on_device)
        else:
            x = self._gather(rows).to_dense() if self.dense else self._gather(rows)
        return (x, *(tensor[on_device] for tensor in self.labels_and_weights))

    def _copied(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return sample numbers on the device; from pinned memory the copy runs while the host goes on."""
        if self.device.type == "cuda":
            numbers = numbers.pin_memory()
        return numbers.to(self.device, non_blocking=True)

    def _gather(self, rows: NDArray[np.int64]) -> torch.Tensor:
        compiled, shape = kernels.load(), (len(rows), self.bags.shape[1])
        if compiled is not None and (arrays := compiled.gather_rows(self.bags, rows)) is not None:
            return csr_tensor(*arrays, shape)
        batch = self.bags[rows]
        offsets, ids, values = map(torch.from_numpy, (batch.indptr, batch.indices, batch.data))
        return csr_tensor(offsets, ids, values, shape)


def bag_loader(dataset: Dataset[Batch], batch_size: int, shuffle: bool = False, seed: int = 0) -> DataLoader[Batch]:
    """Return a DataLoader over a ``BagDataset``, or over a ``Subset`` of one.

    Args:
        dataset: the samples.
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: draw a new order each epoch, from a generator of the loader seeded with ``seed``.
        seed: of that generator.

    Raises:
        InputError: for a batch_size, shuffle or seed that cannot be used.
    """
    refuse(loader_problems(batch_size, shuffle, seed))
    order = torch.Generator().manual_seed(int(seed))
    return BatchLoader(dataset, batch_size=int(batch_size), shuffle=shuffle, generator=order, collate_fn=identity)


def _index_array(indices: Any) -> NDArray[Any]:
    try:
        rows = np.asarray(indices)
    except ValueError:  # lists of unequal lengths
        rows = np.empty((0, 0))
    whole = rows.dtype.kind in "iu" or all(isinstance(index, int) for index in rows.flat)  # beyond 64 bits: objects
    if rows.ndim != 1 or not whole or rows.dtype.kind == "b":
        raise TypeError(f"expected indices as whole numbers in one dimension, got {indices!r}")
    return rows


def _usable_device(device: torch.device | str) -> torch.device:
    expected = f"expected a device of this machine ({', '.join(available_devices())}), got {device!r}"
    try:
        found = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError, ValueError, ImportError) as error:  # unknown, or not in this build
        raise InputError(expected) from error
    if found.type == "meta":  # its tensors have no values
        raise InputError(expected)
    return found
