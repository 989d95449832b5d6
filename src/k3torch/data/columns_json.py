"""The content of columns.json, checked before it is used."""

import json
import math
from pathlib import Path
from typing import Any, Literal, TypedDict

from k3torch.errors import InputError, first_line
import typeguard

FORMAT = "k3torch columns 1"


class ColumnJson(TypedDict):
    """One column that features are made of."""

    name: str
    kind: Literal["number", "bool", "text"]
    values: list[str]
    median: float | None


class ColumnsJson(TypedDict):
    """The whole file."""

    format: Literal["k3torch columns 1"]
    target: str
    task: Literal["regression", "classification"]
    classes: list[str]
    columns: list[ColumnJson]
    missing: Literal["refuse", "drop", "median"]
    dropped: list[str]
    target_kind: Literal["number", "bool", "text"]


def read_columns(path: Path) -> ColumnsJson:
    """Return the content of a file that ``Columns.save`` has written.

    Raises:
        InputError: for a file that is missing or has any other content.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        everything = typeguard.CollectionCheckStrategy.ALL_ITEMS
        checked: ColumnsJson = typeguard.check_type(content, ColumnsJson, collection_check_strategy=everything)
    except (OSError, ValueError, RecursionError, typeguard.TypeCheckError) as error:
        raise InputError(
            f"expected the columns of a table in {path}, as Columns.save writes them, got: {first_line(error)}"
        ) from error
    if problem := _problem(checked):
        raise InputError(f"expected the columns of a table in {path}, as Columns.save writes them, got {problem}")
    return checked


def _problem(content: ColumnsJson) -> str | None:
    """Return what contradicts itself in content of the right types, or None."""
    names = [content["target"], *content["dropped"], *(column["name"] for column in content["columns"])]
    classes = content["classes"]
    if not content["columns"] or len(set(names)) < len(names):
        return "no columns, or one of them twice"
    if len(set(classes)) < len(classes) or (len(classes) >= 2) != (content["task"] == "classification"):
        return f"the classes {classes} for {content['task']}"
    kind = content["target_kind"]
    if (kind == "text" and not classes) or (kind == "bool" and classes not in ([], ["False", "True"])):
        return f"the classes {classes} in the target of kind {kind}"
    for column in content["columns"]:
        values, median = column["values"], column["median"]
        if bool(values) != (column["kind"] == "text") or len(set(values)) < len(values):
            return f"the values {values} in the column {column['name']!r} of kind {column['kind']}"
        if median is not None and not math.isfinite(median):
            return f"the median {median} in the column {column['name']!r}"
        if (median is not None) != (content["missing"] == "median" and column["kind"] != "text"):
            return f"the median {median} in the column {column['name']!r} of kind {column['kind']}"
    return None
