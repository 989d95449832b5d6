"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
import re
from typing import NamedTuple

from k3torch import cli
from k3torch.formats import format_number
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

UNLIMITED = 1 << 20  # columns of a terminal on which each table fits
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # in names of files and columns, which a terminal would act on


class ResultTable(NamedTuple):
    """A table of results; columns after the first are aligned right, None is an empty cell."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output; columns after the first are aligned right, None is an empty cell.

    Floats are written by ``formats.format_number``. Where the terminal is too narrow, headings are wrapped between
    words; where it is too narrow for that, cells are wrapped too.
    """
    console, rows = Console(), list(rows)
    on_one_line, wrapped = _table(columns, rows), _table(columns, rows, wrap_headings=True)
    console.print(
        Text(_printable(title), style="bold")
    )  # the title of a rich table is wrapped to the width of the table
    console.print(wrapped if not _fits(on_one_line, console) and _fits(wrapped, console) else on_one_line)


def fits(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
    """Return whether ``show`` prints a table without wrapping a cell."""
    return _fits(_table(columns, rows, wrap_headings=True), Console())


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, wrap_headings: bool = False) -> Table:
    columns = list(map(_printable, columns))
    texts = [[_printable(cell(value)) for value in row] for row in rows]
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        whole = [*column.split(), *(row[number] for row in texts)]
        table.add_column(
            Text(column),  # a str could have brackets, which rich takes for a style
            justify="left" if number == 0 else "right",
            overflow="fold",
            width=max(map(cell_len, whole), default=0) if wrap_headings else None,
        )
    for row in texts:
        table.add_row(*map(Text, row))
    return table


def _printable(text: str) -> str:
    return _CONTROLS.sub("\N{REPLACEMENT CHARACTER}", text)


def _fits(table: Table, console: Console) -> bool:
    unlimited = console.options.update(max_width=UNLIMITED)
    return Measurement.get(console, unlimited, table).maximum <= console.width


def show_results(results: Sequence[ResultTable | str]) -> None:
    """Print tables, and lines wrapped at the terminal's width, with an empty line between a line and a table."""
    for result, following in zip(results, [*results[1:], ""], strict=True):
        if isinstance(result, str):
            print(cli.wrapped(result), end="\n\n" if isinstance(following, ResultTable) else "\n")
        else:
            show(*result)


def cell(value: object) -> str:
    """Return a value as text: nothing for None."""
    if value is None:
        return ""
    return format_number(value) if isinstance(value, float) else str(value)
