"""What is trained: layers, and functions that build and compile a Keras model."""

# Loaded before any module of this package starts to load, since the end of Keras's import loads some of them
# (see k3torch._keras_setup), and a module that is itself in the middle of its import has no names yet.
import keras  # noqa: F401
import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
