"""Bags of words on an accelerator, where batches of them are gathered.

A dense batch is gathered from a matrix of bytes, or, where that would be too large or the numbers are others, from the
ids and values of each sample, padded to the length of the longest. A sparse batch is gathered from the arrays of the
CSR matrix.
"""

from typing import Any
import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix
import torch

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")

DENSE_WORDS = 2**15  # a batch of 512 reviews of as many words takes 67 MB
PADDED_IDS = 2**28  # of all samples, each padded to the longest: 1 GB
DENSE_BYTES = 2**30  # of the dense matrix of all samples, one byte for each element


def suits_dense_batches(bags: csr_matrix) -> bool:
    """Return whether batches of ``bags`` are dense on CUDA by default."""
    return bool(bags.shape[1] <= DENSE_WORDS and bags.shape[0] * _longest(bags) <= PADDED_IDS)


class DeviceBags:
    """The bags of all samples on a device.

    Args:
        bags: (samples, num_words), float32.
        device: where they are copied.
        dense: whether batches are dense.
    """

    def __init__(self, bags: csr_matrix, device: torch.device, dense: bool):
        self._bags, self._device, self._dense = bags, device, dense
        self._bytes = self._byte_matrix() if dense and _fits_bytes(bags) else None
        if self._bytes is not None:
            return
        bounds, ids, values = bags.indptr, bags.indices, bags.data
        if dense:
            places, shape = _places(bags), (bags.shape[0], _longest(bags))
            filling = np.arange(shape[1]) % bags.shape[1]  # different columns, to which zeros are added
            ids, values = _padded(ids, places, shape, filling), _padded(values, places, shape, 0)
        arrays = (bounds[:-1], np.diff(bounds), ids, values)
        self._starts, self._lengths, self._ids, self._values = map(self._copied, arrays)

    def batch(self, rows: NDArray[np.int64], on_device: torch.Tensor) -> torch.Tensor:
        """Return the bags of a batch, (len(rows), num_words), float32, CSR or dense.

        Args:
            rows: the numbers of the samples.
            on_device: the same, on the device.
        """
        return self._dense_batch(on_device) if self._dense else self._sparse_batch(rows, on_device)

    def _dense_batch(self, rows: torch.Tensor) -> torch.Tensor:
        # Without gaps between rows, as in the copy that a CUDA graph reads: cuBLAS chooses products by that.
        if self._bytes is not None:
            return self._bytes.index_select(0, rows).float()
        x = torch.zeros(len(rows), int(self._bags.shape[1]), device=self._device)
        return x.scatter_add_(1, self._ids[rows].long(), self._values[rows])

    def _sparse_batch(self, rows: NDArray[np.int64], on_device: torch.Tensor) -> torch.Tensor:
        # The number of values is computed on the CPU, so that it need not be read back from the device.
        total = int((self._bags.indptr[rows + 1] - self._bags.indptr[rows]).sum(dtype=np.int64))
        lengths = self._lengths[on_device]
        bounds = torch.nn.functional.pad(lengths.cumsum(0, dtype=lengths.dtype), (1, 0))
        shift = torch.repeat_interleave(self._starts[on_device] - bounds[:-1], lengths, output_size=total)
        source = torch.arange(total, device=self._device, dtype=shift.dtype) + shift
        return csr_tensor(bounds, self._ids[source], self._values[source], (len(rows), self._bags.shape[1]))

    def _byte_matrix(self) -> torch.Tensor:
        """Return the dense matrix on the device; only what is not zero is copied there."""
        columns, numbers = self._bags.indices.astype(np.int64), self._bags.data.astype(np.uint8)
        places = self._copied(_places(self._bags)[0]), self._copied(columns)
        shape = int(self._bags.shape[0]), int(self._bags.shape[1])
        matrix = torch.zeros(shape, dtype=torch.uint8, device=self._device)
        return matrix.index_put_(places, self._copied(numbers))

    def _copied(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)


def csr_tensor(offsets: torch.Tensor, ids: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Return a CSR tensor of these arrays, which are not checked."""
    return torch.sparse_csr_tensor(offsets, ids, values, shape, check_invariants=False)


def _longest(bags: csr_matrix) -> int:
    return int(np.diff(bags.indptr).max(initial=0))


def _fits_bytes(bags: csr_matrix) -> bool:
    """Return whether bytes hold the numbers of the matrix, and the dense matrix is small enough."""
    if int(bags.shape[0]) * int(bags.shape[1]) > DENSE_BYTES or not bags.has_canonical_format:
        return False
    with np.errstate(invalid="ignore"):  # what is out of range becomes another number
        return bool((bags.data.astype(np.uint8) == bags.data).all())


def _places(bags: csr_matrix) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return of each stored value its sample, and its number among those of the sample."""
    lengths = np.diff(bags.indptr)
    samples = np.repeat(np.arange(bags.shape[0]), lengths)
    return samples, np.arange(len(samples)) - np.repeat(bags.indptr[:-1], lengths)


def _padded(values: NDArray[Any], places: Any, shape: tuple[int, int], filling: ArrayLike) -> NDArray[Any]:
    """Return an array of this shape, each row filled with these numbers, with the values in their places."""
    array = np.full(shape, filling, values.dtype)
    array[places] = values
    return array
