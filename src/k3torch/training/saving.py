"""How the fast models are named in model files, so that Keras alone loads them, and loading with one-line errors."""

from collections.abc import Collection
import contextlib
import json
from pathlib import Path
import zipfile

from k3torch.errors import InputError, first_line
from k3torch.training.keras_internals import API_REGISTRY, MissingPart, private_import
import keras
import numpy as np

_CONFIG, _WEIGHTS = "config.json", "model.weights.h5"  # members of a .keras file
_LARGEST, _RATIO = 2**26, 10  # bytes of a member other than the weights, and how far it may have been compressed


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


def load_model(
    path: Path, input_shape: tuple[int | None, ...] | None = None, outputs: Collection[int] = ()
) -> keras.Model:
    """Load a model file in Keras's safe mode, which runs no code from the file.

    A file whose model is larger than the file is refused before the model takes memory.

    Args:
        path: a .keras file.
        input_shape: that the model must have, with None for the batch; None takes any.
        outputs: how many outputs of a sample the model may have, in one array; empty takes any. It needs
            ``input_shape``.

    Raises:
        InputError: for a file that is damaged or no model, for a model of other inputs or outputs, and for one with
            weights that are not finite.
    """
    if not zipfile.is_zipfile(path):
        raise InputError(f"expected a Keras model in {path}, got a file that is damaged or no model: train again")
    try:
        _check_size(path)
        model = keras.saving.load_model(path)
    except InputError:
        raise
    except Exception as error:  # Keras raises errors of many types for a damaged file
        raise InputError(f"expected a Keras model in {path}, got: {first_line(error)}: train again") from error
    found = getattr(model, "input_shape", None)
    if input_shape is not None and found != input_shape:
        raise InputError(
            f"expected a model with inputs of shape {input_shape} in {path}, got {found}: give the run "
            "folder that the model was saved in"
        )
    if not all(bool(variable.value.isfinite().all()) for variable in model.weights):
        raise InputError(f"expected a trained model in {path}, got weights that are NaN or infinite: train again")
    if input_shape is not None and outputs:
        _check_outputs(model, path, input_shape[1:], outputs)
    return model


def _check_outputs(model: keras.Model, path: Path, features: tuple[int | None, ...], outputs: Collection[int]) -> None:
    try:
        found = model(np.zeros((1, *(size or 1 for size in features)), "float32"), training=False)
    except Exception as error:  # of any layer
        raise InputError(f"expected a model that predicts a sample in {path}, got: {first_line(error)}") from error
    shape = getattr(found, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] not in outputs:
        raise InputError(
            f"expected a model with {' or '.join(map(str, outputs))} output{'s'[: max(outputs) > 1]} in {path}, got "
            f"{f'outputs of shape {tuple(shape)[1:]}' if shape is not None else type(found).__name__}: give the run "
            "folder that the model was saved in"
        )


def _check_size(path: Path) -> None:
    """Refuse a file that would take more memory than its size explains.

    Raises:
        InputError: for such a file.
    """
    with zipfile.ZipFile(path) as archive:
        members = {member.filename: member for member in archive.infolist()}
        large = [name for name, member in members.items() if member.file_size > _LARGEST and name != _WEIGHTS]
        large += [
            name for name, member in members.items() if member.file_size > _RATIO * path.stat().st_size + _LARGEST
        ]
        if large:
            raise InputError(
                f"expected a Keras model in {path}, got {large[0]} of {members[large[0]].file_size:,} bytes"
            )
        if not {_CONFIG, _WEIGHTS} <= set(members):
            return  # Keras says what is missing
        config = json.loads(archive.read(_CONFIG))
        config.pop("compile_config", None)
        try:
            with keras.device("meta"):  # shapes without memory
                size = keras.saving.deserialize_keras_object(config, safe_mode=True).count_params()
        except Exception:  # layers that cannot be built so, or a damaged config, of which Keras says more
            return
        if size > members[_WEIGHTS].file_size:
            raise InputError(
                f"expected a Keras model in {path}, got {size:,} weights in its config, and {_WEIGHTS} of "
                f"{members[_WEIGHTS].file_size:,} bytes"
            )
