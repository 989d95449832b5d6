"""A table of one's own, from a CSV file, as numbers."""

from pathlib import Path

from k3torch.errors import InputError, did_you_mean
import numpy as np
from numpy.typing import NDArray
import pandas as pd

Float = NDArray[np.float64]

FLOAT32 = np.finfo("float32")  # what models compute with


def read_table(path: Path, target: str) -> tuple[Float, Float, list[str]]:
    """Return x (rows, features), y (rows,) and the features' names from a CSV file with a header.

    Columns of numbers stay as they are; a column of text becomes one column of zeros and ones for each of its values.

    Raises:
        InputError: if the file cannot be read, lacks the target, or misses a value (row and column are named).
    """
    try:
        table = pd.read_csv(path)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"expected a CSV file with a header, cannot read {path} ({reason}): check the file") from error
    if len(table) == 0 or len(table.columns) < 2:
        raise InputError(f"expected rows of two columns or more in {path}, found {table.shape}: choose another file")
    if target not in table.columns:
        hint = did_you_mean(target, table.columns) or f": it has {', '.join(map(str, table.columns))}"
        raise InputError(f"expected a column {target!r} in {path}, found none{hint}")
    too_large = table.select_dtypes("number").abs() > FLOAT32.max
    unfit = table.isna() | too_large.reindex(columns=table.columns, fill_value=False)
    if unfit.to_numpy().any():
        row, column = np.argwhere(unfit.to_numpy())[0]
        found = "none" if pd.isna(table.iloc[row, column]) else table.iloc[row, column]
        raise InputError(
            f"expected a value everywhere in {path}, numbers up to {FLOAT32.max:.0e}, found {found} "
            f"in data row {row + 1}, column {table.columns[column]!r}: mend it or drop the row"
        )
    if not pd.api.types.is_numeric_dtype(table[target]):
        bad = pd.to_numeric(table[target], errors="coerce").isna()
        row = int(np.argmax(bad.to_numpy()))
        raise InputError(
            f"expected numbers in column {target!r} of {path}, found {table[target][row]!r} in data row {row + 1}: "
            "mend it, or choose another target"
        )
    features = pd.get_dummies(table.drop(columns=target), dtype="float64")
    return features.to_numpy("float64"), table[target].to_numpy("float64"), [str(name) for name in features.columns]
