"""One column of a table and the features that it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass

from k3torch.data.column_kinds import Cell, Kind, as_bool, as_text, numbers_of
from k3torch.errors import InputError, did_you_mean
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Feature:
    """One feature: its name, such as ``size`` or ``city=Ulm``, its column, and the text that it stands for or None."""

    name: str
    column: str
    value: str | None


@dataclass(frozen=True)
class Column:
    """A column that features are made of.

    Attributes:
        name: in the header.
        kind: "number" and "bool" are one feature, "text" is one for each of its values.
        values: the texts, sorted; none for other kinds.
        median: of the training samples, which replaces missing values; None for texts and unless missing="median".
    """

    name: str
    kind: Kind
    values: tuple[str, ...] = ()
    median: float | None = None

    @property
    def features(self) -> tuple[Feature, ...]:
        """The features, in their order."""
        if self.kind != "text":
            return (Feature(self.name, self.name, None),)
        return tuple(Feature(f"{self.name}={value}", self.name, value) for value in self.values)

    def encode(self, cells: Sequence[Cell]) -> Float:
        """Return the features of the cells, (rows, features). Where a value is missing, the median or zeros for texts.

        Raises:
            InputError: for a number beyond float32, and a text that is not among the values.
        """
        if self.kind == "text":
            return self._one_hot(cells)
        values = numbers_of(numeric_cells(cells, self.kind), self.name)
        return np.where(np.isnan(values), self.median or 0.0, values)[:, None]

    def _one_hot(self, cells: Sequence[Cell]) -> Float:
        position = {value: i for i, value in enumerate(self.values)}
        codes = np.zeros((len(cells), len(position)))
        for row, cell in enumerate(cells):
            if cell is None:
                continue  # all zeros, which no value has
            if (text := as_text(cell)) not in position:
                known = f"{', '.join(self.values[:10])}{', ...' if len(self.values) > 10 else ''}"
                raise InputError(
                    f"expected a value of column {self.name!r} that occurs in the table of the training samples "
                    f"({known}), found {text!r} in data row {row + 1}{did_you_mean(text, self.values)}"
                )
            codes[row, position[text]] = 1
        return codes


def numeric_cells(cells: Sequence[Cell], kind: Kind) -> Sequence[Cell]:
    """Return the cells of a column of numbers, or those of a column of bools as 1 and 0."""
    if kind == "number":
        return cells
    return [None if (value := as_bool(cell)) is None else float(value) for cell in cells]
