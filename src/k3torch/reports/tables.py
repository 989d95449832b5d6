"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from k3torch import cli
from k3torch.formats import format_number
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class ResultTable(NamedTuple):
    """A table of results; columns after the first are aligned right, None is an empty cell."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output; columns after the first are aligned right, None is an empty cell.

    Floats are written by ``formats.format_number``.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    console = Console()
    console.print(Text(title, style="bold"))  # the title of a rich table is wrapped to the width of the table
    console.print(table)


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
