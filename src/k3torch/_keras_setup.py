"""Prepares Keras: the torch backend before it is imported, and k3torch's classes in its registry afterwards.

``keras.saving.load_model`` finds a class only if the module that registers it has been imported. That module imports
Keras, which takes seconds, while ``import k3torch`` must stay cheap. So a finder on ``sys.meta_path`` waits for the
import of Keras and imports the modules that register classes right after it.
"""

from collections.abc import Sequence
import importlib
from importlib.machinery import ModuleSpec
import importlib.util
import os
import sys
from types import ModuleType
from typing import Any
import warnings

REGISTERING_MODULES = ("k3torch.models.layers", "k3torch.training.fast_model")


def select_torch_backend() -> None:
    """Make Keras load on torch.

    Raises:
        ImportError: if Keras is already loaded on another backend.
    """
    keras = sys.modules.get("keras")
    config = getattr(keras, "config", None)  # absent while Keras itself is still being imported
    if config is not None and config.backend() != "torch":
        raise ImportError(
            f"k3torch needs Keras on the torch backend, but Keras is already loaded on {config.backend()!r}: "
            "import k3torch before keras, or set KERAS_BACKEND=torch in the environment"
        )
    os.environ["KERAS_BACKEND"] = "torch"


def register_with_keras() -> None:
    """Register k3torch's classes with Keras: at once if Keras is loaded, else as soon as it is."""
    if "keras" in sys.modules:
        importlib.import_module("keras")  # returns once no other thread is still importing it
        _register()
    else:
        sys.meta_path.insert(0, _KerasFinder())


def _register() -> None:
    # A new list, since another thread may be iterating over the old one.
    sys.meta_path = [finder for finder in sys.meta_path if not isinstance(finder, _KerasFinder)]
    try:
        for name in REGISTERING_MODULES:
            importlib.import_module(name)
    except Exception as error:  # Keras itself has been imported, and stays usable
        warnings.warn(f"Keras cannot load models that contain k3torch's classes: {error!r}", stacklevel=2)


class _KerasFinder:
    """Finds Keras through the other finders, and has ``_register`` called once it is loaded."""

    _searching = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return Keras's own spec with its loader wrapped, and None for every other module."""
        if name != "keras" or self._searching:  # another such finder may ask this one in turn
            return None
        self._searching = True  # the import system holds its lock around each find_spec
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._searching = False
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)  # type: ignore[assignment]
        return spec


class _RegisteringLoader:
    """Acts as ``loader``, and calls ``_register`` after the module has been executed without an exception."""

    def __init__(self, loader: Any):
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module with its own loader in place, as if the finder had not been there."""
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _register()
