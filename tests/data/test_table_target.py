"""Regression or classification, and the numbers of both."""

from k3torch.data.table_target import encode_target, known_target, target_kind, task_of
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
        (["true", "false", "true"], "auto", ("classification", ("False", "True"))),
        ([True, "true", "FALSE", False], "auto", ("classification", ("False", "True"))),
        (["true", "false", "true"], "regression", ("regression", ())),
    ],
)
def test_tasks(cells, task, expected):
    assert task_of(cells, "y", task, target_kind(cells, "y")) == expected


@pytest.mark.parametrize(
    ("cells", "task", "message"),
    [
        ([1.0, 1.0], "auto", "expected two different values or more in the target 'y', found only 1"),
        (["true", "TRUE"], "auto", "expected two different values or more in the target 'y', found only True"),
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
        task_of(cells, "y", task, target_kind(cells, "y"))
    assert str(caught.value) == message


def test_dates_are_no_target():
    with pytest.raises(InputError) as caught:
        target_kind(["2020-01-31", "2020-02-01"], "y")
    assert str(caught.value) == "expected numbers or classes in the target 'y', found dates such as '2020-01-31'"


@pytest.mark.parametrize(
    ("cells", "classes", "kind", "expected"),
    [
        ([1.5, None, 2.0, "?", True], (), "number", [1.5, np.nan, 2, np.nan, np.nan]),
        ([True, "false", 1.0, "?"], (), "bool", [1, 0, 1, np.nan]),
        (["b", None, "a"], ("a", "b"), "text", [1, np.nan, 0]),
        ([2.0, "?", 1.0], ("1", "2"), "number", [1, np.nan, 0]),
        ([2.0, "1"], ("1", "2"), "text", [1, 0]),
        ([True, "TRUE", "false", 0.0, "?"], ("False", "True"), "bool", [1, 1, 0, 0, np.nan]),
        (["?", "?"], ("1", "2"), "number", [np.nan, np.nan]),
    ],
)
def test_numbers_of_targets(cells, classes, kind, expected):
    np.testing.assert_array_equal(encode_target(cells, "y", classes, kind), expected)
    np.testing.assert_array_equal(known_target(cells, classes, kind), expected)


@pytest.mark.parametrize(
    ("cells", "classes", "kind", "message"),
    [
        (["a", "c"], ("a", "b"), "text", "expected one of the classes a, b in the target 'y', found 'c' in data row 2"),
        ([1.0, 3.0], ("1", "2"), "number", "expected one of the classes 1, 2 in the target 'y', found 3 in data row 2"),
        ([1.0, -np.inf], (), "number", "expected numbers up to 3e+38, found -inf in data row 2, column 'y'"),
    ],
)
def test_another_target_than_the_fitted_one(cells, classes, kind, message):
    with pytest.raises(InputError) as caught:
        encode_target(cells, "y", classes, kind)
    assert str(caught.value) == message
    np.testing.assert_array_equal(known_target(cells, classes, kind), [1.0 if not classes else 0.0, np.nan])
