"""Keras 3 models on the torch backend, trained at the speed of the machine.

Importing this package selects Keras's torch backend, so import it before Keras. The names below load on first
use: ``import k3torch`` by itself costs milliseconds.
"""

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from k3torch.data.bags import BagDataset as BagDataset
    from k3torch.data.bags import bag_loader as bag_loader
    from k3torch.data.bags import bag_of_words as bag_of_words
    from k3torch.errors import InputError as InputError
    from k3torch.models.layers import SparseDense as SparseDense
    from k3torch.runtime import configure as configure
    from k3torch.training.fast_model import FastModel as FastModel
    from k3torch.validation.cross_validate import cross_validate as cross_validate

__version__ = "0.1.0"

_HOME = {
    "BagDataset": "k3torch.data.bags",
    "FastModel": "k3torch.training.fast_model",
    "InputError": "k3torch.errors",
    "SparseDense": "k3torch.models.layers",
    "bag_loader": "k3torch.data.bags",
    "bag_of_words": "k3torch.data.bags",
    "configure": "k3torch.runtime",
    "cross_validate": "k3torch.validation.cross_validate",
}
__all__ = sorted(_HOME)


def _select_torch_backend() -> None:
    """Make Keras load on torch, or say why it no longer can."""
    keras = sys.modules.get("keras")
    config = getattr(keras, "config", None)  # absent while Keras itself is still being imported
    if config is not None and config.backend() != "torch":
        raise ImportError(
            f"k3torch needs Keras on the torch backend, but Keras is already loaded on {config.backend()!r}: "
            "import k3torch before keras, or set KERAS_BACKEND=torch in the environment"
        )
    os.environ["KERAS_BACKEND"] = "torch"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'k3torch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


_select_torch_backend()
