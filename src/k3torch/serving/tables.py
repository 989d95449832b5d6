"""The model of a run on a table: predictions for the rows of new tables."""

from pathlib import Path
from typing import Any

from k3torch.data.columns import COLUMNS, Columns
from k3torch.models.probabilities import of_classes
from k3torch.training.saving import load_model
from k3torch.validation.predictions import predict
import numpy as np
from numpy.typing import NDArray
import pandas as pd

Float = NDArray[np.float64]


class TableModel:
    """The model of a run folder, with the columns that it was trained on.

    Attributes:
        model: takes features as they are in the table, (batch, features), and returns (batch, outputs).
        columns: turn the rows of a table into features.

    Raises:
        InputError: for files that are missing, damaged, or no model of a table.
    """

    def __init__(self, run: Path):
        self.columns = Columns.load(run / COLUMNS)
        classes = len(self.columns.classes)
        widths = [1] if not classes else [1, 2] if classes == 2 else [classes]
        self.model = load_model(run / "model.keras", (None, len(self.columns.features)), outputs=widths)

    def outputs(self, frame: pd.DataFrame) -> Float:
        """Return the outputs of the model for the rows of a table, (rows, outputs).

        Raises:
            InputError: for rows that the columns cannot encode, as ``Columns.encode`` does.
        """
        return predict(self.model, self.columns.encode(frame))

    def new_names(self) -> list[str]:
        """Return the names of the columns of ``predictions``."""
        return [f"predicted {self.columns.target}", *(f"probability of {label}" for label in self.columns.classes)]

    def predictions(self, outputs: Float) -> pd.DataFrame:
        """Return the predicted values, or classes and the probability of each, as columns of a table."""
        first, *others = self.new_names()
        if not self.columns.classes:
            return pd.DataFrame({first: outputs[:, 0]})
        chances = of_classes(outputs)
        table: dict[str, Any] = {first: np.array(self.columns.classes)[chances.argmax(axis=1)]}
        return pd.DataFrame(table | dict(zip(others, chances.T, strict=True)))
