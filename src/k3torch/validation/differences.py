"""Where two compiled Keras models differ in more than their weights."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import isfunction
from typing import Any

from k3torch.errors import first_line
from k3torch.stack import stateless
import keras
import numpy as np
import torch

Names = dict[str, str]

# Keys of a configuration whose values refer to layers by name; the names differ between equal models.
_REFERENCES = ("keras_history", "input_layers", "output_layers", "name")
# Keys that are left out of messages, since they say nothing to the user.
_SILENT = ("config", "class_name", "registered_name", "module", "value")


def difference_between_models(first: keras.Model, second: keras.Model) -> str | None:
    """Return the first setting in which the models differ, such as ``"layer 2: units 64 and 32"``, or None.

    The configurations of the models and what ``compile`` was given are compared, arrays, functions and custom objects
    included. Weights and seeds are not, nor are the names of layers; other names are compared without the number that
    Keras appends (``auc_1``). Layers are counted from 1, without inputs.
    """
    try:
        settings = [(model.get_config(), model.get_compile_config()) for model in (first, second)]
    except (NotImplementedError, TypeError, ValueError) as error:  # a custom layer without get_config
        return f"no configuration to compare ({first_line(error)})"
    return (
        _difference(settings[0][0], settings[1][0], {}, ())
        or _difference(settings[0][1], settings[1][1], None, ())
        or next(_function_differences(first, second), None)
    )


def _difference(a: Any, b: Any, names: Names | None, path: tuple[str, ...]) -> str | None:
    """Return the first difference of two configurations.

    Args:
        a: of the first model, or a part of it.
        b: of the second model.
        names: maps each layer name of the first model to that of the second, and is filled on the way. None for what
            ``compile`` was given, in which names must be equal up to a number at their end.
        path: the keys that lead from the whole configuration to ``a`` and ``b``.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return _mapping_difference(a, b, names, path)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            kind = "layers" if path and path[-1] == "layers" else "entries"
            return _said(path, f"{len(a)}", f"{len(b)} {kind}")
        labels = _labels(a, path)
        pairs = zip(a, b, labels, strict=True)
        return next((d for x, y, label in pairs if (d := _difference(x, y, names, (*path, label)))), None)
    if isinstance(a, np.ndarray | torch.Tensor) and isinstance(b, np.ndarray | torch.Tensor):
        return None if _equal_arrays(_array(a), _array(b)) else _said(path, "one array", "another")
    if isfunction(a) and isfunction(b):
        return None if _same_function(a, b) else _said(path, f"function {a.__qualname__}", "another of that name")
    if _is_name(path) and isinstance(a, str) and isinstance(b, str):
        same = _without_number(a) == _without_number(b) if names is None else names.setdefault(a, b) == b
        return None if same else _said(path, repr(a), repr(b))
    if type(a) is type(b) and hasattr(a, "get_config"):
        return _difference(a.get_config(), b.get_config(), names, path)
    return None if _equal(a, b) else _said(path, _short(a), _short(b))


def _mapping_difference(
    a: Mapping[str, Any], b: Mapping[str, Any], names: Names | None, path: tuple[str, ...]
) -> str | None:
    if "layers" in a and names is not None:
        names = {}  # an inner model may use the names of an outer one again
    # The kind of object first, and its layers before the references to them.
    first = ("class_name", "layers")
    for key in sorted({*a, *b}, key=lambda key: (first.index(key) if key in first else len(first), str(key))):
        if key == "seed":
            continue
        if key not in a or key not in b:
            return _said(path, f"{key} {_short(a.get(key, 'missing'))}", _short(b.get(key, "missing")))
        if difference := _difference(a[key], b[key], names, (*path, str(key))):
            return difference
    return None


def _labels(values: Sequence[Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield a name for each entry of a list: ``"layer 1"`` ... for layers, else the position."""
    number = 0
    for position, value in enumerate(values, start=1):
        if path and path[-1] == "layers" and isinstance(value, Mapping):
            is_input = value.get("class_name") == "InputLayer"
            number += not is_input
            yield "input" if is_input else f"layer {number}"
        else:
            yield str(position)


def _is_name(path: tuple[str, ...]) -> bool:
    keys = [key for key in path if not key.isdigit()]
    return bool(keys) and any(key in _REFERENCES for key in keys[-2:])


def _without_number(name: str) -> str:
    stem, _, number = name.rpartition("_")
    return stem if stem and number.isdigit() else name


def _function_differences(first: Any, second: Any) -> Iterator[str]:
    """Yield the differences between functions, for which a configuration has only a name."""
    if difference := _difference([first.loss], [second.loss], None, ("loss",)):
        yield difference
    if difference := _difference(
        stateless.compiled_metrics(first), stateless.compiled_metrics(second), None, ("metrics",)
    ):
        yield difference
    yield from _layer_functions(first, second, ())


def _layer_functions(first: Any, second: Any, path: tuple[str, ...]) -> Iterator[str]:
    for number, (a, b) in enumerate(zip(first.layers, second.layers, strict=True), start=1):
        place = (*path, f"layer {number}")
        for name, value in vars(a).items():
            # Keras wraps some methods of its classes for each object.
            own = isfunction(value) and not hasattr(type(a), name)
            if own and (difference := _difference(value, vars(b).get(name), {}, (*place, name))):
                yield difference
        if hasattr(a, "layers"):
            yield from _layer_functions(a, b, place)


def _same_function(a: Any, b: Any) -> bool:
    """Return whether two functions have the same code, defaults and captured values."""
    if a is b:
        return True
    captured = [[cell.cell_contents for cell in function.__closure__ or ()] for function in (a, b)]
    captured[0] += [a.__defaults__, a.__kwdefaults__]
    captured[1] += [b.__defaults__, b.__kwdefaults__]
    return a.__code__ == b.__code__ and _difference(captured[0], captured[1], None, ()) is None


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _equal_arrays(a: Any, b: Any) -> bool:
    numeric = a.dtype.kind in "fc"
    return a.dtype == b.dtype and bool(np.array_equal(a, b, equal_nan=numeric))


def _equal(a: Any, b: Any) -> bool:
    """Return whether two values are equal; objects that cannot be compared are not."""
    try:
        return bool(a == b) or (a != a and b != b)
    except (TypeError, ValueError, RuntimeError):
        return False


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "class_name" in value:
        name = value.get("config") if value["class_name"] == "function" else value["class_name"]
        return str(name)
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _said(path: tuple[str, ...], a: str, b: str) -> str:
    """Return a phrase such as ``"layer 2: units 64 and 32"``."""
    place = ", ".join(key for key in path if key.startswith("layer ") or key in ("input", "optimizer"))
    hidden = [*_SILENT, "input", "layers", "optimizer"]
    keys = [key for key in path if not key.startswith("layer ") and key not in hidden]
    return f"{place}{': ' if place else ''}{' '.join([*keys, a])} and {b}"
