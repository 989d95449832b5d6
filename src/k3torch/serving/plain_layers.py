"""Models of Keras's own classes alone: files that Keras loads without k3torch, and trains further on any backend."""

import json
from pathlib import Path
import re
from typing import Any
import zipfile

import keras

# k3torch's classes as files name them, and Keras's with the same arguments and weights.
_CLASSES = {
    "k3torch>SparseDense": ("keras.layers", "Dense"),
    "k3torch>MultiHotDense": ("keras.layers", "Dense"),
    "k3torch>FastModel": ("keras", "Model"),
    "k3torch>FastSequential": ("keras", "Sequential"),
}
# Keras names the optimizer of its torch backend by the module that implements it; no other backend trains with that.
_TORCH_OPTIMIZER = re.compile(r"keras\.src\.backend\.torch\.optimizers\.\w+")
_CONFIG = "config.json"


def plain_model(model: keras.Model) -> keras.Model:
    """Return a copy of a model, in which Keras's classes take the place of k3torch's.

    A ``SparseDense`` becomes a ``keras.layers.Dense``, a ``FastModel`` a ``keras.Model``. Loss, metrics and the state
    of the optimizer are copied too, so that training can go on.

    Args:
        model: functional or sequential. Models in it are converted too.

    Returns:
        A model with the weights of ``model``. It takes dense inputs.
    """
    plain = keras.saving.deserialize_keras_object(_renamed(keras.saving.serialize_keras_object(model)))
    plain.set_weights(model.get_weights())
    if getattr(model, "optimizer", None) is not None and model.optimizer.built:
        plain.optimizer.build(plain.trainable_variables)
        for variable, other in zip(plain.optimizer.variables, model.optimizer.variables, strict=True):
            variable.assign(other.value)
    return plain


def save_plain(model: keras.Model, path: Path) -> None:
    """Write a model as a .keras file that Keras alone loads on any of its backends, ready to be trained further.

    Args:
        model: as for ``plain_model``, which is applied to it.
        path: of the file, which must not exist; its name ends in .keras.
    """
    plain_model(model).save(path)
    draft = path.with_suffix(".zip")
    with zipfile.ZipFile(path) as saved, zipfile.ZipFile(draft, "w") as archive:
        for member in saved.infolist():
            content = saved.read(member)
            if member.filename == _CONFIG:
                content = json.dumps(_renamed(json.loads(content))).encode()
            archive.writestr(member, content)
    draft.replace(path)


def _renamed(config: Any) -> Any:
    """Return a serialized object with the names of Keras's public classes in it."""
    if isinstance(config, list | tuple):
        return type(config)(map(_renamed, config))
    if not isinstance(config, dict):
        return config
    renamed = {key: _renamed(value) for key, value in config.items()}
    if name := _public_name(config):
        renamed |= {"module": name[0], "class_name": name[1], "registered_name": None}
    return renamed


def _public_name(config: dict[str, Any]) -> tuple[str, str] | None:
    """Return module and class of Keras that stand for those of a serialized object, or None to keep them."""
    module, kind = config.get("module"), config.get("class_name")
    if not isinstance(module, str) or not isinstance(kind, str):
        return None
    if _TORCH_OPTIMIZER.fullmatch(module):
        return "keras.optimizers", kind
    if module == "keras.models":  # with k3torch imported, this path leads to FastModel
        return "keras", kind
    return _CLASSES.get(str(config.get("registered_name")))
