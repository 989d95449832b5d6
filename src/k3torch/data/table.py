"""A user's table as arrays of features and targets.

frame = read_frame(Path("houses.csv"))
columns = Columns.fit(frame, "price", missing="median", training=training_rows)
table = Table.of(frame, columns)
table.x, table.y, table.describe()
"""

from dataclasses import dataclass

from k3torch.data.column import Float
from k3torch.data.column_kinds import cells_of, gap_problem, gaps
from k3torch.data.columns import Columns, only_rows
from k3torch.data.table_target import encode_target
from k3torch.errors import InputError, refuse
import numpy as np
from numpy.typing import NDArray
import pandas as pd

LISTED = 6  # columns and classes that a description names
SMALL = 10  # different whole numbers that may be meant as classes


@dataclass(frozen=True)
class Table:
    """Samples of a table.

    Attributes:
        x: features, float64, (samples, features).
        y: the target, (samples,): float64 for regression, the number of the class, int64, for classification.
        columns: what the columns mean.
        left_out: rows with a missing value that are no samples (missing="drop").
        filled: missing values that the medians replace (missing="median").
    """

    x: Float
    y: NDArray[np.float64] | NDArray[np.int64]
    columns: Columns
    left_out: int = 0
    filled: int = 0

    @classmethod
    def of(cls, frame: pd.DataFrame, columns: Columns) -> "Table":
        """Encode a table that has the target, the one that the columns were fitted on or another.

        Raises:
            InputError: as ``Columns.encode``, but rows with a missing value are left out with missing="drop"; for a
                target that is missing or no class.
        """
        name = columns.target
        if name not in frame.columns:
            raise InputError(f"expected the target {name!r} as a column, found none")
        cells = columns.cells(frame)
        missing = gaps(cells, columns.kinds)
        goal = encode_target(cells_of(frame[name]), name, columns.classes)
        kept = np.ones(len(frame), dtype=bool)
        if columns.missing == "drop":
            kept = ~(missing.any(axis=1) | np.isnan(goal))
        elif columns.missing == "refuse":
            refuse([gap_problem(cells, columns.kinds, "fill it in")])
        if len(rows := np.flatnonzero(np.isnan(goal) & kept)):
            wanted = f"one of the classes {', '.join(columns.classes)}" if columns.classes else "a number"
            found = frame[name].iloc[rows[0]]
            raise InputError(f"expected {wanted} in the target {name!r}, found {found!r} in data row {rows[0] + 1}")
        x = columns.encode_cells(only_rows(cells, np.flatnonzero(kept)))[kept]
        y = goal[kept].astype("int64") if columns.classes else goal[kept]
        filled = int(missing.sum()) if columns.missing == "median" else 0
        return cls(x, y, columns, int((~kept).sum()), filled)

    def describe(self) -> str:
        """Return one line on the samples, the features and the target."""
        texts = [column for column in self.columns.columns if column.kind == "text"]
        numeric = len(self.columns.columns) - len(texts)
        parts = [f"{numeric} numeric column{'s' * (numeric != 1)}"] if numeric else []
        parts += [f"{column.name} -> {len(column.values)} columns" for column in texts[:LISTED]]
        if others := texts[LISTED:]:
            parts.append(f"{len(others)} more -> {sum(len(column.values) for column in others)} columns")
        notes = [f"{self.left_out} rows with missing values left out"] if self.left_out else []
        notes += [f"{self.filled} missing values filled in"] if self.filled else []
        target = f"target {self.columns.target}: {self._range()}"
        return "; ".join([f"{len(self.x):,} rows: {', '.join(parts)}", *notes, target])

    def _range(self) -> str:
        if self.columns.classes:
            counts = np.bincount(self.y.astype("int64"), minlength=len(self.columns.classes))
            named = [f"{name} ({count:,})" for name, count in zip(self.columns.classes, counts, strict=True)]
            more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
            return f"classification, {', '.join(named[:LISTED])}{more}"
        line = f"regression, {_shown(self.y.min())} to {_shown(self.y.max())}"
        different = np.unique(self.y)
        if 2 < len(different) <= SMALL and not (different % 1).any():
            line += f" ({len(different)} whole numbers: --task classification makes them classes)"
        return line


def _shown(value: float) -> str:
    return f"{value:,.0f}" if value % 1 == 0 and abs(value) < 1e15 else f"{value:,.6g}"


def read_table(path: Path, target: str) -> tuple[Float, Float, list[str]]:
    """Return the features, the target and the names of the features of a regression, without missing values."""
    frame = read_frame(path)
    table = Table.of(frame, Columns.fit(frame, target, task="regression"))
    return table.x, table.y.astype("float64"), [feature.name for feature in table.columns.features]
