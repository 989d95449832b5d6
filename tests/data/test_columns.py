"""Columns fitted on one table and applied to others: exact features, or one line that says what to do."""

from k3torch.data.columns import Columns
from k3torch.errors import InputError
import pandas as pd
import pytest


def frame(**columns):
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


HOMES = frame(
    size=[1.5, 2, 4, 3],
    garden=["true", "False", "true", "true"],
    city=["Ulm", "Bonn", "Ulm", "Ulm"],
    price=[1, 2, 3, 4],
)
GAPS = frame(size=[1.0, "?", 3, 4, 100], city=["a", "b", None, "a", "c"], price=[1, 2, 3, 4, 5])


def refused(message, table, target="price", **options):
    with pytest.raises(InputError) as caught:
        Columns.fit(table, target, **options)
    assert str(caught.value) == message


def test_columns_become_features():
    columns = Columns.fit(HOMES, "price")
    assert columns.kinds == {"size": "number", "garden": "bool", "city": "text"}
    assert [feature.name for feature in columns.features] == ["size", "garden", "city=Bonn", "city=Ulm"]
    assert columns.encode(HOMES).tolist() == [[1.5, 1, 0, 1], [2, 0, 1, 0], [4, 1, 0, 1], [3, 1, 0, 1]]
    assert (columns.task, columns.classes, columns.medians) == ("regression", (), {})


def test_new_rows_may_have_other_columns_in_another_order(capsys):
    columns = Columns.fit(HOMES.assign(note=list("abcd")), "price", drop=("note",))
    new = frame(color=["red"], city=["Bonn"], note=["e"], garden=[1], size=[9])
    assert columns.encode(new).tolist() == [[9, 1, 1, 0]]
    assert (columns.ignored(new), columns.ignored(HOMES)) == (["color"], [])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (
            frame(Size=[9], city=["Bonn"]),
            "expected the columns 'size', 'garden', 'city', found none named 'size' and none named 'garden', did "
            "you mean "
            "'Size'?",
        ),
        (
            frame(size=[9, None], garden=[True, True], city=["Ulm", "Ulm"]),
            "expected a number in every cell, found none in data row 2, column 'size': "
            "fill in the value or delete the row",
        ),
        (
            frame(size=[9], garden=["maybe"], city=["Ulm"]),
            "expected a bool in every cell, found 'maybe' in data row 1, column 'garden': fill in the value or "
            "delete the "
            "row",
        ),
        (
            frame(size=[9], garden=[True], city=["Köln"]),
            "expected a value of column 'city' that occurs in the table of the training samples (Bonn, Ulm), "
            "found 'Köln' "
            "in data row 1",
        ),
        (
            frame(size=[9, -1e39], garden=[True, True], city=["Ulm", "Ulm"]),
            "expected numbers up to 3e+38, found -1e+39 in data row 2, column 'size'",
        ),
    ],
)
def test_new_rows_that_do_not_fit_are_one_line(new, message):
    with pytest.raises(InputError) as caught:
        Columns.fit(HOMES, "price").encode(new)
    assert str(caught.value) == message


def test_missing_values_are_refused_dropped_or_filled():
    refused(
        "expected a number in every cell, found '?' in data row 2, column 'size' (the first of 2 such cells): "
        "fill it in, or pass --missing drop or --missing median",
        GAPS,
    )
    dropping = Columns.fit(GAPS, "price", missing="drop")
    assert [feature.name for feature in dropping.features] == [
        "size",
        "city=a",
        "city=c",
    ]  # b is in no row that is kept
    filling = Columns.fit(GAPS, "price", missing="median", training=[0, 2])
    assert filling.medians == {"size": 2.0}
    assert filling.encode(GAPS).tolist() == [[1, 1, 0, 0], [2, 0, 1, 0], [3, 0, 0, 0], [4, 1, 0, 0], [100, 0, 0, 1]]
    assert Columns.fit(GAPS, "price", missing="median").medians == {"size": 3.5}


def test_dropping_does_not_change_the_rows_that_messages_name():
    table = frame(size=["?", 2, 1e39, 4], price=[1, 2, 3, 4])
    refused("expected numbers up to 3e+38, found 1e+39 in data row 3, column 'size'", table, missing="drop")
    assert (
        Columns.fit(frame(size=[float("inf"), 2, 1, 4], price=[None, 2, 3, 4]), "price", missing="drop").target
        == "price"
    )


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (
            frame(size=[1, 2], price=[None, 2]),
            {"missing": "median"},
            "expected a number in every cell, found none in data row 1, column 'price': fill it in, delete the row, or "
            "pass --missing drop",
        ),
        (
            frame(size=[1, None], price=[None, 2]),
            {"missing": "drop"},
            "expected a row without missing values, found none: pass --missing median",
        ),
        (
            frame(size=[None, 2, 3], price=[1, 2, 3]),
            {"missing": "median", "training": [0]},
            "expected a number in column 'size' of the training samples, found none: leave it out with --drop size",
        ),
        (
            frame(size=[1, 2], price=[1, float("inf")]),
            {},
            "expected numbers up to 3e+38, found inf in data row 2, column 'price'",
        ),
        (
            frame(
                **{"the id": ["x", "y", "z"]},
                sold=["2020-01-31"] * 3,
                mixed=["a", "b", 1],
                none=[None] * 3,
                price=[1, 2, 3],
            ),
            {},
            "expected columns of numbers, or of texts with a few different values, found a different value in "
            "every row, "
            "such as 'x' in column 'the id'; dates such as '2020-01-31' in column 'sold'; texts and numbers such "
            "as 'a' "
            "and 1 in column 'mixed'; no values in column 'none': leave them out with --drop 'the id' sold mixed none",
        ),
        (
            frame(street=[f"s{i % 31}" for i in range(62)], price=list(range(62))),
            {},
            "expected columns of numbers, or of texts with a few different values, found 31 different values, such as "
            "'s0' in column 'street': leave it out with --drop street",
        ),
        (
            HOMES,
            {"target": "prize", "task": "x", "missing": "mean", "drop": ("x",)},
            "expected task as one of 'auto', 'regression', 'classification', got 'x'; expected missing as one of "
            "'refuse', 'drop', 'median', got 'mean', did you mean 'median'?; expected the name of a column for the "
            "target, got 'prize', which the table does not have, did you mean 'price'?; expected the name of a column "
            "for drop, got 'x', which the table does not have: it has size, garden, city, price",
        ),
        (HOMES, {"drop": ("price",)}, "expected a target that is not dropped, got 'price' for both"),
        (
            HOMES,
            {"drop": ("size", "city", "garden")},
            "expected a column beside the target and those dropped, got none",
        ),
        (frame(size=[], price=[]), {}, "expected a table with rows, got none"),
    ],
)
def test_what_cannot_be_fitted_is_one_line(table, options, message):
    refused(message, table, **options)


@pytest.mark.parametrize("options", [{}, {"missing": "median"}, {"missing": "drop", "drop": ("garden",)}])
def test_saved_columns_are_loaded(tmp_path, options):
    columns = Columns.fit(HOMES, "price", **options)
    columns.save(tmp_path / "columns.json")
    assert Columns.load(tmp_path / "columns.json") == columns
    assert columns.medians == ({"size": 2.5, "garden": 1.0} if options == {"missing": "median"} else {})
    classes = Columns.fit(HOMES, "city")
    classes.save(tmp_path / "columns.json")
    assert Columns.load(tmp_path / "columns.json") == classes
    assert (classes.classes, classes.target_kind) == (("Bonn", "Ulm"), "text")
    garden = Columns.fit(HOMES, "garden")
    garden.save(tmp_path / "columns.json")
    assert Columns.load(tmp_path / "columns.json") == garden
    assert (garden.classes, garden.target_kind) == (("False", "True"), "bool")


def test_training_samples_are_row_numbers_or_a_mask():
    masked = Columns.fit(GAPS, "price", missing="median", training=[True, False, True, False, False])
    assert masked.medians == {"size": 2.0}
    for training in ([5], [-1], [0.5], [True], "x"):
        with pytest.raises(InputError, match="expected training as row numbers from 0 to 4 or a mask, got"):
            Columns.fit(GAPS, "price", missing="median", training=training)


def test_names_are_different_texts():
    for names in (["a", "a", "price"], [0, "a", "price"]):
        table = pd.DataFrame([[1, 2, 3], [2, 3, 4], [3, 4, 5]], columns=names)
        with pytest.raises(InputError, match=r"^expected a different text as the name of each column, got \["):
            Columns.fit(table, "price")
        with pytest.raises(InputError, match=r"^expected a different text as the name of each column, got \["):
            Columns.fit(HOMES, "price").encode(table)
