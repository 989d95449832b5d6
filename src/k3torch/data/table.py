"""A table of one's own, from a CSV file, as numbers."""

from pathlib import Path

from k3torch.errors import InputError, did_you_mean
import numpy as np
from numpy.typing import NDArray
import pandas as pd

Float = NDArray[np.float64]


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
        raise InputError(f"expected a CSV file with a header, cannot read {path}: {reason}") from error
    if target not in table.columns:
        hint = did_you_mean(target, table.columns) or f": it has {', '.join(map(str, table.columns))}"
        raise InputError(f"expected a column {target!r} in {path}, found none{hint}")
    missing = table.isna() | table.isin([np.inf, -np.inf])
    if missing.to_numpy().any():
        row, column = np.argwhere(missing.to_numpy())[0]
        raise InputError(
            f"expected a value everywhere in {path}, found none in data row {row + 1}, "
            f"column {table.columns[column]!r}: fill it or drop the row"
        )
    if not pd.api.types.is_numeric_dtype(table[target]):
        bad = pd.to_numeric(table[target], errors="coerce").isna()
        row = int(np.argmax(bad.to_numpy()))
        raise InputError(
            f"expected numbers in column {target!r} of {path}, found {table[target][row]!r} in data row {row + 1}"
        )
    features = pd.get_dummies(table.drop(columns=target), dtype="float64")
    if len(features.columns) == 0 or len(features) == 0:
        raise InputError(f"expected rows and a column beside {target!r} in {path}, found none: choose another file")
    return features.to_numpy("float64"), table[target].to_numpy("float64"), [str(name) for name in features.columns]
