"""From a file to arrays and one line of description."""

from k3torch.data.columns import Columns
from k3torch.data.table import Table, split_table, valid_target
from k3torch.data.table_files import read_frame
from k3torch.errors import InputError
import numpy as np
import pandas as pd
import pytest


def table_of(tmp_path, text, target="price", **options):
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="cp1252")
    frame = read_frame(path)
    return Table.of(frame, Columns.fit(frame, target, **options))


def test_regression(tmp_path):
    table = table_of(tmp_path, "size;town;price\n1,5;Ulm;98.000\n2;Köln;412.000,5\n3;Ulm;30\n")
    assert table.x.tolist() == [[1.5, 0, 1], [2, 1, 0], [3, 0, 1]]
    assert table.y.tolist() == [98000, 412000.5, 30]
    assert (table.x.dtype, table.y.dtype) == (np.float64, np.float64)
    assert table.describe() == "3 rows: 1 numeric column, town -> 2 columns; target price: regression, 30 to 412,000"


@pytest.mark.parametrize(
    ("text", "options", "y", "description"),
    [
        ("a,price\n1,dear\n2,cheap\n3,dear\n", {}, [1, 0, 1], "classification, cheap (1), dear (2)"),
        ("a,price\n1,2\n2,1\n3,2\n", {}, [1, 0, 1], "classification, 1 (1), 2 (2)"),
        ("a,price\n1,2\n2,1\n3,2\n", {"task": "regression"}, [2, 1, 2], "regression, 1 to 2"),
        ("a,price\n1,True\n2,False\n3,True\n", {}, [1, 0, 1], "classification, False (1), True (2)"),
        (
            "a,price\n" + "".join(f"{i},{i % 3}\n" for i in range(6)),
            {},
            [0, 1, 2, 0, 1, 2],
            "regression, 0 to 2 (3 whole numbers: --task classification makes them classes)",
        ),
        (
            "a,price\n" + "".join(f"{i},{i % 8}\n" for i in range(16)),
            {"task": "classification"},
            [*range(8)] * 2,
            "classification, 0 (2), 1 (2), 2 (2), 3 (2), 4 (2), 5 (2) and 2 more",
        ),
    ],
)
def test_targets(tmp_path, text, options, y, description):
    table = table_of(tmp_path, text, **options)
    assert table.y.tolist() == y
    assert table.y.dtype == (np.int64 if description.startswith("class") else np.float64)
    assert table.describe() == f"{len(y)} rows: 1 numeric column; target price: {description}"


GAPS = "size,town,price\n1,a,1\n?,b,2\n3,a,3\n4,,4\n5,b,\n6,b,6\n"


def test_rows_with_missing_values_are_left_out(tmp_path):
    table = table_of(tmp_path, GAPS, missing="drop")
    assert table.x.tolist() == [[1, 1, 0], [3, 1, 0], [6, 0, 1]]
    assert table.y.tolist() == [1, 3, 6]
    assert table.left_out == 3
    assert table.describe() == (
        "3 rows: 1 numeric column, town -> 2 columns; rows with missing values left out: 3; "
        "target price: regression, 1 to 6"
    )


def test_missing_values_are_filled_in(tmp_path):
    table = table_of(tmp_path, GAPS.replace("5,b,\n", ""), missing="median", training=[0, 2])
    assert table.x.tolist() == [[1, 1, 0], [2, 0, 1], [3, 1, 0], [4, 0, 0], [6, 0, 1]]
    assert table.filled == 2
    assert "; missing values filled in: 2; " in table.describe()


def test_many_columns_are_summed_up(tmp_path):
    names = [f"c{i}" for i in range(8)]
    rows = [",".join([f"v{i % 2}"] * 8 + [str(i)]) for i in range(4)]
    described = table_of(tmp_path, "\n".join([",".join([*names, "price"]), *rows])).describe()
    assert described.startswith("4 rows: c0 -> 2 columns, ")
    assert "c5 -> 2 columns, 2 more -> 4 columns; target" in described


def test_another_table_is_encoded_by_the_same_columns(tmp_path):
    columns = table_of(tmp_path, "a,price\n1,dear\n2,cheap\n3,dear\n").columns
    path = tmp_path / "new.csv"
    path.write_text("price,a\ncheap,7\ncheap,8\n")
    table = Table.of(read_frame(path), columns)
    assert (table.x.tolist(), table.y.tolist()) == ([[7], [8]], [0, 0])
    path.write_text("price,a\nfree,7\n")
    with pytest.raises(
        InputError, match="one of the classes cheap, dear in the target 'price', found 'free' in data row 1"
    ):
        Table.of(read_frame(path), columns)
    path.write_text("a,b\n1,7\n")
    with pytest.raises(InputError, match="expected the target 'price' as a column, found none"):
        Table.of(read_frame(path), columns)


def frame_of(classes, rows=50):
    values = np.arange(float(rows))
    target = [f"class {i % classes}" for i in range(rows)] if classes else values * 10
    return pd.DataFrame({"size": values, "town": ["Ulm", "Bonn"] * (rows // 2), "price": target})


def test_a_fifth_of_the_rows_are_test_samples_drawn_by_the_seed():
    training, test = split_table(frame_of(0), "price", seed=3)
    assert (training.x.shape, test.x.shape) == ((40, 3), (10, 3))
    assert sorted([*training.x[:, 0], *test.x[:, 0]]) == list(range(50))
    np.testing.assert_array_equal(training.y, training.x[:, 0] * 10)
    again, other = split_table(frame_of(0), "price", seed=3)[1], split_table(frame_of(0), "price", seed=4)[1]
    assert test.x.tolist() == again.x.tolist() != other.x.tolist()


def test_each_class_has_the_same_fraction_of_test_samples():
    _, test = split_table(frame_of(5), "price")
    assert np.bincount(test.y).tolist() == [2] * 5


def test_medians_are_those_of_the_training_samples():
    frame = frame_of(0)
    frame.loc[7, "size"] = np.nan
    training, _ = split_table(frame, "price", missing="median")
    sizes = training.x[training.y != 70][:, 0]
    assert training.columns.medians["size"] == np.median(sizes)


def test_rows_with_missing_values_are_in_neither_part():
    frame = frame_of(2)
    frame.loc[[3, 4], "price"] = None
    training, test = split_table(frame, "price", missing="drop")
    assert sorted([*training.x[:, 0], *test.x[:, 0]]) == [i for i in range(50) if i not in (3, 4)]
    assert (training.left_out, test.left_out) == (0, 0)
    assert Table.of(frame, training.columns).left_out == 2


def test_classes_of_rows_that_are_left_out_do_not_count():
    frame = frame_of(2).astype({"size": object})
    frame.loc[7, "price"] = None  # as a class of its own it could not be divided
    frame.loc[[8, 10], "size"] = "?"
    training, test = split_table(frame, "price", missing="drop", test_size=0.5)
    assert (np.bincount(training.y).tolist(), np.bincount(test.y).tolist()) == ([11, 12], [12, 12])


def test_a_class_that_cannot_be_divided_is_named():
    frame = frame_of(2)
    frame.loc[7, "price"] = "rare"
    with pytest.raises(InputError, match=r"only 1 member.*\['rare'\]$"):
        split_table(frame, "price")


def test_texts_of_the_same_class_are_one_class():
    frame = frame_of(0)
    frame["price"] = pd.Series([True, "true", "FALSE", False, " False"] * 10, dtype=object)
    frame.loc[49, "price"] = "TRUE"  # one of its kind
    training, test = split_table(frame, "price", test_size=0.5)
    assert training.columns.classes == ("False", "True")
    assert (np.bincount(training.y).tolist(), np.bincount(test.y).tolist()) == ([14, 11], [15, 10])


@pytest.mark.parametrize(
    ("target", "options", "cells", "y"),
    [
        ([1.0, 2.0, 3.0, "?"] * 2, {"missing": "drop", "task": "classification"}, ["?", "x", 3.0], [2]),
        ([1.5, 2.5, 3.5, 4.5], {"missing": "drop"}, ["?", "x", 3.0], [3]),
        ([True, False, True, False], {}, [1.0, "FALSE", True], [1, 0, 1]),
        ([True, False, True, False], {"task": "regression"}, [1.0, "FALSE", True], [1, 0, 1]),
        (["b", "a", "a", "b"], {}, ["b", "b", "b"], [1, 1, 1]),
        (["1", "2", "1", "2"], {}, [2.0, "1", 1.0], [1, 0, 0]),
    ],
)
def test_another_table_has_the_target_of_the_kind_that_was_fitted(target, options, cells, y):
    frame = pd.DataFrame({"a": np.arange(float(len(target))), "y": pd.Series(target, dtype=object)})
    columns = Columns.fit(frame, "y", **options)
    new = pd.DataFrame({"a": [0.0, 1.0, 2.0], "y": pd.Series(cells, dtype=object)})
    assert Table.of(new, columns).y.tolist() == y


def test_a_valid_target_is_a_number_or_a_class():
    frame = pd.DataFrame({"a": range(4), "y": ["no", "yes", "no", "yes"]})
    columns = Columns.fit(frame, "y")
    new = pd.DataFrame({"y": ["yes", "?", None, "no"]})
    np.testing.assert_array_equal(valid_target(new, columns), [1, np.nan, np.nan, 0])
    np.testing.assert_array_equal(valid_target(new.rename(columns={"y": "x"}), columns), [np.nan] * 4)


@pytest.mark.parametrize("frame", [frame_of(0, 2).iloc[:1], frame_of(2, 2), frame_of(25)])
def test_a_table_too_small_to_be_divided_is_refused_in_one_line(frame):
    with pytest.raises(InputError, match=r"^expected [^\n]*$"):
        split_table(frame, "price")
