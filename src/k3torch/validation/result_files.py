"""Saves the result of a cross-validation to a folder, and reads it again."""

from collections.abc import Callable, Mapping
import json
from pathlib import Path
from typing import Any

from k3torch.errors import InputError, first_line
from k3torch.files import atomic_folder, reason_of
from k3torch.training.saving import load_model
import numpy as np
from numpy.typing import NDArray

FORMAT = "k3torch cross-validation 1"
_JSON, _ARRAYS = "cross_validation.json", "arrays.npz"
_FIELDS = {"metric": str, "greater_is_better": (bool, type(None)), "engine": str, "feature_names": (list, type(None))}


def save(fields: Mapping[str, Any], folder: Path) -> None:
    """Write the fields of a result to a new or empty folder; they appear there whole or not at all.

    Raises:
        InputError: if the folder is not empty or cannot be written.
    """
    write_folder(folder, lambda draft: write(fields, draft))


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Have a function write to a draft of a new or empty folder, which appears whole or not at all.

    Raises:
        InputError: if the folder is not empty or cannot be written.
    """
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"expected a new or empty folder, got {folder}, which has files: give another name")
        with atomic_folder(folder) as draft:
            write(draft)
    except OSError as error:
        raise InputError(f"expected to write {folder}, got: {reason_of(error)}") from error


def write(fields: Mapping[str, Any], folder: Path) -> None:
    """Write the fields of a result to a folder that exists and is empty."""
    for number, model in enumerate(fields["models"]):
        model.save(folder / _model_name(number))
    arrays: dict[str, NDArray[Any]] = {
        f"history_{number}": values for number, values in enumerate(fields["history"].values())
    }
    for number, (training, validation) in enumerate(fields["indices"]):
        arrays |= {f"training_{number}": training, f"validation_{number}": validation}
    arrays |= {name: fields[name] for name in ("scores", "out_of_fold")}
    np.savez(folder / _ARRAYS, allow_pickle=False, **arrays)
    content = {"format": FORMAT, "models": len(fields["models"]), "history": list(fields["history"])}
    content |= {name: fields[name] for name in _FIELDS}
    (folder / _JSON).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _model_name(number: int) -> str:
    return f"model_{number:03}.keras"


def load(folder: Path) -> dict[str, Any]:
    """Return the fields of the result in a folder, by their names.

    Raises:
        InputError: if it has no such result, or a damaged one.
    """
    content = read_json(folder, _JSON, "CrossValidation.save")
    if not _is_complete(content):
        raise InputError(f"expected {FORMAT!r} in {folder / _JSON}, got something else: save the result again")
    try:
        with np.load(folder / _ARRAYS, allow_pickle=False) as stored:
            arrays: dict[str, NDArray[Any]] = dict(stored)
        numbers = range(content["models"])
        return {
            **{name: content[name] for name in _FIELDS},
            "scores": arrays["scores"],
            "out_of_fold": arrays["out_of_fold"],
            "history": {name: arrays[f"history_{number}"] for number, name in enumerate(content["history"])},
            "indices": [(arrays[f"training_{n}"], arrays[f"validation_{n}"]) for n in numbers],
            "models": [load_model(folder / _model_name(n)) for n in numbers],
        }
    except InputError:
        raise
    except Exception as error:  # a damaged archive raises any: NotImplementedError, zlib.error, EOFError, ...
        raise InputError(f"expected the arrays of a cross-validation in {folder}, got: {first_line(error)}") from error


def read_json(folder: Path, name: str, writer: str) -> Any:
    """Return what a file of a result contains.

    Raises:
        InputError: if the folder is none that ``writer`` wrote.
    """
    try:
        return json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"expected a folder that {writer} wrote, got {folder} ({first_line(error)})") from error


def _is_complete(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return False
    kinds: dict[str, Any] = {**_FIELDS, "models": int, "history": list}
    return all(name in content and isinstance(content[name], kind) for name, kind in kinds.items())
