"""The target of a table: whether it is a regression or a classification, its classes, and the numbers of both."""

from collections.abc import Sequence
from typing import Literal

from k3torch.data.column_kinds import Cell, Kind, as_text, category_problem, is_missing, kind_of, numbers_of, shown
from k3torch.errors import InputError, refuse, unless
import numpy as np
from numpy.typing import NDArray

Task = Literal["regression", "classification"]
TASKS = ("auto", "regression", "classification")
MAX_CLASSES = 100


def target_kind(cells: Sequence[Cell], name: str) -> Kind:
    """Return the kind of the target.

    Raises:
        InputError: for a column of dates or of cells of several kinds.
    """
    kind, found = kind_of(cells)
    if kind is None:
        raise InputError(f"expected numbers or classes in the target {name!r}, found {found}")
    return kind


def task_of(cells: Sequence[Cell], name: str, task: str) -> tuple[Task, tuple[str, ...]]:
    """Return the task and the names of the classes, in the order of their numbers; regression has none.

    Args:
        cells: of the target, without missing values.
        name: of the target.
        task: "auto" is regression for numbers, unless there are two different ones, else classification.

    Raises:
        InputError: for a target of one value, of texts for a regression, of too many classes.
    """
    numeric = all(isinstance(cell, float) for cell in cells)
    different: list[Cell] = sorted(set(cells), key=None if numeric else as_text)  # type: ignore[type-var, arg-type]
    if len(different) < 2:
        raise InputError(
            f"expected two different values or more in the target {name!r}, found only {shown(different[0])}"
        )
    if task == "regression" or (task == "auto" and numeric and len(different) > 2):
        fits = not any(isinstance(cell, str) for cell in cells)
        refuse([unless(fits, f"numbers in the target {name!r} of a regression, found {different[0]!r}")])
        return "regression", ()
    problem = category_problem(cells, MAX_CLASSES)
    refuse([problem and f"classes of several samples in the target {name!r}, found {problem}"])
    return "classification", tuple(map(as_text, different))


def encode_target(cells: Sequence[Cell], name: str, classes: Sequence[str]) -> NDArray[np.float64]:
    """Return the target of a regression, or where there are classes their numbers, (rows,); NaN where it is missing.

    Raises:
        InputError: for a number beyond float32, a text for a regression, and what is no class.
    """
    kind = target_kind(cells, name)
    if not classes:
        refuse([unless(kind != "text", f"numbers in the target {name!r}, found texts")])
        return numbers_of([float(cell) if isinstance(cell, bool) else cell for cell in cells], name)
    position = {value: float(i) for i, value in enumerate(classes)}
    numbers = np.full(len(cells), np.nan)
    for row, cell in enumerate(cells):
        if is_missing(cell, kind):
            continue
        if as_text(cell) not in position:
            raise InputError(
                f"expected one of the classes {', '.join(classes[:10])} in the target {name!r}, found "
                f"{shown(cell)} in data row {row + 1}"
            )
        numbers[row] = position[as_text(cell)]
    return numbers
