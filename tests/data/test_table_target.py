"""Regression or classification, and the numbers of both."""

from k3torch.data.table_target import encode_target, target_kind, task_of
from k3torch.errors import InputError
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("cells", "task", "expected"),
    [
        ([1.0, 2.0, 3.0], "auto", ("regression", ())),
        ([1.0, 2.0, 1.0], "auto", ("classification", ("1", "2"))),
        ([10.0, 2.0, 2.0], "auto", ("classification", ("2", "10"))),
        ([1.0, 0.5, 1.0], "auto", ("classification", ("0.5", "1"))),
        ([1.0, 2.0, 1.0], "regression", ("regression", ())),
        ([3.0, 1.0, 2.0, 1.0, 10.0], "classification", ("classification", ("1", "2", "3", "10"))),
        (["b", "a", "B", "a"], "auto", ("classification", ("B", "a", "b"))),
        ([True, False, True], "auto", ("classification", ("False", "True"))),
        ([True, False, True], "regression", ("regression", ())),
        (["true", "false", "true"], "auto", ("classification", ("false", "true"))),
    ],
)
def test_tasks(cells, task, expected):
    assert task_of(cells, "y", task) == expected


@pytest.mark.parametrize(
    ("cells", "task", "message"),
    [
        ([1.0, 1.0], "auto", "expected two different values or more in the target 'y', found only 1"),
        (["a", "a"], "auto", "expected two different values or more in the target 'y', found only 'a'"),
        (["a", "b", "a"], "regression", "expected numbers in the target 'y' of a regression, found 'a'"),
        (
            ["a", "b", "c"],
            "auto",
            "expected classes of several samples in the target 'y', found a different value in every row, such as 'a'",
        ),
        (
            [float(i % 101) for i in range(202)],
            "classification",
            "expected classes of several samples in the target 'y', found 101 different values, such as '0'",
        ),
    ],
)
def test_targets_that_the_task_cannot_have(cells, task, message):
    with pytest.raises(InputError) as caught:
        task_of(cells, "y", task)
    assert str(caught.value) == message


def test_dates_are_no_target():
    with pytest.raises(InputError) as caught:
        target_kind(["2020-01-31", "2020-02-01"], "y")
    assert str(caught.value) == "expected numbers or classes in the target 'y', found dates such as '2020-01-31'"


def test_numbers_of_targets():
    np.testing.assert_array_equal(encode_target([1.5, None, 2.0, "?"], "y", ()), [1.5, np.nan, 2, np.nan])
    np.testing.assert_array_equal(encode_target([True, False], "y", ()), [1, 0])
    np.testing.assert_array_equal(encode_target(["b", None, "a"], "y", ("a", "b")), [1, np.nan, 0])
    np.testing.assert_array_equal(encode_target([2.0, "?", 1.0], "y", ("1", "2")), [1, np.nan, 0])


@pytest.mark.parametrize(
    ("cells", "classes", "message"),
    [
        (["a", "c"], ("a", "b"), "expected one of the classes a, b in the target 'y', found 'c' in data row 2"),
        ([1.0, 3.0], ("1", "2"), "expected one of the classes 1, 2 in the target 'y', found 3 in data row 2"),
        (["a", "c"], (), "expected numbers in the target 'y', found texts"),
    ],
)
def test_another_target_than_the_fitted_one(cells, classes, message):
    with pytest.raises(InputError) as caught:
        encode_target(cells, "y", classes)
    assert str(caught.value) == message
