"""What has to be the same when a run of ``fit`` is resumed, and the checkpoint from which it goes on."""

from collections.abc import Mapping, Sequence
import hashlib
import json
from pathlib import Path
import sys
from typing import Any
import warnings

import k3torch
from k3torch import processes
from k3torch.errors import InputError, Problem, refuse, unless
from k3torch.training.checkpoint_file import CheckpointFolder, fitting
from k3torch.training.checkpoint_state import generator_count
from k3torch.training.keras_internals import Functional
import keras
import numpy as np
import torch
from torch.utils.data import DataLoader

Settings = dict[str, Any]
FORMAT = 2  # of the files; another number in a file means that another version of k3torch wrote it
_VARYING = frozenset({"name", "shared_object_id"})  # in two processes with the same script: Keras numbers names


def check_data(arguments: Mapping[str, Any]) -> None:
    """Refuse data whose place in the epoch cannot be found again.

    Args:
        arguments: of ``fit``, by name.

    Raises:
        InputError: for generators and other data than arrays and DataLoaders, workers that outlive an epoch, and
            epochs that are no pass over the data.
    """
    x = arguments.get("x")
    workers = isinstance(x, DataLoader) and x.persistent_workers
    callbacks = arguments.get("callbacks")
    problems: list[Problem] = [
        unless(
            isinstance(x, DataLoader) or _samples(x) is not None,
            f"x as arrays or a DataLoader for a checkpoint, got {type(x).__name__}: make a DataLoader of it",
        ),
        unless(not workers, "a DataLoader with persistent_workers=False for a checkpoint, got True"),
        unless(
            arguments.get("steps_per_epoch") is None,
            f"steps_per_epoch=None for a checkpoint, got {arguments.get('steps_per_epoch')!r}: let x be one epoch",
        ),
        unless(
            not isinstance(callbacks, keras.callbacks.CallbackList),
            "callbacks as a list for a checkpoint, got a CallbackList",
        ),
    ]
    refuse(problems)


def settings_of_run(model: keras.Model, arguments: Mapping[str, Any], callbacks: Sequence[Any] = ()) -> Settings:
    """Return what changes a run, by its name for the user.

    Args:
        model: compiled, before ``fit``.
        arguments: of ``fit``, by name.
        callbacks: the caller's, without the checkpoint.
    """
    x, validation = arguments.get("x"), arguments.get("validation_data")
    weights = arguments.get("class_weight")
    return {
        "a checkpoint of": "fit",
        **model_settings(model),
        "number of processes": processes.count(),
        "x": "a DataLoader" if isinstance(x, DataLoader) else "arrays",
        "number of samples": _samples(x),
        "batch_size": _batch_size(x, arguments.get("batch_size")),
        "shuffle": _shuffle(x, arguments.get("shuffle", True)),
        "number of validation samples": _validation_samples(validation),
        "validation_split": arguments.get("validation_split") or 0.0,
        "validation batch size": _validation_batch_size(validation, arguments),
        "validation_freq": described(arguments.get("validation_freq", 1)),
        "validation_steps": arguments.get("validation_steps"),
        "class_weight": None if weights is None else str(sorted(weights.items())),
        "sample_weight": arguments.get("sample_weight") is not None,
        "initial_epoch": arguments.get("initial_epoch") or 0,
        "callbacks": ", ".join(type(each).__name__ for each in callbacks) or "none",
        "random generators of the data": generator_count([x, validation]),
    }


def model_settings(model: keras.Model) -> Settings:
    """Return the settings of a compiled model and its optimizer, and the versions, by their names for the user."""
    return {
        **{library.__name__: str(library.__version__) for library in (k3torch, keras, torch, np)},
        **_optimizer_settings(getattr(model, "optimizer", None)),
        "loss": described(getattr(model, "loss", None)),
        **_config("loss", getattr(model, "loss", None)),
        "metrics": _metrics(model),
        "layers": _layers(model),
        **_layer_settings(model),
    }


def check_settings(stored: Settings, found: Settings, where: Path) -> None:
    """Compare the settings of a checkpoint with those of a run that is to go on from it.

    Raises:
        InputError: names those that differ.
    """
    names = [name for name in stored | found if stored.get(name) != found.get(name)]
    if "a checkpoint of" in names:
        names = ["a checkpoint of"]
    if "layers" in names:
        names = [name for name in names if not name.startswith("layer ")]
    if names:
        before, now = ([f"{name} {each.get(name)}" for name in names[:3]] for each in (stored, found))
        raise InputError(
            f"expected {', '.join(before)}, as in {where}, got {', '.join(now)}: give the same, or another folder"
        )


@fitting()
def stored_checkpoint(
    folder: CheckpointFolder, resume: str | Path | None, settings: Settings, epochs: int
) -> tuple[int, dict[str, Any]] | None:
    """Return the number and content of the checkpoint to go on from, or None to begin; one line says which.

    Args:
        folder: of the checkpoints.
        resume: None for a new run.
        settings: of this run.
        epochs: of this run.

    Raises:
        InputError: for a new run in a folder with checkpoints, and a checkpoint of other settings, of more epochs or of
            another version; if all are damaged.
    """
    if resume is None:
        if folder.numbers():
            raise InputError(
                f"expected a folder without checkpoints for a new run, got {folder.path}: "
                "pass resume=folder to go on from them, or give another folder"
            )
        return None
    stored = folder.newest()
    if stored is None:
        print(f"no checkpoint in {folder.path} yet: training begins", file=sys.stderr)
        return None
    number, content = stored
    where = folder.file(number)
    # One of cross_validate or search has a format of its own: check_settings says then what it is a checkpoint of.
    of_fit = content.get("settings", {}).get("a checkpoint of", "fit") == "fit"
    if of_fit and content.get("format") != FORMAT:
        raise InputError(f"expected a checkpoint of this version of k3torch in {where}: give another folder to begin")
    check_settings(content["settings"], settings, where)
    done = content["epoch"] + (content["batches"] > 0)
    if epochs < done:
        raise InputError(f"expected epochs as {done} or more, as trained already in {where}, got {epochs}")
    place = f"epoch {content['epoch'] + 1}" + (f", batch {content['batches'] + 1}" if content["batches"] else "")
    ended = content["stopped"] or (content["epoch"] >= epochs and not content["batches"])
    print(f"resuming from {where}: " + ("the run had ended" if ended else f"at {place}"), file=sys.stderr)
    return stored


def _layers(model: keras.Model) -> str:
    """Return the classes of a model's layers; another model than these may make them in its first step only."""
    if not isinstance(model, Functional | keras.Sequential):
        return type(model).__name__
    return ", ".join(type(layer).__name__ for layer in model.layers)


def _layer_settings(model: Any, before: str = "") -> Settings:
    """Return the settings of each layer of a model and of the models in it; layers are counted from 1."""
    if not isinstance(model, Functional | keras.Sequential):
        return {}
    found: Settings = {}
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    for number, layer in enumerate(layers, start=1):
        name = f"{before}layer {number}"
        is_model = isinstance(layer, Functional | keras.Sequential)
        found |= _layer_settings(layer, f"{name}, ") if is_model else _config(name, layer)
    return found


def _config(name: str, item: Any) -> Settings:
    """Return the settings of a layer or loss, without those that may differ between processes."""
    try:
        config = dict(item.get_config())
    except Exception:  # it has none, or is of the caller's own class
        return {}
    if "dtype" in config:
        config["dtype"] = getattr(getattr(item, "dtype_policy", None), "name", None)
    return {f"{name}.{key}": _short(described(value)) for key, value in config.items() if key not in _VARYING}


def _metrics(model: Any) -> Any:
    with warnings.catch_warnings(action="ignore"):  # of a lambda, which is not loaded again
        try:
            return _short(described(model.get_compile_config().get("metrics")))
        except Exception:  # it is of the caller's own class
            return None


def _short(value: Any) -> Any:
    """Return a setting, or a checksum of one that fills more than two lines."""
    text = json.dumps(value)
    return value if len(text) <= 200 else f"with checksum {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _samples(data: Any) -> int | None:
    """Return the number of samples, or None where it is not known."""
    if isinstance(data, DataLoader):
        return len(data.dataset) if hasattr(data.dataset, "__len__") else None
    first = next((leaf for leaf in keras.tree.flatten(data) if leaf is not None), None)
    shape = getattr(first, "shape", None)
    return int(shape[0]) if shape is not None and len(shape) and hasattr(first, "__getitem__") else None


def _validation_samples(validation: Any) -> int | None:
    return _samples(validation if isinstance(validation, DataLoader) or validation is None else validation[0])


def _batch_size(data: Any, given: Any) -> int | None:
    if isinstance(data, DataLoader):
        size = data.batch_size or getattr(data.batch_sampler, "batch_size", None)
        return None if size is None else int(size)
    return int(given or 32)  # Keras's default


def _validation_batch_size(validation: Any, arguments: Mapping[str, Any]) -> int | None:
    if validation is None and not arguments.get("validation_split"):
        return None
    return _batch_size(validation, arguments.get("validation_batch_size") or arguments.get("batch_size"))


def _shuffle(data: Any, given: Any) -> Any:
    return type(data.sampler).__name__ if isinstance(data, DataLoader) else given


def _optimizer_settings(optimizer: Any) -> Settings:
    """Return an optimizer's settings, without names, and without a learning rate that callbacks may change."""
    settings = {"optimizer": type(optimizer).__name__}
    for name, value in optimizer.get_config().items() if optimizer is not None else ():
        if name == "name" or (name == "learning_rate" and isinstance(value, int | float)):
            continue
        settings[f"optimizer.{name}"] = described(value)
    return settings


def described(value: Any) -> Any:
    """Return a value that JSON can hold, in which equal settings are equal."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        if value.get("class_name") == "__lambda__":
            return "<lambda>"  # its code holds its place in the file
        left_out = set(_VARYING)
        if isinstance(value.get("learning_rate"), int | float):
            left_out.add("learning_rate")  # callbacks may change it
        return {str(key): described(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list | tuple):
        return [described(item) for item in value]
    return getattr(value, "__name__", type(value).__name__)
