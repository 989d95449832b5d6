"""State that the caller's own objects and functions hold in Python, as a copy that can be put back.

A layer may count its calls in an attribute, a metric may collect values in a list, a loss function may keep a number
in its closure or in a global variable, and each of them may have a random generator. Containers of more than
``MAX_ITEMS`` items and arrays of more than ``MAX_BYTES`` are assumed to be data: they are neither copied nor compared.
"""

from collections import deque
from collections.abc import Callable, Iterator
import functools
import random
import sys
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np
import torch

MAX_ITEMS, MAX_BYTES = 10_000, 2**24

# Objects and functions of these packages are not the caller's own: their attributes and variables are not copied.
_LIBRARIES = {"keras", "torch", "k3torch", "optree", "numpy", "scipy", "sklearn", *sys.stdlib_module_names} - {
    "__main__"
}
_NOT_SEARCHED = _LIBRARIES - {"keras", "k3torch"}  # objects of Keras may hold the caller's own
_PLAIN = (int, float, complex, str, bytes, type(None), np.generic)
_CONTAINERS = (list, tuple, dict, set, deque)
_LEAVES = (*_PLAIN, type, ModuleType, np.ndarray, torch.Tensor, keras.Variable)  # no search goes on from them
# Attributes that a step may change although they are no state of the model: those in which a FastModel keeps the parts
# of its step and their verification, and the mode of torch modules, which fit sets.
_NOT_STATE = {"_parts", "_chosen_for", "_verification", "_said", "_logs_are_read", "_dense_reason", "training"}


def reachable(model: keras.Model, through_functions: bool = True) -> list[Any]:
    """Return the model and all objects and functions that can be reached from it.

    The search goes on from the items of containers, the attributes of objects of Keras and of the caller, and the
    parts of partial functions and methods. Numbers, strings, arrays, tensors, variables, classes, modules and the
    containers themselves are not returned.

    Args:
        model: where the search begins.
        through_functions: whether it also goes on from the closures of the caller's functions, and from the global
            variables that these name.
    """
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model]
    while waiting:
        item = waiting.pop()
        kind = _kind(type(item))  # type: ignore[arg-type]
        if kind == "leaf" or id(item) in seen:
            continue
        seen.add(id(item))
        if kind == "container":
            waiting.extend(_items(item))
            continue
        found.append(item)
        if through_functions or not isinstance(item, FunctionType):
            waiting.extend(_held_by(item))
    return found


@functools.lru_cache(maxsize=4096)  # a fit looks at thousands of objects of some hundred classes in each epoch
def _kind(of_class: type) -> str:
    """Return whether the search goes on from the items of an object ("container"), from nothing ("leaf"), or else."""
    if issubclass(of_class, _LEAVES):
        return "leaf"
    return "container" if issubclass(of_class, _CONTAINERS) else "object"


def _items(container: Any) -> list[Any]:
    if len(container) > MAX_ITEMS:
        return []
    return list(container.values()) if isinstance(container, dict) else list(container)


def _held_by(item: Any) -> list[Any]:
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if isinstance(item, MethodType):
        return [item.__self__, item.__func__]
    if isinstance(item, FunctionType):
        return [value for _, _, value in _variables(item)] if is_own(item) else []
    if _library(item) in _NOT_SEARCHED:
        return []
    left_out = _NOT_STATE if isinstance(item, keras.Model) else ()
    return [value for name, value in _attributes(item) if name not in left_out]


def is_own(item: Any) -> bool:
    """Return whether an object or function is the caller's own: its class, or the function, is of no library."""
    return _library(item) not in _LIBRARIES


def _library(item: Any) -> str:
    module = item.__module__ if isinstance(item, FunctionType) else type(item).__module__
    return str(module).partition(".")[0]


def _attributes(item: Any) -> list[tuple[str, Any]]:
    """Return the names and values of an object's attributes, those in ``__slots__`` included."""
    own = _slots_of(type(item))  # type: ignore[arg-type]
    slots = [name for name in own if hasattr(item, name)]
    return [*getattr(item, "__dict__", {}).items(), *((name, getattr(item, name)) for name in slots)]


@functools.lru_cache(maxsize=4096)
def _slots_of(kind: type) -> tuple[str, ...]:
    return tuple(name for base in kind.__mro__ for name in _slots(base))


def _slots(kind: type) -> tuple[str, ...]:
    slots = vars(kind).get("__slots__", ()) if kind.__module__.partition(".")[0] not in _LIBRARIES else ()
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _variables(function: FunctionType) -> Iterator[tuple[str, Callable[[Any], None], Any]]:
    """Yield (name, function that sets it, value) of each variable in a function's closure or among its globals."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, functools.partial(setattr, cell, "cell_contents"), cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield name, functools.partial(function.__globals__.__setitem__, name), function.__globals__[name]


def _global_names(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_global_names, inner))


class PythonState:
    """A copy of the state that the caller's own objects and functions hold.

    Args:
        model: the objects and functions are those that can be reached from it.
        kept: ids of tensors that are copied elsewhere, and left out here.

    Attributes:
        values: numbers, strings and copies of arrays, to compare two states. A key is the id of the object or function
            that holds the value, and a phrase for the user, such as ``"'calls' of Counts"``.
    """

    def __init__(self, model: keras.Model, kept: set[int]):
        self.values: dict[tuple[int, str], Any] = {}
        self._undo: list[Callable[[], None]] = []
        self._seen = set(kept)
        for item in filter(is_own, reachable(model)):
            if isinstance(item, FunctionType):
                self._function(item)
                continue
            self._attributes_of(item)
            for kind in type(item).__mro__:
                if kind.__module__.partition(".")[0] not in _LIBRARIES:
                    for method in vars(kind).values():
                        if isinstance(method, FunctionType) and id(method) not in self._seen:
                            self._seen.add(id(method))
                            self._function(method)

    def restore(self) -> None:
        """Put everything back, in place."""
        for undo in self._undo:
            undo()

    def _function(self, function: FunctionType) -> None:
        for variable, set_value, value in list(_variables(function)):
            if isinstance(value, _PLAIN):
                self._undo.append(functools.partial(set_value, value))
            self._copy((id(function), f"{variable!r} of {function.__name__}()"), value)

    def _attributes_of(self, item: Any) -> None:
        before = dict(_attributes(item))
        for name, value in before.items():
            if name not in _NOT_STATE:
                self._copy((id(item), f"{name!r} of {type(item).__name__}"), value)
        self._undo.append(functools.partial(_reset_attributes, item, before))

    def _copy(self, path: tuple[int, str], value: Any) -> None:
        """Add a value to ``values``, and what restores it to ``_undo``; of a container, do so for its items."""
        if isinstance(value, _PLAIN):
            self.values[path] = value
        elif id(value) in self._seen:
            return
        elif isinstance(value, np.ndarray | torch.Tensor):
            self._copy_array(path, value)
        elif isinstance(value, _CONTAINERS) and len(value) <= MAX_ITEMS:
            self._copy_container(path, value)
        elif (state := generator_state(value)) is not None:
            get, put = state
            before = get()
            self.values[path] = str(before if not isinstance(before, torch.Tensor) else before.tolist())
            self._undo.append(functools.partial(put, before))
        self._seen.add(id(value))

    def _copy_array(self, path: tuple[int, str], value: Any) -> None:
        if value.nbytes > MAX_BYTES or isinstance(value, torch.nn.Parameter) or value.dtype == object:
            return
        if isinstance(value, torch.Tensor) and (value.is_meta or value.layout != torch.strided):
            return
        copy = value.copy() if isinstance(value, np.ndarray) else value.detach().clone()
        self.values[path] = copy
        self._undo.append(functools.partial(_write_back, value, copy))

    def _copy_container(self, path: tuple[int, str], value: Any) -> None:
        self._seen.add(id(value))
        pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        if not isinstance(value, tuple):
            self._undo.append(functools.partial(_refill, value, [v for _, v in pairs], dict(pairs)))
        for key, item in pairs if not isinstance(value, set) else ():
            self._copy((path[0], f"{path[1]}[{key!r}]"), item)
        self.values[path[0], f"the length of {path[1]}"] = len(value)


def _reset_attributes(item: Any, before: dict[str, Any]) -> None:
    now = dict(_attributes(item))
    for name, value in before.items():
        if name not in _NOT_STATE and now.get(name) is not value:
            object.__setattr__(item, name, value)
    for name, value in now.items():
        held = isinstance(value, (*_PLAIN, *_CONTAINERS, np.ndarray)) and not isinstance(value, keras.Variable)
        if name not in before and name not in _NOT_STATE and held:
            object.__delattr__(item, name)


def _write_back(array: Any, copy: Any) -> None:
    if isinstance(array, np.ndarray):
        if array.flags.writeable:
            array[...] = copy
    elif array.shape == copy.shape:
        with torch.no_grad():
            array.copy_(copy)


def _refill(container: Any, items: list[Any], mapping: dict[Any, Any]) -> None:
    """Give a container its items back, by the methods of ``list``, ``dict`` and ``set`` themselves.

    Subclasses, such as Keras's tracked lists, override these methods to do more.
    """
    if isinstance(container, dict):
        if not _comparable(mapping) or list(container.items()) != list(mapping.items()):
            dict.clear(container)
            dict.update(container, mapping)
    elif isinstance(container, list):
        list.__setitem__(container, slice(None), items)
    elif isinstance(container, set):
        set.clear(container)
        set.update(container, items)
    else:
        container.clear()
        container.extend(items)


def _comparable(mapping: dict[Any, Any]) -> bool:
    return all(isinstance(value, _PLAIN) for value in mapping.values())


def generator_state(value: Any) -> tuple[Callable[[], Any], Callable[[Any], Any]] | None:
    """Return how to get and to set the state of a random generator, or None for anything else."""
    if isinstance(value, np.random.Generator):
        bits: Any = value.bit_generator
        return (lambda: bits.state), (lambda state: setattr(bits, "state", state))
    if isinstance(value, np.random.RandomState):
        return value.get_state, value.set_state
    if isinstance(value, random.Random):
        return value.getstate, value.setstate
    if isinstance(value, torch.Generator):
        return value.get_state, value.set_state
    return None
