"""Reviews as bags of words: CSR rows, and the Dataset that serves whole batches of them.

A batch's inputs are a torch CSR tensor of shape (batch, num_words): what Keras sees as one input of ``num_words``
features, at a hundredth of its dense size.
"""

from collections.abc import Sequence
from typing import Any
import warnings

from k3torch.data.loaders import identity
from k3torch.errors import InputError
import numpy as np
from numpy.typing import ArrayLike, NDArray
import scipy.sparse
from scipy.sparse import csr_matrix
import torch
from torch.utils.data import DataLoader, Dataset

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")

Batch = tuple[torch.Tensor, ...]
CHUNK = 2048  # reviews


def bag_of_words(ids: ArrayLike, offsets: ArrayLike, num_words: int, counts: bool = False) -> csr_matrix:
    """Return the reviews' multi-hot rows as a float32 CSR matrix of shape (reviews, ``num_words``).

    Args:
        ids: word ids of all reviews, one behind the other, int, shape (words,).
        offsets: review ``i`` is ``ids[offsets[i]:offsets[i + 1]]``; int, shape (reviews + 1,). Reviews may be empty.
        num_words: width of a row; ids are from 0 to ``num_words - 1``.
        counts: how often each word occurs, instead of 1 for each word that does.

    Raises:
        InputError: for ids outside the range, or offsets that do not divide ``ids`` into reviews.
    """
    words, bounds = np.asarray(ids), np.asarray(offsets)
    for name, array in (("ids", words), ("offsets", bounds)):
        if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
            raise InputError(f"expected {name} as whole numbers in one dimension, got {array.dtype} {array.shape}")
    if not 0 < num_words < 2**31:
        raise InputError(f"expected num_words from 1 to {2**31 - 1}, got {num_words}: choose another")
    _check_bounds(bounds, len(words))
    if len(words) and not 0 <= words.min() <= words.max() < num_words:
        raise InputError(
            f"expected word ids from 0 to {num_words - 1}, got {words.min()} to {words.max()}: "
            "load the reviews with the same num_words, or give a larger one"
        )
    # Room for a bag without repeated words; the system gives memory to the part that is written, and no more.
    columns, values = np.empty(len(words), np.int32), np.empty(len(words), np.float32)
    starts = np.zeros(len(bounds), np.int32)
    for first in range(0, len(bounds) - 1, CHUNK):
        bags = _bags(words, bounds[first : first + CHUNK + 1], num_words)
        rows = slice(first + 1, first + len(bags.indptr))
        starts[rows] = starts[first] + bags.indptr[1:]
        columns[starts[first] : starts[rows][-1]] = bags.indices
        values[starts[first] : starts[rows][-1]] = bags.data if counts else 1.0
    return csr_matrix((values[: starts[-1]], columns[: starts[-1]], starts), shape=(len(bounds) - 1, num_words))


def _bags(words: NDArray[Any], bounds: NDArray[Any], num_words: int) -> csr_matrix:
    """Return how often each word occurs in the reviews between ``bounds``."""
    ids = words[bounds[0] : bounds[-1]].astype(np.int32)
    offsets = (bounds - bounds[0]).astype(np.int32)
    bags = csr_matrix((np.ones(len(ids), np.float32), ids, offsets), shape=(len(bounds) - 1, num_words))
    bags.sum_duplicates()
    return bags


class BagDataset(Dataset[Batch]):
    """Bags with their labels, served a whole batch at a time.

    Args:
        bags: any float32 CSR matrix, (rows, num_words): from ``bag_of_words``, or scikit-learn's vectorizers.
        labels: one for each row, (rows,) or (rows, outputs); float32 in a batch, of at least two dimensions.
        sample_weight: one for each row, (rows,), or None.
        device: where batches are gathered. On an accelerator all rows move there at once, and a batch is gathered
            there without waiting for it.

    Raises:
        InputError: for lengths that differ.
    """

    def __init__(
        self,
        bags: csr_matrix,
        labels: ArrayLike,
        sample_weight: ArrayLike | None = None,
        device: torch.device | str = "cpu",
    ):
        if not scipy.sparse.issparse(bags):
            raise InputError(f"expected bags as a SciPy sparse matrix, got {type(bags).__name__}: make one of it")
        self.bags = bags.tocsr()  # itself, if it is one
        self.device = torch.device(device)
        targets = torch.as_tensor(labels, dtype=torch.float32)
        columns = [targets[:, None] if targets.ndim == 1 else targets]
        if sample_weight is not None:
            columns.append(torch.as_tensor(sample_weight, dtype=torch.float32))
        for name, column in zip(("labels", "sample weights"), columns, strict=False):
            if len(column) != bags.shape[0]:
                raise InputError(f"expected {bags.shape[0]} {name}, one for each row, got {len(column)}: check both")
        self.columns = [column.to(self.device) for column in columns]
        if self.device.type != "cpu":
            self._ids = torch.from_numpy(bags.indices).to(self.device)
            self._values = torch.from_numpy(bags.data).to(self.device)

    def __len__(self) -> int:
        return int(self.bags.shape[0])

    def __getitem__(self, row: int) -> Batch:
        """Return one row, dense, with its label and weight."""
        x, *rest = self.__getitems__([row])
        return (x.to_dense()[0], *(column[0] for column in rest))

    def __getitems__(self, rows: Sequence[int]) -> Batch:
        """Return ``(x, y)`` or ``(x, y, sample_weight)``; x is CSR, (len(rows), num_words), float32."""
        index = np.asarray(rows)
        x = self._gather(index) if self.device.type == "cpu" else self._gather_there(index)
        on_device = torch.from_numpy(index).to(self.device, non_blocking=True)
        return (x, *(column[on_device] for column in self.columns))

    def _gather(self, rows: NDArray[np.int64]) -> torch.Tensor:
        batch = self.bags[rows]
        offsets, ids, values = map(torch.from_numpy, (batch.indptr, batch.indices, batch.data))
        return _csr(offsets, ids, values, batch.shape)

    def _gather_there(self, rows: NDArray[np.int64]) -> torch.Tensor:
        # The lengths are known here, so nothing has to be asked of the device.
        starts, stops = self.bags.indptr[rows], self.bags.indptr[rows + 1]
        bounds = np.concatenate([[0], np.cumsum(stops - starts)])
        shifts, lengths, offsets = (
            torch.from_numpy(a.astype(np.int32)).to(self.device, non_blocking=True)
            for a in (starts - bounds[:-1], stops - starts, bounds)
        )
        total = int(bounds[-1])
        shift = torch.repeat_interleave(shifts, lengths, output_size=total)
        source = torch.arange(total, device=self.device, dtype=torch.int32) + shift
        return _csr(offsets, self._ids[source], self._values[source], (len(rows), self.bags.shape[1]))


def bag_loader(dataset: Dataset[Batch], batch_size: int, shuffle: bool = False, seed: int = 0) -> DataLoader[Batch]:
    """Return a DataLoader over bags, or over a ``Subset`` of them.

    ``shuffle`` draws a new order each epoch, from a generator of the loader's own.
    """
    order = torch.Generator().manual_seed(seed)
    return DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, generator=order, collate_fn=identity)


def _csr(offsets: torch.Tensor, ids: torch.Tensor, values: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    return torch.sparse_csr_tensor(offsets, ids, values, shape, check_invariants=False)


def _check_bounds(bounds: NDArray[Any], words: int) -> None:
    if len(bounds) == 0 or bounds[0] != 0 or bounds[-1] != words or (np.diff(bounds) < 0).any():
        raise InputError(
            f"expected offsets that rise from 0 to {words}, the number of word ids, got {bounds[:1]} to {bounds[-1:]}: "
            "give one more offset than there are reviews"
        )
