"""Saves the result of a search to a folder, and reads it again."""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from k3torch.errors import InputError, first_line
from k3torch.training.saving import load_model
from k3torch.validation import result_files
import numpy as np
from numpy.typing import NDArray

FORMAT = "k3torch search 1"
_JSON, _ARRAYS, _MODEL, _ENSEMBLE = "search.json", "candidates.npz", "best_model.keras", "ensemble"
_FIELDS: dict[str, Any] = {"params": list, "best_index": int, "ensemble_score": float, "outer": (list, type(None))}
_NUMBERS = ("scores", "epochs", "seconds")
_OF_OUTER = ("samples", "predictions")  # arrays of an outer fold


def save(fields: Mapping[str, Any], folder: Path) -> None:
    """Write the fields of a result to a new or empty folder; they appear there whole or not at all.

    Args:
        fields: by their names; the outer folds as dicts, the ensemble as the fields of its cross-validation.
        folder: where to.

    Raises:
        InputError: if the folder is not empty or cannot be written.
    """
    result_files.write_folder(folder, lambda draft: _write(fields, draft))


def _write(fields: Mapping[str, Any], folder: Path) -> None:
    fields["best_model"].save(folder / _MODEL)
    (folder / _ENSEMBLE).mkdir()
    result_files.write(fields["ensemble"], folder / _ENSEMBLE)
    arrays = {name: fields[name] for name in _NUMBERS}
    content = {"format": FORMAT, **{name: fields[name] for name in _FIELDS}}
    if fields["outer"] is not None:
        for number, fold in enumerate(fields["outer"]):
            arrays |= {f"{name}_{number}": fold[name] for name in _OF_OUTER}
        content["outer"] = [{name: fold[name] for name in fold if name not in _OF_OUTER} for fold in fields["outer"]]
    np.savez(folder / _ARRAYS, allow_pickle=False, **arrays)
    (folder / _JSON).write_text(json.dumps(content, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    """Return a parameter as numbers and texts; what is neither, such as an initializer, as the text that shows it."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else repr(value)


def load(folder: Path) -> dict[str, Any]:
    """Return the fields of the result in a folder, as ``save`` gets them.

    Raises:
        InputError: if it has no such result, or a damaged one.
    """
    content = result_files.read_json(folder, _JSON, "SearchResult.save")
    try:
        with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
            arrays: dict[str, NDArray[Any]] = dict(stored)
    except Exception as error:  # a damaged archive raises any: NotImplementedError, zlib.error, EOFError, ...
        raise InputError(f"expected the arrays of a search in {folder}, got: {first_line(error)}") from error
    if not (_is_complete(content) and _fits(content, arrays)):
        raise InputError(f"expected {FORMAT!r} in {folder / _JSON}, got something else: save the result again")
    outer = content["outer"]
    return {
        **{name: content[name] for name in _FIELDS},
        **{name: arrays[name] for name in _NUMBERS},
        "outer": outer and [fold | {name: arrays[f"{name}_{n}"] for name in _OF_OUTER} for n, fold in enumerate(outer)],
        "best_model": load_model(folder / _MODEL),
        "ensemble": result_files.load(folder / _ENSEMBLE),
    }


def _is_complete(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    if not all(name in content and isinstance(content[name], kind) for name, kind in _FIELDS.items()):
        return False
    kinds: dict[str, Any] = {"params": dict, "epochs": int, "inner_score": float, "score": float}
    outer = content["outer"] or []
    folds = all(isinstance(fold, dict) and fold.keys() == kinds.keys() for fold in outer)
    return folds and all(isinstance(fold[name], kind) for fold in outer for name, kind in kinds.items())


def _fits(content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bool:
    """Return whether there are numbers for each candidate and each outer fold."""
    params = content["params"]
    outer = [[f"{name}_{number}" for name in _OF_OUTER] for number, _ in enumerate(content["outer"] or [])]
    names = {*_NUMBERS, *(name for of_fold in outer for name in of_fold)}
    if not names <= arrays.keys() or not all(isinstance(values, dict) for values in params):
        return False
    if any(arrays[samples].shape != arrays[predictions].shape[:1] for samples, predictions in outer):
        return False
    shapes = all(arrays[name].shape[:1] == (len(params),) for name in _NUMBERS) and arrays["scores"].ndim == 3
    return shapes and 0 <= content["best_index"] < len(params)
