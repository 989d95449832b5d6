"""A dataset that gives each process of a run its part of every batch."""

from collections.abc import Sequence
from typing import Any

from k3torch import processes
from k3torch.data.batch_loader import flattened, takes_arrays
from k3torch.errors import InputError, count_problem, refuse, unless
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset


def own_parts(dataset: Any) -> Any:
    """Return ``BatchParts(dataset)`` in each of several processes, and the dataset in a process alone."""
    return dataset if processes.count() == 1 else BatchParts(dataset)


class BatchParts(Dataset[Any]):
    """The samples of a dataset, for a loader in each of several processes::

        loader = k3torch.bag_loader(BatchParts(dataset), batch_size=512, shuffle=True)

    The loaders of all processes draw the same order, from generators of the same seed. Of the numbers of a batch,
    process ``rank`` asks the dataset for every ``count``-th, beginning with number ``rank``. So each sample belongs to
    one process, none twice, and ``batch_size`` is that of all processes together. Their parts of the last batch may
    be one sample apart, or empty.

    Args:
        dataset: of the samples, at least one for each process.
        rank: number of this process, from 0; None: that in torch's default group.
        count: number of processes; None: that of torch's default group.

    Raises:
        InputError: for a dataset with fewer samples than processes, and a rank outside 0 ... count - 1.
    """

    def __init__(self, dataset: Any, rank: int | None = None, count: int | None = None):
        self.count = processes.count() if count is None else count
        self.rank = processes.rank() if rank is None else rank
        refuse([count_problem("count", self.count), count_problem("rank", self.rank, 0)])
        refuse(
            [
                unless(self.rank < self.count, f"rank below count, got {self.rank} of {self.count}"),
                unless(
                    len(dataset) >= self.count,
                    f"as many samples as processes or more, got {len(dataset)} for {self.count}: start fewer",
                ),
            ]
        )
        self.dataset, self._numbers = flattened(dataset)

    def __len__(self) -> int:
        """Return the number of samples of all processes."""
        return len(self._numbers)

    def __getitem__(self, index: int) -> Any:
        """Return one sample, whichever process it belongs to."""
        return self.dataset[self._numbers[index]]

    @takes_arrays
    def __getitems__(self, indices: Sequence[int] | NDArray[np.int64]) -> Any:
        """Return this process's part of the batch of samples ``indices``, as the dataset returns batches.

        Raises:
            InputError: if the part is empty and the dataset returns samples one by one, since nothing tells then what
                an empty batch is.
        """
        part = self._numbers[np.asarray(indices, np.int64)[self.rank :: self.count]]
        if hasattr(self.dataset, "__getitems__"):
            marked = getattr(self.dataset.__getitems__, "takes_arrays", False)
            return self.dataset.__getitems__(part if marked else part.tolist())
        if not len(part):
            raise InputError(
                f"expected a sample for each of {self.count} processes in each batch, got {len(indices)} in one: "
                "give the loader another batch_size, or drop_last=True"
            )
        return [self.dataset[number] for number in part.tolist()]
