"""Refusal of SciPy's sparse matrices, which Keras's methods cannot train on."""

from typing import Any

from k3torch.errors import refuse
import keras
import scipy.sparse


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
