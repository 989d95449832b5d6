"""The Boston housing data set: 506 districts in 1970, 13 features, and the median price of a home.

The table is included because it is small and known from many textbooks. Do not build anything else on it: its column B,
``1000 (Bk - 0.63)**2`` with Bk the proportion of Black residents, assumes that racial segregation raises prices, and
the proportion cannot be recovered from the square. The study that the table comes from used prices to estimate the
value of clean air, not to predict them. ``keras.datasets.california_housing`` (20,640 districts, 8 features) is a
replacement; it needs a download.
"""

from importlib.resources import files

from k3torch.errors import is_number, refuse, seed_problem, unless
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

FEATURES = ("CRIM", "ZN", "INDUS", "CHAS", "NOX", "RM", "AGE", "DIS", "RAD", "TAX", "PTRATIO", "B", "LSTAT")
"""Names of the features, in the order of the columns of x."""
TARGET = "MEDV"
"""Name of the target, the median price of a home in thousands of dollars."""


def load_data(test_split: float = 0.2, seed: int = 113) -> tuple[tuple[Float, Float], tuple[Float, Float]]:
    """Return ``(x_train, y_train), (x_test, y_test)``, equal to those of ``keras.datasets.boston_housing``.

    Args:
        test_split: fraction of the samples in the test set; 0.2 gives 404 training and 102 test samples.
        seed: seed of ``numpy.random.RandomState``, which shuffles the samples before the split.

    Returns:
        float64 arrays, x of shape (samples, 13) in the units of the table, y of shape (samples,) in thousands of
        dollars.

    Raises:
        InputError: for a ``test_split`` that is not from 0 to 1, or a seed that is not from 0 to 2**32 - 1.
    """
    refuse(
        [
            unless(
                is_number(test_split) and 0 <= test_split <= 1,
                f"test_split as a fraction from 0 to 1, got {test_split!r}",
            ),
            seed_problem(seed),
        ]
    )
    table = np.loadtxt(str(files("k3torch.data") / "boston_housing.csv"), delimiter=",", skiprows=1)
    order = np.arange(len(table))
    np.random.RandomState(seed).shuffle(order)
    x, y = table[order, :-1], table[order, -1]
    split = int(len(x) * (1 - test_split))
    return (x[:split], y[:split]), (x[split:], y[split:])
