"""The kind of a column of a table, recognised from its cells: numbers, bools or texts; and what cannot be a feature."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
import re
from typing import Any, Literal
import warnings

from k3torch.errors import InputError, Problem
import numpy as np
from numpy.typing import NDArray
import pandas as pd

Cell = float | bool | str | None | object
"""A number, a bool, a text without spaces around it, None for a missing value, or what cannot be used, such as a
date."""
Kind = Literal["number", "bool", "text"]

MAX_VALUES = 30  # different texts in a column of categories
FLOAT32_MAX = float(np.finfo("float32").max)  # models compute in float32
_BOOLS = {"true": True, "false": False}
_LIKE_A_DATE = re.compile(r"\d{4}|\d\D+\d+\D+\d|\d:\d\d")  # a year, three numbers or a time of day


def cells_of(column: "pd.Series[Any]") -> list[Cell]:
    """Return the cells of a column of any dtype."""
    return [_cell(value) for value in column.astype(object)]


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Real | Decimal):
        return None if value != value else float(value)
    return None if value is None or value is pd.NA or value is pd.NaT else value


def as_bool(cell: Cell) -> bool | None:
    """Return True or False for a bool, the numbers 1 and 0, and the texts true and false in any case, else None."""
    if isinstance(cell, str):
        return _BOOLS.get(cell.lower())
    return bool(cell) if isinstance(cell, bool | float) and cell in (0, 1) else None


def is_missing(cell: Cell, kind: Kind) -> bool:
    """Return whether a column of this kind has no value in the cell: it is empty, or a text among numbers or bools."""
    if kind == "text":
        return cell is None
    return not isinstance(cell, float) if kind == "number" else as_bool(cell) is None


def gaps(cells: Mapping[str, Sequence[Cell]], kinds: Mapping[str, Kind]) -> NDArray[np.bool_]:
    """Return where values are missing, shape (rows, columns), in the order of ``kinds``."""
    return np.array([[is_missing(cell, kind) for cell in cells[name]] for name, kind in kinds.items()], dtype=bool).T


def gap_problem(cells: Mapping[str, Sequence[Cell]], kinds: Mapping[str, Kind], advice: str) -> Problem:
    """Return a problem that names the first missing value and counts all, or None if there is none."""
    missing = gaps(cells, kinds)
    if not missing.any():
        return None
    row, position = np.argwhere(missing)[0]
    name = list(kinds)[position]
    wanted = {"number": "number", "bool": "bool", "text": "value"}[kinds[name]]
    found = "none" if cells[name][row] is None else shown(cells[name][row])
    count = missing.sum()
    more = f" (the first of {count} such cells)" if count > 1 else ""
    return f"a {wanted} in every cell, found {found} in data row {row + 1}, column {name!r}{more}: {advice}"


def numbers_of(cells: Sequence[Cell], name: str) -> NDArray[np.float64]:
    """Return the numbers in the cells, float64, shape (rows,); NaN for other cells.

    Raises:
        InputError: for a number beyond float32.
    """
    values = np.array([cell if isinstance(cell, float) else np.nan for cell in cells], dtype="float64")
    if len(large := np.flatnonzero(np.abs(values) > FLOAT32_MAX)):
        raise InputError(
            f"expected numbers up to {FLOAT32_MAX:.0e}, found {values[large[0]]} in data row {large[0] + 1}, column "
            f"{name!r}"
        )
    return values


def as_text(cell: Cell) -> str:
    """Return a cell as the name of a class or category: ``1`` for 1.0, ``1.5`` for 1.5."""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


def kind_of(cells: Sequence[Cell]) -> tuple[Kind | None, str]:
    """Return the kind of a column, or None and what is in it instead, a phrase that follows the word "found".

    A column with numbers in half of its cells or more is one of numbers: a text in it, such as ``?``, counts as a
    missing value. Empty cells count for no kind.
    """
    present = [cell for cell in cells if cell is not None]
    if not present:
        return None, "no values"
    texts = [cell for cell in present if isinstance(cell, str)]
    numbers = [cell for cell in present if isinstance(cell, float)]
    if all(isinstance(cell, bool) or (isinstance(cell, str) and as_bool(cell) is not None) for cell in present):
        return "bool", ""
    if len(numbers) + len(texts) == len(present) and len(numbers) * 2 >= len(present):
        return "number", ""
    if len(texts) == len(present):
        return ("text", "") if not _are_dates(texts) else (None, f"dates such as {texts[0]!r}")
    return None, _mixed(present)


def _mixed(present: Sequence[Cell]) -> str:
    types = list(dict.fromkeys(_type_name(cell) for cell in present))
    examples = [next(cell for cell in present if _type_name(cell) == name) for name in types[:2]]
    return f"{' and '.join(types)} such as {' and '.join(map(shown, examples))}"


def _type_name(cell: Cell) -> str:
    names = {bool: "bools", float: "numbers", str: "texts"}
    if hasattr(cell, "isoformat") or isinstance(cell, np.datetime64 | np.timedelta64 | pd.Timedelta):
        return "dates"
    return names.get(type(cell), f"cells of type {type(cell).__name__}")


def shown(cell: Cell) -> str:
    """Return a cell as messages show it: texts in quotes."""
    return repr(cell) if isinstance(cell, str) else as_text(cell)[:60]


def _are_dates(texts: Sequence[str]) -> bool:
    different = sorted(set(texts))
    if not all(_LIKE_A_DATE.search(text) for text in different):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on the order of day and month, which does not matter here
        return bool(pd.to_datetime(pd.Series(different), format="mixed", errors="coerce", utc=True).notna().all())


def category_problem(cells: Sequence[Cell], maximum: int = MAX_VALUES) -> str | None:
    """Return why the values of a column are not categories, a phrase that follows the word "found", or None."""
    texts = [as_text(cell) for cell in cells if cell is not None]
    different = len(set(texts))
    if different == len(texts) > 1:
        return f"a different value in every row, such as {texts[0]!r}"
    return f"{different} different values, such as {texts[0]!r}" if different > maximum else None
