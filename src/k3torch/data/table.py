"""A user's table as arrays of features and targets.

training, test = split_table(read_frame(Path("houses.csv")), "price", missing="median")
training.x, training.y, training.describe()
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from k3torch.data.column import Float
from k3torch.data.column_kinds import cells_of, gaps
from k3torch.data.columns import Columns, kept_rows, only_rows
from k3torch.data.table_target import encode_target, known_target
from k3torch.errors import InputError
import numpy as np
from numpy.typing import NDArray
import pandas as pd
from sklearn.model_selection import train_test_split

LISTED = 6  # columns and classes that a description names
SMALL = 10  # different whole numbers that may be meant as classes


@dataclass(frozen=True)
class Table:
    """Samples of a table.

    Attributes:
        x: features, float64, (samples, features).
        y: the target, (samples,): float64 for regression, the number of the class, int64, for classification.
        columns: what the columns mean.
        rows: the row of each sample in the table, from 0, (samples,).
        left_out: rows with a missing value, which are not samples (missing="drop").
        filled: missing values that the medians replace (missing="median").
    """

    x: Float
    y: NDArray[np.float64] | NDArray[np.int64]
    columns: Columns
    rows: NDArray[np.int64]
    left_out: int = 0
    filled: int = 0

    @classmethod
    def of(cls, frame: pd.DataFrame, columns: Columns) -> "Table":
        """Encode a table that has the target, the one that the columns were fitted on or another.

        Raises:
            InputError: as ``Columns.encode``, but rows with a missing value are left out with missing="drop"; for a
                target that is missing or not a class.
        """
        name = columns.target
        if name not in frame.columns:
            raise InputError(f"expected the target {name!r} as a column, found none")
        cells = columns.cells(frame) | {name: cells_of(frame[name])}
        kept = kept_rows(cells, columns.kinds, {name: columns.target_kind}, columns.missing)
        filled = int(gaps(cells, columns.kinds).sum()) if columns.missing == "median" else 0
        cells = only_rows(cells, kept)
        x, y = columns.encode_cells(cells), encode_target(cells[name], name, columns.classes, columns.target_kind)
        y = y[kept].astype("int64") if columns.classes else y[kept]
        return cls(x[kept], y, columns, kept, len(frame) - len(kept), filled)

    def describe(self) -> str:
        """Return one line on the samples, the features and the target."""
        texts = [column for column in self.columns.columns if column.kind == "text"]
        numeric = len(self.columns.columns) - len(texts)
        parts = [f"{numeric} numeric column{'s' * (numeric != 1)}"] if numeric else []
        parts += [
            f"{column.name} -> {len(column.values)} column{'s' * (len(column.values) > 1)}" for column in texts[:LISTED]
        ]
        if others := texts[LISTED:]:
            parts.append(f"{len(others)} more -> {sum(len(column.values) for column in others)} columns")
        notes = [f"rows with missing values left out: {self.left_out:,}"] if self.left_out else []
        notes += [f"missing values filled in: {self.filled:,}"] if self.filled else []
        target = f"target {self.columns.target}: {self._range()}"
        return "; ".join([f"{len(self.x):,} rows: {', '.join(parts)}", *notes, target])

    def _range(self) -> str:
        if self.columns.classes:
            counts = np.bincount(self.y.astype("int64"), minlength=len(self.columns.classes))
            named = [f"{name} ({count:,})" for name, count in zip(self.columns.classes, counts, strict=True)]
            more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
            return f"classification, {', '.join(named[:LISTED])}{more}"
        low, high = (_shown(value) for value in (self.y.min(), self.y.max()))
        if low == high:  # a small spread beside a large mean
            low, high = (f"{value:,.12g}" for value in (self.y.min(), self.y.max()))
        line = f"regression, {low} to {high}"
        different = np.unique(self.y)
        if 2 < len(different) <= min(SMALL, len(self.y) // 2) and not (different % 1).any():
            line += f" ({len(different)} whole numbers: --task classification makes them classes)"
        return line


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value % 1 == 0 and abs(value) < 1e15 else f"{value:,.6g}"


def valid_target(frame: pd.DataFrame, columns: Columns) -> Float:
    """Return the target of each row as ``Table.y`` has it, float64, (rows,); NaN where the row has no valid one.

    That is a missing value, a text among numbers, a number that is not finite in float32, and a value that is not a
    class. All are NaN where the table does not have the target.
    """
    if columns.target not in frame.columns:
        return np.full(len(frame), np.nan)
    return known_target(cells_of(frame[columns.target]), columns.classes, columns.target_kind)


def split_table(
    frame: pd.DataFrame,
    target: str,
    *,
    task: str = "auto",
    missing: str = "refuse",
    drop: Sequence[str] = (),
    test_size: float = 0.2,
    seed: int = 0,
) -> tuple[Table, Table]:
    """Return training and test samples: rows drawn at random, of each class the same fraction.

    Rows that missing="drop" leaves out are in neither; ``Table.of`` counts them in the whole table. Medians for
    missing values are those of the training samples.

    Args:
        frame: the table, as ``read_frame`` returns it.
        target: name of the column to predict.
        task: as for ``Columns.fit``, like the next two.
        missing: what happens to missing values.
        drop: names of columns to leave out.
        test_size: fraction of the rows that are test samples.
        seed: of the draw.

    Raises:
        InputError: as ``Columns.fit``, and for a table that is too small to be divided.
    """
    settings: dict[str, Any] = {"task": task, "missing": missing, "drop": drop}
    whole = Table.of(frame, Columns.fit(frame, target, **settings))
    names = np.array(whole.columns.classes)
    classes = names[whole.y.astype("int64")] if len(names) else None  # names, since the message below lists them
    try:
        training, test = train_test_split(whole.rows, test_size=test_size, random_state=seed, stratify=classes)
    except ValueError as error:
        raise InputError(f"expected rows that can be divided into training and test samples, got: {error}") from error
    columns = Columns.fit(frame, target, training=training, **settings)
    return Table.of(frame.iloc[training], columns), Table.of(frame.iloc[test], columns)
