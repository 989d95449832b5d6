"""The Boston housing table: 506 districts of 1970, 13 features, the median price of a home.

The table is small enough to ship and known from many textbooks, which is why it is here. It is not a table to build
anything on: its column B, ``1000 (Bk - 0.63)**2`` of the proportion Bk of Black residents, assumes that racial
segregation moves prices and, squared as it is, cannot be turned back into the proportion; and the study that it
comes from used the prices to put a value on clean air, not to predict them. ``keras.datasets.california_housing``
(20,640 districts, 8 features) is the replacement where there is network.
"""

from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

FEATURES = ("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT")
TARGET = "MEDV"

Float = NDArray[np.float64]


def load_data(test_split: float = 0.2, seed: int = 113) -> tuple[tuple[Float, Float], tuple[Float, Float]]:
    """Return ``(x_train, y_train), (x_test, y_test)``, row for row as ``keras.datasets.boston_housing`` does.

    Args:
        test_split: the share of rows kept for the test; 0.2 gives 404 and 102 rows.
        seed: seed of ``numpy.random.RandomState``, which shuffles the rows before the split.

    Returns:
        float64 arrays, x of shape (rows, 13) in the units of the table, y of shape (rows,) in thousands of dollars.
    """
    table = np.loadtxt(str(files("k3torch.data") / "boston_housing.csv"), delimiter=",", skiprows=1)
    order = np.arange(len(table))
    np.random.RandomState(seed).shuffle(order)
    x, y = table[order, :-1], table[order, -1]
    split = int(len(x) * (1 - test_split))
    return (x[:split], y[:split]), (x[split:], y[split:])
