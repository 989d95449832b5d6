"""How the columns of a table become features and a target: fitted on one table, applied to others."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import shlex
from typing import Literal, cast

from k3torch.data.column import Column, Feature, Float, numeric_cells
from k3torch.data.column_kinds import (
    Cell,
    Kind,
    as_text,
    category_problem,
    cells_of,
    gap_problem,
    gaps,
    kind_of,
    numbers_of,
)
from k3torch.data.columns_json import FORMAT, read_columns
from k3torch.data.table_target import TASKS, Task, target_kind, task_of
from k3torch.errors import InputError, Problem, choice_problem, did_you_mean, refuse, unless
from k3torch.files import atomic_path
import numpy as np
from numpy.typing import ArrayLike, NDArray
import pandas as pd

Cells = dict[str, list[Cell]]
Missing = Literal["refuse", "drop", "median"]
COLUMNS = "columns.json"  # in a run folder
MISSING = ("refuse", "drop", "median")


@dataclass(frozen=True)
class Columns:
    """All that is needed to encode the rows of a table: fitted on one, saved, and applied to others.

    Attributes:
        target: name of the column to predict.
        task: "regression" or "classification".
        classes: the names of the classes in the order of their numbers; none for regression.
        columns: those that features are made of, in their order.
        missing: what happens to missing values, as for ``fit``.
        dropped: names of the columns that are left out.
        target_kind: the kind of the target.
    """

    target: str
    task: Task
    classes: tuple[str, ...]
    columns: tuple[Column, ...]
    missing: Missing = "refuse"
    dropped: tuple[str, ...] = ()
    target_kind: Kind = "number"

    @property
    def features(self) -> tuple[Feature, ...]:
        """All features, in the order of ``encode``."""
        return tuple(feature for column in self.columns for feature in column.features)

    @property
    def medians(self) -> dict[str, float]:
        """The median of each column that has one."""
        return {column.name: column.median for column in self.columns if column.median is not None}

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kind of each column."""
        return {column.name: column.kind for column in self.columns}

    @classmethod
    def fit(
        cls,
        frame: pd.DataFrame,
        target: str,
        *,
        task: str = "auto",
        missing: str = "refuse",
        drop: Sequence[str] = (),
        training: ArrayLike | None = None,
    ) -> "Columns":
        """Recognise the columns of a table.

        Numbers stay as they are, bools (true and false as texts too) become 1 and 0, texts are one-hot encoded.
        Categories and classes come from all rows, medians from the training samples alone.

        Args:
            frame: the table, as ``read_frame`` returns it.
            target: name of the column to predict.
            task: "auto" is classification for texts, bools and two different numbers, else regression.
            missing: "refuse" raises an error for a missing value, "drop" leaves its row out, "median" puts the median
                of the training samples in its place, and for a missing text all zeros; a target must have a value. A
                text in a column of numbers, such as ``?``, is a missing value. In a column of texts only an empty
                cell is, since ``none`` or ``n/a`` may be a category.
            drop: names of columns to leave out.
            training: indices of the rows that are training samples, from 0; None means all. Only medians need them.

        Raises:
            InputError: for columns that cannot be features (dates, more than 30 texts, a different text in every row,
                texts and numbers mixed), all of them in one message with what to pass; for missing values and numbers
                beyond float32, with row and column; for a target that the task cannot have.
        """
        _check_arguments(frame, target, task, missing, drop)
        cells = {name: cells_of(frame[name]) for name in frame.columns if name not in drop}
        kinds = _feature_kinds({name: column for name, column in cells.items() if name != target})
        goal = target_kind(cells[target], target)
        kept = kept_rows(cells, kinds, {target: goal}, missing)
        cells = only_rows(cells, kept)
        for name in (name for name, kind in (kinds | {target: goal}).items() if kind == "number"):
            numbers_of(cells[name], name)  # refuses numbers beyond float32
        chosen, classes = task_of([cells[target][i] for i in kept], target, task, goal)
        rows = _training_rows(training, kept, len(frame))
        rows_of_medians = rows if missing == "median" else None
        columns = [_fitted(name, kind, cells[name], rows_of_medians) for name, kind in kinds.items()]
        return cls(target, chosen, classes, tuple(columns), cast(Missing, missing), tuple(drop), goal)

    def encode(self, frame: pd.DataFrame) -> Float:
        """Return the features of new rows, float64, (rows, features).

        The order of the columns does not matter. Further columns are ignored, see ``ignored``; the target and dropped
        columns may be missing. Missing values get the medians if the columns were fitted so.

        Raises:
            InputError: for columns and values that are missing, for a text that the fitted table does not have, and
                for numbers beyond float32, with row and column.
        """
        cells = self.cells(frame)
        if self.missing != "median":
            refuse([gap_problem(cells, self.kinds, "fill in the value or delete the row")])
        return self.encode_cells(cells)

    def cells(self, frame: pd.DataFrame) -> Cells:
        """Return the cells of the columns that features are made of.

        Raises:
            InputError: for missing columns.
        """
        refuse([_names_problem(frame)])
        names = list(frame.columns)
        if absent := [name for name in self.kinds if name not in names]:
            raise InputError(
                f"expected the columns {', '.join(map(repr, self.kinds))}, found none named "
                f"{' and none named '.join(map(repr, absent))}{did_you_mean(absent[0], set(names) - set(self.kinds))}"
            )
        return {name: cells_of(frame[name]) for name in self.kinds}

    def ignored(self, frame: pd.DataFrame) -> list[str]:
        """Return the names of the columns that ``encode`` ignores because the fitted table did not have them."""
        return [name for name in frame.columns if name not in (*self.kinds, *self.dropped, self.target)]

    def encode_cells(self, cells: Mapping[str, Sequence[Cell]]) -> Float:
        """Return the features, (rows, features); a missing value is the median, or 0 where there is none."""
        return np.concatenate([column.encode(cells[column.name]) for column in self.columns], axis=1)

    def save(self, path: Path) -> None:
        """Write everything as JSON, atomically."""
        with atomic_path(path) as draft:
            draft.write_text(json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "Columns":
        """Read what ``save`` wrote.

        Raises:
            InputError: for a file that is missing or has any other content.
        """
        content = read_columns(path)
        columns = [Column(c["name"], c["kind"], tuple(c["values"]), c["median"]) for c in content["columns"]]
        return cls(
            content["target"],
            content["task"],
            tuple(content["classes"]),
            tuple(columns),
            content["missing"],
            tuple(content["dropped"]),
            content["target_kind"],
        )


def _names_problem(frame: pd.DataFrame) -> Problem:
    names = list(frame.columns)
    fits = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    return unless(fits, f"a different text as the name of each column, got {names}")


def _training_rows(training: ArrayLike | None, kept: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Return the rows that medians are taken from: those given by their numbers or by a mask, else all."""
    if training is None:
        return kept
    given = np.asarray(training)
    fits = given.ndim == 1 and given.dtype.kind in "iu" and ((given >= 0) & (given < rows)).all()
    if given.dtype == bool and given.shape == (rows,):
        return np.flatnonzero(given)
    refuse([unless(fits, f"training as row numbers from 0 to {rows - 1} or a mask, got {training!r}")])
    return given.astype("int64")


def _check_arguments(frame: pd.DataFrame, target: str, task: str, missing: str, drop: Sequence[str]) -> None:
    names = [str(name) for name in frame.columns]

    def unknown(name: str, what: str) -> str | None:
        hint = did_you_mean(name, names) or f": it has {', '.join(names)}"
        return unless(
            name in names, f"the name of a column for {what}, got {name!r}, which the table does not have{hint}"
        )

    refuse([
        _names_problem(frame),
        unless(len(frame) > 0, "a table with rows, got none"),
        choice_problem("task", task, TASKS),
        choice_problem("missing", missing, MISSING),
        unknown(target, "the target"),
        *(unknown(name, "drop") for name in drop),
        unless(target not in drop, f"a target that is not dropped, got {target!r} for both"),
        unless(set(names) - {target, *drop}, "a column beside the target and those dropped, got none"),
    ])  # fmt: skip


def _feature_kinds(cells: Mapping[str, Sequence[Cell]]) -> dict[str, Kind]:
    """Return the kind of each column; refuse those that cannot be features, all in one message."""
    kinds: dict[str, Kind] = {}
    refused: dict[str, str] = {}
    for name, column in cells.items():
        kind, found = kind_of(column)
        problem = category_problem(column) if kind == "text" else found
        if kind is None or problem:
            refused[name] = f"{problem} in column {name!r}"
        else:
            kinds[name] = kind
    if refused:
        them = "it" if len(refused) == 1 else "them"
        raise InputError(
            f"expected columns of numbers, or of texts with a few different values, found "
            f"{'; '.join(refused.values())}: leave {them} out with --drop {shlex.join(refused)}"
        )
    return kinds


def kept_rows(cells: Cells, kinds: Mapping[str, Kind], goal: Mapping[str, Kind], missing: str) -> NDArray[np.int64]:
    """Return the numbers of the rows that are used; refuse missing values that ``missing`` does not allow."""
    if missing == "refuse":
        refuse([gap_problem(cells, {**kinds, **goal}, "fill it in, or pass --missing drop or --missing median")])
    elif missing == "median":
        refuse([gap_problem(cells, goal, "fill it in, delete the row, or pass --missing drop")])
    else:
        kept = np.flatnonzero(~gaps(cells, {**kinds, **goal}).any(axis=1))
        refuse([unless(len(kept), "a row without missing values, found none: pass --missing median")])
        return kept
    return np.arange(len(next(iter(cells.values()))))


def _values(cells: Sequence[Cell]) -> tuple[str, ...]:
    return tuple(sorted({as_text(cell) for cell in cells if cell is not None}))


def only_rows(cells: Cells, kept: NDArray[np.int64]) -> Cells:
    """Return the cells with missing values in the other rows; the rows keep their numbers, which messages name."""
    used = set(kept.tolist())
    return {name: [cell if row in used else None for row, cell in enumerate(column)] for name, column in cells.items()}


def _fitted(name: str, kind: Kind, cells: Sequence[Cell], rows: NDArray[np.int64] | None) -> Column:
    """Return one column, with the median over ``rows`` unless they are None."""
    if kind == "text":
        return Column(name, kind, values=_values(cells))
    return Column(name, kind, median=None if rows is None else _median(name, numeric_cells(cells, kind), rows))


def _median(name: str, cells: Sequence[Cell], rows: NDArray[np.int64]) -> float:
    present = [value for i in rows if isinstance(value := cells[i], float)]
    if not present:
        raise InputError(
            f"expected a number in column {name!r} of the training samples, found none: leave it out with "
            f"--drop {shlex.quote(name)}"
        )
    return float(np.median(present))
