"""How the fast models are named in model files, so that Keras alone loads them."""

import contextlib

from k3torch.training.keras_internals import API_REGISTRY, MissingPart, private_import
import keras


def save_as(kind: type[keras.Model], keras_name: str) -> None:
    """Have model files name the class ``kind`` as ``keras_name``, and load that name as ``kind``.

    Keras looks a name up in its table of public classes, and imports it from that path if the table lacks it. With
    k3torch imported, the table returns ``kind``; without, the path leads to Keras's own class.

    Args:
        kind: a model class; its subclasses keep their own names.
        keras_name: a path of a Keras class other than the one that Keras writes itself (``keras.Model``), such as
            ``keras.models.Model``: models that plain Keras saved are not to load as ``kind``.
    """
    # Keras would write this name if its table, which is private to it, were gone; such files need k3torch.
    keras.saving.register_keras_serializable("k3torch")(kind)
    with contextlib.suppress(MissingPart):
        private_import(API_REGISTRY)(keras_name, kind)
