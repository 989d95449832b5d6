"""DataLoaders over arrays, each with a generator of its own.

Keras starts two iterators an epoch and drops one; a loader that draws its order from torch's global generator would
so change every other random number of the run, dropout masks included.
"""

from typing import Any

from numpy.typing import ArrayLike
import torch
from torch.utils.data import DataLoader, TensorDataset


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
        collate_fn=_as_it_is,
    )


def _as_it_is(batch: Any) -> Any:
    return batch
