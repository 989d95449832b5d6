"""Predict a column of a table with the model of a run.

    k3torch predict-table runs/table-TIME new.csv
    k3torch predict-table runs/table-TIME new.xlsx --out predictions.csv

The run is one of kfold-table, kfold-boston or search-boston. The table needs the columns that the model was trained on,
in any order; others are ignored. The output is the table as CSV, its cells as they are in the file, with the prediction
as a further column, and for classes their probabilities. If the table has the target too, the last line on standard
error is the error or accuracy.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from k3torch import cli
from k3torch.options import Device, Flag, TableFormat, shown_as
import tyro


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    run: tyro.conf.Positional[Annotated[Path, shown_as("RUN")]]
    """A run folder of kfold-table, kfold-boston or search-boston."""
    table: tyro.conf.Positional[Annotated[Path, shown_as("TABLE")]]
    """A .csv, .tsv, .txt, .xlsx or .parquet file, also compressed."""
    out: Annotated[Path | None, shown_as("PATH", "standard output")] = None
    """A new CSV file for the predictions."""
    force: Flag = False
    """Replace the file if it exists."""
    device: Annotated[Device, shown_as("DEVICE")] = "auto"
    """One of {auto,cpu,cuda,mps}."""
    table_format: TableFormat = TableFormat()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

import sys

from k3torch import runtime
from k3torch.data.columns import COLUMNS, Columns
from k3torch.data.table import valid_target
from k3torch.data.table_files import read_frame_and_cells
from k3torch.errors import InputError
from k3torch.files import atomic_path
from k3torch.formats import format_number
from k3torch.models.probabilities import of_classes
from k3torch.serving.tables import Float, TableModel
import numpy as np
import pandas as pd


def main(settings: Settings) -> None:
    """Write the table with the predictions, and say how good they are where the target is known."""
    check(settings)
    runtime.configure(settings.device)
    model = TableModel(settings.run)
    columns = model.columns
    frame, cells = read_frame_and_cells(settings.table, **vars(settings.table_format))
    check_names(model.new_names(), frame, settings.table)
    outputs = model.outputs(frame)
    if ignored := columns.ignored(frame):
        print(f"ignoring columns that the model was not trained on: {', '.join(ignored)}", file=sys.stderr)
    found = model.predictions(outputs)
    said = score(columns, valid_target(frame, columns), outputs) if columns.target in frame else None
    write(pd.concat([cells.reset_index(drop=True), found], axis=1), settings.out)
    if said:
        print(said, file=sys.stderr)


def check(settings: Settings) -> None:
    """Refuse what cannot be used, before anything is loaded."""
    if missing := [name for name in (COLUMNS, "model.keras") if not (settings.run / name).is_file()]:
        raise InputError(
            f"expected a run folder of kfold-table, kfold-boston or search-boston, got {settings.run} "
            f"without {' and '.join(missing)}: a complete run writes both, and prints the path of its folder"
        )
    if settings.out is not None and settings.out.suffix.lower() not in (".csv", ".txt"):
        raise InputError(f"expected --out as a file ending in .csv or .txt, got {settings.out}: the output is CSV")
    if settings.out is not None and settings.out.exists() and not settings.force:
        raise InputError(f"expected a new file for --out, found {settings.out}: --force replaces it")


def check_names(names: list[str], frame: pd.DataFrame, path: Path) -> None:
    """Refuse a table that has a column with the name of a new one, such as the output of an earlier call."""
    if taken := [name for name in names if name in frame]:
        them = "it" if len(taken) == 1 else "them"
        raise InputError(
            f"expected a table without {' and '.join(map(repr, taken))}, which the output adds, got {path}: rename "
            f"{them} or leave {them} out"
        )


def write(table: pd.DataFrame, path: Path | None) -> None:
    """Write CSV to a file, whole or not at all, or to standard output."""
    if path is None:
        table.to_csv(sys.stdout, index=False)
        return
    try:
        with atomic_path(path) as draft:
            table.to_csv(draft, index=False)
    except OSError as error:
        raise InputError(f"expected to write {path}, got: {error.strerror}") from error
    print(f"{len(table):,} rows written to {path}", file=sys.stderr)


def score(columns: Columns, y: Float, outputs: Float) -> str:
    """Return the mean absolute error or the accuracy of the rows with a valid target in one line."""
    valid = np.isfinite(y)
    classes = f"of the classes {', '.join(columns.classes[:10])}"
    one, none = (f"one {classes}", f"none {classes}") if columns.classes else ("a number", "no number")
    if not valid.any():
        return f"no score: no row has {one} as {columns.target}"
    note = "" if valid.all() else f" ({valid.sum():,} of {len(y):,} rows: the others have {none} there)"
    if columns.classes:
        right = of_classes(outputs).argmax(axis=1)[valid] == y[valid]
        return f"accuracy of {columns.target}: {right.mean():.4f}{note}"
    errors = np.abs(outputs[valid, 0] - y[valid])
    return f"mean absolute error of {columns.target}: {format_number(float(errors.mean()))}{note}"


if __name__ == "__main__":
    cli.run(main, SETTINGS)
