from k3torch.data import boston
from k3torch.errors import InputError
import numpy as np
import pytest

# What the lecture prints of the training targets, in thousands of dollars.
PRINTED = np.fromstring(
    """
    15.2 42.3 50 21.1 17.7 18.5 11.3 15.6 15.6 14.4 12.1 17.9 23.1 19.9 15.7 8.8 50 22.5 24.1 27.5 10.9
    30.8 32.9 24 18.5 13.3 22.9 34.7 16.6 17.5 22.3 16.1 14.9 23.1 34.9 25 13.9 13.1 20.4 20 15.2 24.7
    22.2 16.7 12.7 15.6 18.4 21 30.1 15.1 18.7 9.6 31.5 24.8 19.1 22 14.5 11 32 29.4 20.3 24.4 14.6
    19.5 14.1 14.3 15.6 10.5 6.3 19.3 19.3 13.4 36.4 17.8 13.5 16.5 8.3 14.3 16 13.4 28.6 43.5 20.2 22
    23 20.7 12.5 48.5 14.6 13.4 23.7 50 21.7 39.8 38.7 22.2 34.9 22.5 31.1 28.7 46 41.7 21 26.6 15 24.4
    13.3 21.2 11.7 21.7 19.4 50 22.8 19.7 24.7 36.2 14.2 18.9 18.3 20.6 24.6 18.2 8.7 44 10.4 13.2 21.2
    37 30.7 22.9 20 19.3 31.7 32 23.1 18.8 10.9 50 19.6 5 14.4 19.8 13.8 19.6 23.9 24.5 25 19.9 17.2
    24.6 13.5 26.6 21.4 11.9 22.6 19.6 8.5 23.7 23.1 22.4 20.5 23.6
""",
    sep=" ",
)


def test_split_and_order_are_those_of_keras_and_the_lecture():
    (x_train, y_train), (x_test, y_test) = boston.load_data()
    assert x_train.shape == (404, 13)
    assert y_train.shape == (404,)
    assert x_test.shape == (102, 13)
    assert y_test.shape == (102,)
    assert len(PRINTED) == 162
    np.testing.assert_array_equal(y_train[:162], PRINTED)
    # The first training sample as keras.datasets.boston_housing gives it.
    np.testing.assert_array_equal(
        x_train[0], [1.23247, 0, 8.14, 0, 0.538, 6.142, 91.7, 3.9769, 4, 307, 21, 396.9, 18.72]
    )


def test_the_samples_are_those_that_keras_makes_of_the_same_table(tmp_path, monkeypatch):
    import keras.src.datasets.boston_housing as theirs

    table = np.loadtxt(boston.files("k3torch.data") / "boston_housing.csv", delimiter=",", skiprows=1)
    np.savez(tmp_path / "table.npz", x=table[:, :-1], y=table[:, -1])
    monkeypatch.setattr(theirs, "get_file", lambda *_, **__: str(tmp_path / "table.npz"))
    for split, seed in ((0.2, 113), (0.3, 7)):
        for mine, keras in zip(
            boston.load_data(split, seed), theirs.load_data(test_split=split, seed=seed), strict=True
        ):
            np.testing.assert_array_equal(mine[0], keras[0])
            np.testing.assert_array_equal(mine[1], keras[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_split": 1.2}, "expected test_split as a fraction from 0 to 1, got 1.2"),
        ({"test_split": float("nan")}, "expected test_split as a fraction from 0 to 1, got nan"),
        ({"test_split": "0.2"}, "expected test_split as a fraction from 0 to 1, got '0.2'"),
        ({"seed": -1}, "expected seed as a whole number from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, "expected seed as a whole number from 0 to 4294967295, got 4294967296"),
        ({"seed": None}, "expected seed as a whole number from 0 to 4294967295, got None"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        boston.load_data(**arguments)


def test_the_test_set_may_be_empty_or_everything():
    assert [len(y) for _, y in boston.load_data(test_split=0)] == [506, 0]
    assert [len(y) for _, y in boston.load_data(test_split=1)] == [0, 506]
