"""All that a training step may change, as a copy that can be put back."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
import random
import sys
from types import FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np
import torch

GRADIENT = "gradient of "  # begins the names of gradients
_LEAVES = (str, bytes, int, float, complex, type(None), type, ModuleType, FunctionType, MethodType, np.ndarray)
_LIBRARIES = {"keras", "torch", "k3torch", "optree", *sys.stdlib_module_names}  # their objects hold no such state
_NOT_SEARCHED = {"torch", "optree", *sys.stdlib_module_names}


@dataclass(frozen=True)
class State:
    """A copy of what a step may change.

    Attributes:
        tensors: by name, detached copies.
        attributes: numbers and strings among the attributes of the caller's own objects, by (object id, name).
        random: the random states of torch, NumPy and Python.
    """

    tensors: dict[str, torch.Tensor]
    attributes: dict[tuple[int, str], Any]
    random: tuple[Any, ...]

    @classmethod
    def of(cls, model: keras.Model) -> "State":
        """Copy the present state of ``model`` and of the random generators."""
        tensors = {name: tensor.detach().clone() for name, tensor in named_tensors(model)}
        gradients = {
            GRADIENT + name: tensor.grad.clone() for name, tensor in named_tensors(model) if tensor.grad is not None
        }
        attributes = {(id(item), name): value for item in _own_objects(model) for name, value in _plain(item)}
        return cls(tensors | gradients, attributes, _random_states())

    def restore(self, model: keras.Model) -> None:
        """Write everything but the gradients back."""
        with torch.no_grad():
            for name, tensor in named_tensors(model):
                tensor.copy_(self.tensors[name])
        for item in _own_objects(model):
            for name, _ in _plain(item):
                if (id(item), name) in self.attributes:
                    object.__setattr__(item, name, self.attributes[id(item), name])
        _set_random_states(self.random)


def named_tensors(model: keras.Model) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor of the state once: Keras's variables, then torch parameters and buffers that are none."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else ()), *model.metrics_variables]
    named = [(variable.path, variable.value) for variable in variables]
    # A model knows the torch parts of nested layers only where they are Keras variables.
    for layer in layers_of(model):
        parts = [*layer.named_parameters(), *layer.named_buffers()]
        named += [(f"{layer.name}.{name}", tensor) for name, tensor in parts]
    seen: set[int] = set()
    names: Counter[str] = Counter()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            names[name] += 1
            yield name if names[name] == 1 else f"{name} ({names[name]})", tensor


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """Return the model and all layers in it, wherever they are held."""
    return [item for item in _reachable(model) if isinstance(item, keras.Layer)]


def _own_objects(model: keras.Model) -> list[Any]:
    """Return the layers, losses, metrics, schedules, ... whose class is the caller's own, wherever they are held."""
    return [item for item in _reachable(model) if _library(item) not in _LIBRARIES]


def _reachable(model: keras.Model) -> list[Any]:
    """Return the objects that the model holds, directly or through others, but not what torch's objects hold."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, _LEAVES):
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set):
            waiting.extend(item)
        elif hasattr(item, "__dict__"):
            found.append(item)
            if _library(item) not in _NOT_SEARCHED:
                waiting.extend(vars(item).values())
    return found


def _library(item: Any) -> str:
    return type(item).__module__.partition(".")[0]


def _plain(item: Any) -> list[tuple[str, Any]]:
    """Return the attributes that are numbers or strings, but for the mode of torch modules, which fit sets."""
    own = vars(item).items()
    return [(k, v) for k, v in own if isinstance(v, int | float | complex | str) and k != "training"]


def _random_states() -> tuple[Any, ...]:
    devices = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), np.random.get_state(), random.getstate(), *devices


def _set_random_states(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    for state in states[3:]:
        torch.cuda.set_rng_state(state)
