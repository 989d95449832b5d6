"""How the fast models are named in model files, so that Keras alone loads them, and loading with one-line errors."""

import contextlib
import json
from pathlib import Path
import zipfile

from k3torch.errors import InputError, first_line
from k3torch.training.keras_internals import API_REGISTRY, MissingPart, private_import
import keras

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


Shape = tuple[int | None, ...]


def load_model(path: Path, input_shape: Shape | None = None, output_shape: Shape | None = None) -> keras.Model:
    """Load a model file in Keras's safe mode, which runs no code from the file.

    A file whose model is larger than the file is refused before the model takes memory.

    Args:
        path: a .keras file.
        input_shape: that the model must have, with None for the batch; None takes any.
        output_shape: the same for its outputs.

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
    for side, expected in (("input", input_shape), ("output", output_shape)):
        found = _shape(model, f"{side}_shape")
        if expected is not None and found != expected:
            raise InputError(
                f"expected a model with {side}s of shape {expected} in {path}, got {found}: give the run "
                "folder that the model was saved in"
            )
    if not all(bool(variable.value.isfinite().all()) for variable in model.weights):
        raise InputError(f"expected a trained model in {path}, got weights that are NaN or infinite: train again")
    return model


def _shape(model: keras.Model, name: str) -> object:
    try:
        return getattr(model, name, None)
    except (AttributeError, ValueError, RuntimeError):  # a model that was never called
        return None


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
