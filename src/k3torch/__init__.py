"""Keras 3 models on the torch backend, trained at the speed of the machine.

Importing this package selects Keras's torch backend, so import it before Keras. It takes milliseconds: the public
names and the subpackages load on first use, as ``__init__.pyi`` lists them. ``keras.saving.load_model`` knows the
package's classes after ``import k3torch``.
"""

from k3torch import _keras_setup
import lazy_loader

__version__ = "0.2.0"

_keras_setup.select_torch_backend()
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
_keras_setup.register_with_keras()
