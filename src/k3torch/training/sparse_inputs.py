"""Refusal of sparse inputs that cannot be trained on: matrices of SciPy, and CSR tensors that are no bags."""

from typing import Any

from k3torch.data.sparse import is_partition
from k3torch.errors import refuse, unless
import keras
import scipy.sparse
import torch


def refuse_matrices(arguments: dict[str, Any]) -> None:
    """Check the samples that ``fit``, ``evaluate`` or ``predict`` got, by the names of their arguments.

    Raises:
        InputError: for a SciPy sparse matrix in ``x`` or ``validation_data``; it says which loader to pass.
    """
    refuse(
        f"{name} as arrays, tensors or a loader, got a {type(item).__name__}: "
        "pass k3torch.bag_loader(k3torch.BagDataset(x, y), batch_size), for predict with zeros as y"
        for name in ("x", "validation_data")
        for item in keras.tree.flatten(arguments.get(name))[:1]
        if scipy.sparse.issparse(item)
    )


def check_bags(x: torch.Tensor) -> None:
    """Check the arrays of a CSR tensor, (bags, words), on the CPU: torch compares them with nothing when it is made.

    Raises:
        InputError: for ids outside of the words, and arrays whose lengths or contents contradict one another.
    """
    offsets, ids = x.crow_indices().numpy(), x.col_indices().numpy()
    bags, words = x.shape
    low, high = (ids.min(), ids.max()) if len(ids) else (0, -1)
    values = len(x.values())
    refuse(
        [
            unless(
                low >= 0 and high < words,
                f"word ids from 0 to {words - 1}, got {low} to {high}: make the bags with the layer's num_words",
            ),
            unless(values == len(ids), f"as many values of bags as word ids, got {values} and {len(ids)}"),
            unless(
                is_partition(offsets, len(ids)) and len(offsets) == bags + 1,
                f"offsets of {bags} bags as {bags + 1} whole numbers that do not decrease, from 0 to {len(ids)}, the "
                f"number of word ids, got {len(offsets)} from {offsets[:1]} to {offsets[-1:]}",
            ),
        ]
    )
