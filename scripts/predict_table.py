"""Predict a column of a table with a model of kfold-table.

    k3torch predict-table runs/table-TIME new.csv
    k3torch predict-table runs/table-TIME new.xlsx --out predictions.csv

Models of kfold-boston can be used too. The table needs the columns that the model was trained on, in any order; others
are ignored. The output is the table as CSV with the prediction as a further column, and for classes their
probabilities. If the table has the target too, the last line on standard error is the error or accuracy.
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
    """A run folder of kfold-table or kfold-boston."""
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
from typing import Any

from k3torch import runtime
from k3torch.data.columns import Columns
from k3torch.data.table import Table
from k3torch.data.table_files import read_frame
from k3torch.errors import InputError
from k3torch.files import atomic_path
from k3torch.formats import format_number
from k3torch.training.saving import load_model
from k3torch.validation.predictions import predict
import numpy as np
from numpy.typing import NDArray
import pandas as pd

Float = NDArray[np.float64]


def main(settings: Settings) -> None:
    """Write the table with the predictions, and say how good they are where the target is known."""
    check(settings)
    runtime.configure(settings.device)
    columns = Columns.load(settings.run / "columns.json")
    model = load_model(settings.run / "model.keras", (None, len(columns.features)))
    frame = read_frame(settings.table, **vars(settings.table_format))
    outputs = predict(model, columns.encode(frame))
    found = predictions(columns, outputs)
    write(pd.concat([frame.reset_index(drop=True), found], axis=1), settings.out)
    if columns.target in frame and frame[columns.target].notna().all():
        print(score(columns, frame, outputs), file=sys.stderr)


def check(settings: Settings) -> None:
    """Refuse what cannot be used, before anything is loaded."""
    if missing := [name for name in ("columns.json", "model.keras") if not (settings.run / name).is_file()]:
        raise InputError(
            f"expected a run folder of kfold-table or kfold-boston, got {settings.run} without "
            f"{' and '.join(missing)}: a complete run writes both, and prints the path of its folder"
        )
    if settings.out is not None and settings.out.exists() and not settings.force:
        raise InputError(f"expected a new file for --out, found {settings.out}: --force replaces it")


def predictions(columns: Columns, outputs: Float) -> pd.DataFrame:
    """Return the predicted values, or classes and the probability of each."""
    name = f"predicted {columns.target}"
    if not columns.classes:
        return pd.DataFrame({name: outputs[:, 0]})
    chances = probabilities(outputs)
    classes = np.array(columns.classes)
    table: dict[str, Any] = {name: classes[chances.argmax(axis=1)]}
    return pd.DataFrame(table | {f"probability of {label}": chances[:, i] for i, label in enumerate(columns.classes)})


def probabilities(outputs: Float) -> Float:
    """Return the probability of each class, (rows, classes); a single output is that of the second of two classes."""
    return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs


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


def score(columns: Columns, frame: pd.DataFrame, outputs: Float) -> str:
    """Return the mean absolute error or the accuracy in one line."""
    y = Table.of(frame, columns).y
    if columns.classes:
        return f"accuracy of {columns.target}: {(probabilities(outputs).argmax(axis=1) == y).mean():.4f}"
    return f"mean absolute error of {columns.target}: {format_number(float(np.abs(outputs[:, 0] - y).mean()))}"


if __name__ == "__main__":
    cli.run(main, SETTINGS)
