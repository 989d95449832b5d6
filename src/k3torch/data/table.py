"""A table from a CSV file as arrays of features and targets."""

from pathlib import Path

from k3torch.errors import InputError, did_you_mean, first_line
import numpy as np
from numpy.typing import NDArray
import pandas as pd

Float = NDArray[np.float64]

FLOAT32_MAX = np.finfo("float32").max  # models compute in float32


def read_table(path: Path, target: str) -> tuple[Float, Float, list[str]]:
    """Read a CSV file with a header.

    Args:
        path: the file.
        target: name of the column to predict.

    Returns:
        The features, float64 (samples, features); the target, float64 (samples,); and the names of the features.
        Columns of numbers are unchanged; a column of text is one-hot encoded, one feature for each of its values.

    Raises:
        InputError: if the file cannot be read, has no such column, or has a missing value or one beyond float32 (row
            and column are named).
    """
    try:
        table = pd.read_csv(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"expected a CSV file with a header, cannot read {path} ({first_line(error)})") from error
    if len(table) == 0 or len(table.columns) < 2:
        raise InputError(f"expected samples of two columns or more in {path}, found a table of shape {table.shape}")
    if target not in table.columns:
        hint = did_you_mean(target, table.columns) or f": it has {', '.join(map(str, table.columns))}"
        raise InputError(f"expected a column {target!r} in {path}, found none{hint}")
    too_large = table.select_dtypes("number").abs() > FLOAT32_MAX
    invalid = table.isna() | too_large.reindex(columns=table.columns, fill_value=False)
    if invalid.to_numpy().any():
        row, column = np.argwhere(invalid.to_numpy())[0]
        found = "none" if pd.isna(table.iloc[row, column]) else table.iloc[row, column]
        raise InputError(
            f"expected a value in every cell of {path}, numbers up to {FLOAT32_MAX:.0e}, found {found} "
            f"in data row {row + 1}, column {table.columns[column]!r}: fill in the value or delete the row"
        )
    if not pd.api.types.is_numeric_dtype(table[target]):
        bad = pd.to_numeric(table[target], errors="coerce").isna()
        row = int(np.argmax(bad.to_numpy()))
        raise InputError(
            f"expected numbers in column {target!r} of {path}, found {table[target][row]!r} in data row {row + 1}"
        )
    features = pd.get_dummies(table.drop(columns=target), dtype="float64")
    return features.to_numpy("float64"), table[target].to_numpy("float64"), [str(name) for name in features.columns]
