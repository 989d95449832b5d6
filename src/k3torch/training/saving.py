"""How the fast models are named in model files, so that Keras alone loads them, and loading with one-line errors."""

import contextlib
from pathlib import Path
import zipfile

from k3torch.errors import InputError, first_line
from k3torch.training.keras_internals import API_REGISTRY, MissingPart, private_import
import keras


def save_as(kind: type[keras.Model], keras_name: str) -> None:
    """Have model files name the class ``kind`` as ``keras_name``, and load that name as ``kind``.

    To load a model, Keras looks the name in the file up in its table of public classes, and imports it as a path if it
    is not in the table. With k3torch imported, the table has ``kind`` under this name; without k3torch, the path leads
    to Keras's own class.

    Args:
        kind: a model class; its subclasses keep their own names.
        keras_name: a second public path of the Keras class, such as ``keras.models.Model``. It must not be the path
            that Keras itself writes (``keras.Model``), or models saved by plain Keras would load as ``kind``.
    """
    # The name that files get if a later version of Keras lacks the private table; only k3torch can load such files.
    keras.saving.register_keras_serializable("k3torch")(kind)
    with contextlib.suppress(MissingPart):
        private_import(API_REGISTRY)(keras_name, kind)


def load_model(path: Path, input_shape: tuple[int | None, ...] | None = None) -> keras.Model:
    """Load a model file in Keras's safe mode, which runs no code from the file.

    Args:
        path: a .keras file.
        input_shape: that the model must have, with None for the batch; None takes any.

    Raises:
        InputError: for a file that is damaged or no model, and for a model of other inputs.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"expected a Keras model in {path}, got a file that is damaged or no model: train again")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:  # Keras raises errors of many types for a damaged file
        raise InputError(f"expected a Keras model in {path}, got: {first_line(error)}: train again") from error
    found = getattr(model, "input_shape", None)
    if input_shape is not None and found != input_shape:
        raise InputError(
            f"expected a model with inputs of shape {input_shape} in {path}, got {found}: give the run "
            "folder that the model was saved in"
        )
    return model
