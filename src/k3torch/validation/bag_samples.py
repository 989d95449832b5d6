"""The samples of a fold as rows of one sparse matrix, which all folds share."""

from dataclasses import dataclass
from typing import Any

from k3torch.data.bags import BagDataset, Batch
from k3torch.stack.batch_loop import Samples
from k3torch.validation.folds import Indices
import numpy as np


@dataclass(frozen=True)
class BagSamples:
    """Some samples of a ``BagDataset``, of which nothing is copied or made dense.

    Attributes:
        dataset: all samples, with the targets and weights of this fold.
        rows: the numbers of these samples.
    """

    dataset: BagDataset
    rows: Indices

    nbytes = 0  # of its own

    def __len__(self) -> int:
        return len(self.rows)

    def __getitems__(self, indices: Indices) -> Batch:
        """Return a batch of these samples by their positions among them; x is a CSR tensor."""
        return self.dataset.__getitems__(self.rows[indices])

    def example(self) -> tuple[Any, Any, Any]:
        """Return x, y and sample_weight or None of one sample, dense, each with a first dimension of 1."""
        y, *weights = (tensor[:1].numpy() for tensor in self.dataset.labels_and_weights)
        x = np.zeros((1, self.dataset.bags.shape[1]), np.float32)
        return x, y, weights[0] if weights else None


AnySamples = Samples | BagSamples


def dense(samples: AnySamples) -> Samples:
    """Return the samples as a stack takes them: they are arrays, as no stack is made of sparse ones."""
    assert isinstance(samples, Samples)
    return samples
