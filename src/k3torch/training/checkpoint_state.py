"""The state of a training run as plain values: of the model, its callbacks, the random generators and the data."""

from collections import deque
from collections.abc import Iterator, Sequence
import os
from pathlib import Path
from types import FunctionType
from typing import Any

from k3torch.errors import InputError
from k3torch.training.checkpoint_file import Arrays, encode, plain_attributes
from k3torch.training.model_state import (
    forget_global_seed_generator,
    get_random_states,
    has_global_seed_generator,
    named_tensors,
    set_random_states,
)
from k3torch.training.python_state import generator_state, is_own, reachable
import keras
import numpy as np
import torch
from torch.utils.data import DataLoader

Values = dict[str, Any]
# Attributes of callbacks that are no state of the run: what fit sets; a time of this process; what Keras changes when
# it sets the function monitor_op, after a resume too; and what CSVLogger derives from the file that is there.
_LEFT_OUT = frozenset({"params", "_model", "validation_data", "_started", "min_delta", "append", "append_header"})


def model_values(model: keras.Model) -> Values:
    """Return a built model's tensors, and whether Keras has a global seed generator.

    The tensors are in order, without names: Keras numbers names through the life of a process, so the same model has
    other names in another process.
    """
    if (catch_up := getattr(model, "_catch_up", None)) is not None:
        catch_up()
    tensors = [each.tensor.detach() for each in named_tensors(model)]
    return {"tensors": tensors, "seed generator": has_global_seed_generator()}


def load_model_values(model: keras.Model, values: Values, where: Path | str = "the checkpoint") -> None:
    """Copy tensors that ``model_values`` returned into a model.

    Raises:
        InputError: if the model has other tensors.
    """
    if values["seed generator"] and not has_global_seed_generator():
        keras.random.uniform((1,))  # Keras makes it on first use
    elif not values["seed generator"]:
        forget_global_seed_generator()
    named = list(named_tensors(model))
    found, stored = [_kind(each.tensor) for each in named], [_kind(tensor) for tensor in values["tensors"]]
    if found != stored:
        raise InputError(f"expected the model of {where}, got another: {_difference(stored, found)}; give its model")
    with torch.no_grad():
        for (_, tensor, rebind), value in zip(named, values["tensors"], strict=True):
            if rebind is not None:
                rebind(tensor)
            tensor.copy_(value)


def _kind(tensor: torch.Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _difference(stored: Sequence[str], found: Sequence[str]) -> str:
    for number, (a, b) in enumerate(zip(stored, found, strict=False), start=1):
        if a != b:
            return f"variable {number} is {a} in the file and {b} here"
    return f"{len(stored)} variables in the file and {len(found)} here"


def random_values(data: Sequence[Any]) -> Values:
    """Return the states of the global random generators, and of those that ``data``, loaders or arrays, hold."""
    return {"global": get_random_states(), "data": [get() for get, _ in _generators(data)]}


def set_random_values(values: Values, data: Sequence[Any]) -> None:
    """Set the states that ``random_values`` returned, in data with as many generators."""
    set_random_states(values["global"])
    for (_, put), state in zip(_generators(data), values["data"], strict=True):
        put(state)


def generator_count(data: Sequence[Any]) -> int:
    """Return how many random generators ``data``, loaders or arrays, hold."""
    return len(list(_generators(data)))


def _generators(data: Sequence[Any]) -> Iterator[Any]:
    """Yield how to get and to set the state of each generator of loaders, of their samplers and of their datasets."""
    seen: set[int] = set()
    waiting = [item for item in reversed(data) if isinstance(item, DataLoader)]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, str | bytes | np.ndarray | torch.Tensor | type | int | float):
            continue
        seen.add(id(item))
        if (state := generator_state(item)) is not None:
            yield state
        elif isinstance(item, list | tuple | deque):
            waiting.extend(reversed(list(item)[:1000]))
        elif hasattr(item, "__dict__") and not callable(item):
            waiting.extend(reversed(list(vars(item).values())))


class PythonValues:
    """Numbers, texts and arrays that the caller's own layers, losses and metrics keep in Python, where they change.

    Args:
        model: as it is when ``fit`` begins; only values that differ from those of now are stored.
    """

    def __init__(self, model: keras.Model):
        self._model = model
        self._first = {index: _texts(item) for index, item in self._objects()}

    def _objects(self) -> Iterator[tuple[int, Any]]:
        owned = (item for item in reachable(self._model) if is_own(item) and not isinstance(item, FunctionType))
        return enumerate(item for item in owned if hasattr(item, "__dict__"))

    def values(self) -> list[Any]:
        """Return ``[number of the object, name of its class, changed attributes]`` for each object that changed."""
        changed = []
        for index, item in self._objects():
            first = self._first.get(index, {})
            names = [name for name, text in _texts(item).items() if first.get(name) != text]
            if names:
                changed.append([index, type(item).__name__, {name: vars(item)[name] for name in names}])
        return changed

    def load(self, values: list[Any]) -> None:
        """Set what ``values`` returned on the objects of this model."""
        objects = dict(self._objects())
        for index, kind, attributes in values:
            if type(objects.get(index)).__name__ == kind:
                load_attributes(objects[index], attributes)


# Attributes of models and layers that are no state of the run: those that fit sets or a FastModel chooses, and those in
# which torch keeps the parts of a module.
_MODES = {
    "built",
    "stop_training",
    "_said",
    "_logs_are_read",
    "_chosen_for",
    "_parts",
    "_dense_reason",
    *vars(torch.nn.Module()),
}


def _texts(item: Any) -> dict[str, Any]:
    """Return each plain attribute as what two states can be compared by."""
    texts = {}
    for name, value in plain_attributes(item, frozenset(_MODES)):
        arrays: Arrays = {}
        texts[name] = encode(value, arrays), [array.tobytes() for array in arrays.values()]
    return texts


def callback_values(callbacks: Sequence[Any]) -> list[Any]:
    """Return ``[plain attributes, bytes of its file so far]`` of each callback."""
    return [
        [dict(plain_attributes(each, _LEFT_OUT)), _csv_size(each)] for each in callbacks
    ]  # fmt: skip


def load_callback_values(callbacks: Sequence[Any], values: list[Any]) -> None:
    """Set the attributes that ``callback_values`` returned, on callbacks of the same classes in the same order.

    The file of a CSVLogger is cut to its length then.
    """
    for each, (attributes, size) in zip(callbacks, values, strict=True):
        load_attributes(each, attributes)
        if isinstance(each, keras.callbacks.CSVLogger):
            path = Path(each.filename)
            if path.stat().st_size > size:  # rows of epochs that are trained again
                os.truncate(path, size)
            each.append_header = path.stat().st_size == 0


def _csv_size(callback: Any) -> int:
    if not isinstance(callback, keras.callbacks.CSVLogger):
        return 0
    path = Path(callback.filename)
    return path.stat().st_size if path.exists() else 0


def load_attributes(owner: Any, values: Values) -> None:
    """Set attributes; lists, dicts, sets and arrays that are there are filled, as others may hold them too."""
    for name, value in values.items():
        present = vars(owner).get(name)
        if isinstance(present, list) and isinstance(value, list):
            list.__setitem__(present, slice(None), value)
        elif isinstance(present, dict | set) and isinstance(value, type(present)):
            present.clear()
            present.update(value)
        elif isinstance(present, np.ndarray) and isinstance(value, np.ndarray) and _same_kind(present, value):
            present[...] = value
        elif isinstance(present, torch.Tensor) and isinstance(value, torch.Tensor) and present.shape == value.shape:
            with torch.no_grad():
                present.copy_(value)
        else:
            setattr(owner, name, value)


def _same_kind(present: Any, value: Any) -> bool:
    return bool(present.shape == value.shape and present.dtype == value.dtype and present.flags.writeable)
