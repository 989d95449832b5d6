"""What each kind of column is recognised by."""

import datetime
from decimal import Decimal

from k3torch.data import column_kinds
from k3torch.errors import InputError
import numpy as np
import pandas as pd
import pytest


def test_cells_of_any_dtype():
    mixed = pd.Series(
        [1, np.int8(2), np.float32(0.5), Decimal("1.5"), " a ", "", np.True_, None, np.nan, pd.NA, pd.NaT]
    )
    expected = [1.0, 2.0, 0.5, 1.5, "a", None, True, None, None, None, None]
    found = column_kinds.cells_of(mixed)
    assert found == expected
    assert [type(cell) for cell in found] == [type(cell) for cell in expected]
    assert column_kinds.cells_of(pd.Series([1, None], dtype="Int64")) == [1.0, None]
    assert column_kinds.cells_of(pd.Series(["x", "y"], dtype="category")) == ["x", "y"]


@pytest.mark.parametrize(
    ("cells", "kind", "found"),
    [
        ([1.0, None, 2.0], "number", ""),
        ([1.0, "?"], "number", ""),
        ([1.0, "?", "x"], None, "numbers and texts such as 1 and '?'"),
        ([True, None], "bool", ""),
        (["true", "FALSE", None], "bool", ""),
        (["true", "maybe"], "text", ""),
        ([True, 3.0], None, "bools and numbers such as True and 3"),
        ([None, None], None, "no values"),
        (["a", "b", None], "text", ""),
        (["jan", "feb"], "text", ""),
        (["1-5", "6-10"], "text", ""),
        (["Model 2020", "Model 2021"], "text", ""),
        (["2020-01-31", None], None, "dates such as '2020-01-31'"),
        (["31.01.2020", "01.02.2020"], None, "dates such as '31.01.2020'"),
        (["01/31/2020 10:15"], None, "dates such as '01/31/2020 10:15'"),
        (["12 March 2020", "1 May 2021"], None, "dates such as '12 March 2020'"),
        (["2020-01-31T10:00:00Z", "2020-01-31T10:00:00+02:00"], None, "dates such as '2020-01-31T10:00:00Z'"),
        (["12:30", "13:45"], None, "dates such as '12:30'"),
        (["2020-01-31", "unknown"], "text", ""),
        ([datetime.date(2020, 1, 31)], None, "dates such as 2020-01-31"),
        ([pd.Timedelta("1h")], None, "dates such as 0 days 01:00:00"),
        ([b"x"], None, "cells of type bytes such as b'x'"),
        ([[1, 2]], None, "cells of type list such as [1, 2]"),
        ([1j], None, "cells of type complex such as 1j"),
    ],
)
def test_kinds(cells, kind, found):
    assert column_kinds.kind_of(cells) == (kind, found)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        (["a", "b", "a"], None),
        (["a"], None),
        (["a", "b"], "a different value in every row, such as 'a'"),
        ([f"c{i % 30}" for i in range(60)], None),
        ([f"c{i % 31}" for i in range(62)], "31 different values, such as 'c0'"),
    ],
)
def test_categories(cells, problem):
    assert column_kinds.category_problem(cells) == problem


def test_bools_and_texts_of_cells():
    assert [column_kinds.as_bool(cell) for cell in (True, "False", 1.0, 0.0, 2.0, "x", None)] == [
        True, False, True, False, None, None, None
    ]  # fmt: skip
    assert [column_kinds.as_text(cell) for cell in (1.0, 1.5, -2.0, "a", True)] == ["1", "1.5", "-2", "a", "True"]


def test_the_first_gap_by_rows_is_named():
    cells = {"a": [1.0, 2.0, "?"], "b": ["x", None, "y"], "c": ["true", "true", 2.0]}
    kinds = {"a": "number", "b": "text", "c": "bool"}
    assert column_kinds.gaps(cells, kinds).tolist() == [[False] * 3, [False, True, False], [True, False, True]]
    assert column_kinds.gap_problem(cells, kinds, "do") == (
        "a value in every cell, found none in data row 2, column 'b' (the first of 3 such cells): do"
    )
    assert column_kinds.gap_problem(cells, {"a": "number"}, "do") == (
        "a number in every cell, found '?' in data row 3, column 'a': do"
    )
    assert column_kinds.gap_problem({"a": [1.0]}, {"a": "number"}, "do") is None


def test_numbers_beyond_float32_are_refused():
    largest = float(np.finfo("float32").max)
    assert column_kinds.numbers_of([largest, -largest], "a").tolist() == [largest, -largest]
    np.testing.assert_array_equal(column_kinds.numbers_of([1.0, "?", None], "a"), [1, np.nan, np.nan])
    for value, shown in ((-1e39, "-1e+39"), (float("inf"), "inf")):
        with pytest.raises(InputError) as caught:
            column_kinds.numbers_of([1.0, value], "a")
        assert str(caught.value) == f"expected numbers up to 3e+38, found {shown} in data row 2, column 'a'"
