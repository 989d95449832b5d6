"""The target of a table: whether it is a regression or a classification, its classes, and the numbers of both."""

from collections.abc import Sequence
from typing import Literal

from k3torch.data.column import numeric_cells
from k3torch.data.column_kinds import (
    FLOAT32_MAX,
    Cell,
    Kind,
    as_bool,
    as_text,
    category_problem,
    is_missing,
    kind_of,
    numbers_of,
    shown,
)
from k3torch.errors import InputError, refuse, unless
import numpy as np
from numpy.typing import NDArray

Task = Literal["regression", "classification"]
TASKS = ("auto", "regression", "classification")
MAX_CLASSES = 100


def target_kind(cells: Sequence[Cell], name: str) -> Kind:
    """Return the kind of the target, which is decided once: a few rows of the same table may look like another kind.

    Raises:
        InputError: for a column of dates or of cells of several kinds.
    """
    kind, found = kind_of(cells)
    if kind is None:
        raise InputError(f"expected numbers or classes in the target {name!r}, found {found}")
    return kind


def task_of(cells: Sequence[Cell], name: str, task: str, kind: Kind) -> tuple[Task, tuple[str, ...]]:
    """Return the task and the names of the classes, in the order of their numbers; regression has none.

    Args:
        cells: of the target, without missing values.
        name: of the target.
        task: "auto" is regression for numbers, unless there are two different ones, else classification.
        kind: of the target, as ``target_kind`` returns it.

    Raises:
        InputError: for a target of one value, of texts for a regression, of too many classes.
    """
    values = [as_bool(cell) for cell in cells] if kind == "bool" else cells
    different: list[Cell] = sorted(set(values), key=None if kind == "number" else as_text)  # type: ignore[type-var, arg-type]
    if len(different) < 2:
        raise InputError(
            f"expected two different values or more in the target {name!r}, found only {shown(different[0])}"
        )
    if task == "regression" or (task == "auto" and kind == "number" and len(different) > 2):
        refuse([unless(kind != "text", f"numbers in the target {name!r} of a regression, found {different[0]!r}")])
        return "regression", ()
    problem = category_problem(values, MAX_CLASSES)
    refuse([problem and f"classes of several samples in the target {name!r}, found {problem}"])
    return "classification", tuple(map(as_text, different))


def encode_target(cells: Sequence[Cell], name: str, classes: Sequence[str], kind: Kind) -> NDArray[np.float64]:
    """Return the target of a regression, or where there are classes their numbers, (rows,); NaN where it is missing.

    Args:
        cells: of the target.
        name: of the target.
        classes: their names, as ``task_of`` returns them.
        kind: of the target in the table that the columns were fitted on.

    Raises:
        InputError: for a number beyond float32, and a value that is not a class.
    """
    if not classes:
        return numbers_of(numeric_cells(cells, kind), name)
    numbers = known_target(cells, classes, kind)
    for row in np.flatnonzero(np.isnan(numbers)).tolist():
        if not is_missing(cells[row], kind):
            raise InputError(
                f"expected one of the classes {', '.join(classes[:10])} in the target {name!r}, found "
                f"{shown(cells[row])} in data row {row + 1}"
            )
    return numbers


def known_target(cells: Sequence[Cell], classes: Sequence[str], kind: Kind) -> NDArray[np.float64]:
    """Return what ``encode_target`` returns, with NaN instead of an error where it refuses a value."""
    if not classes:
        values = [cell if isinstance(cell, float) else np.nan for cell in numeric_cells(cells, kind)]
        return np.array([value if abs(value) <= FLOAT32_MAX else np.nan for value in values], dtype="float64")
    position = {value: float(i) for i, value in enumerate(classes)}
    # Among bools the texts true and TRUE are the class True, as they are the same feature.
    names = ["" if is_missing(cell, kind) else as_text(as_bool(cell) if kind == "bool" else cell) for cell in cells]
    return np.array([position.get(name, np.nan) for name in names], dtype="float64")
