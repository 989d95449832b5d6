"""Tables on the terminal."""

from collections.abc import Iterable, Sequence

from k3torch.formats import format_number
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on standard output; columns after the first are aligned right, None is an empty cell.

    Floats are written by ``formats.format_number``.
    """
    table = Table(box=box.SIMPLE_HEAD)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console = Console()
    console.print(Text(title, style="bold"))  # the title of a rich table is wrapped to the width of the table
    console.print(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return format_number(value) if isinstance(value, float) else str(value)
