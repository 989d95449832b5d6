"""predict_table.py on the models of kfold_table.py: values, classes, files, and one-line refusals."""

import io
import json

from k3torch.data.column import Column
from k3torch.data.columns import Columns
import keras
import numpy as np
import pandas as pd
import pytest


def run_of(folder, classes=(), kind="text", missing="refuse"):
    """Write a run folder whose model computes ``10 size + 5`` for Ulm, or class probabilities from it."""
    folder.mkdir()
    columns = (Column("size", "number"), Column("town", "text", ("Bonn", "Ulm")))
    if classes:
        columns = Columns("kind", "classification", classes, columns, target_kind=kind, missing=missing)
    else:
        columns = Columns("price", "regression", (), columns, missing=missing)
    columns.save(folder / "columns.json")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, "sigmoid" if classes else "linear")])
    model.compile("sgd", "mse")
    model.set_weights([np.array([[10.0], [0.0], [5.0]]), np.zeros(1)])
    model.save(folder / "model.keras")
    return folder


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("town;note;size\nUlm;a;1,5\nBonn;b;-2\n")
    return path


def test_predictions_are_a_further_column(call, tmp_path, table):
    code, out, err = call("predict_table.py", run_of(tmp_path / "run"), table)
    assert code == 0
    found = pd.read_csv(io.StringIO(out))
    assert list(found.columns) == ["town", "note", "size", "predicted price"]
    np.testing.assert_allclose(found["predicted price"], [20, -20])
    assert err == "ignoring columns that the model was not trained on: note\n"


def test_classes_come_with_their_probabilities(call, tmp_path, table):
    _, out, _ = call("predict_table.py", run_of(tmp_path / "run", ("cheap", "dear")), table)
    found = pd.read_csv(io.StringIO(out))
    assert found["predicted kind"].tolist() == ["dear", "cheap"]
    np.testing.assert_allclose(found["probability of dear"], [1 / (1 + np.exp(-20)), 1 / (1 + np.exp(20))])
    np.testing.assert_allclose(found["probability of cheap"] + found["probability of dear"], 1)


@pytest.mark.parametrize(
    ("classes", "targets", "said"),
    [
        ((), ("price", 25, -20), "mean absolute error of price: 2.5"),
        (("cheap", "dear"), ("kind", "dear", "dear"), "accuracy of kind: 0.5000"),
    ],
)
def test_a_known_target_is_compared(call, tmp_path, classes, targets, said):
    path = tmp_path / "known.csv"
    name, first, second = targets
    path.write_text(f"size,town,{name}\n1.5,Ulm,{first}\n-2,Bonn,{second}\n")
    code, _, err = call("predict_table.py", run_of(tmp_path / "run", classes), path)
    assert (code, err) == (0, said + "\n")


BOOLS = ("False", "True")


@pytest.mark.parametrize("missing", ["refuse", "drop"])
@pytest.mark.parametrize(
    ("classes", "kind", "targets", "said"),
    [
        ((), "number", (25, "?"), "mean absolute error of price: 5 (1 of 2 rows: the others have no number there)"),
        ((), "number", ("?", "none"), "no score: no row has a number as price"),
        ((), "number", ("", ""), "no score: no row has a number as price"),
        ((), "number", (25, "1e39"), "mean absolute error of price: 5 (1 of 2 rows: the others have no number there)"),
        (("cheap", "dear"), "text", ("dear", "new"),
         "accuracy of kind: 1.0000 (1 of 2 rows: the others have none of the classes cheap, dear there)"),
        (("cheap", "dear"), "text", (1, 2), "no score: no row has one of the classes cheap, dear as kind"),
        (("0", "1"), "number", (1, "?"),
         "accuracy of kind: 1.0000 (1 of 2 rows: the others have none of the classes 0, 1 there)"),
        (BOOLS, "bool", ("true", "FALSE"), "accuracy of kind: 1.0000"),
        (BOOLS, "bool", (1, 1), "accuracy of kind: 0.5000"),
    ],
)  # fmt: skip
def test_rows_with_a_valid_target_are_compared(call, tmp_path, missing, classes, kind, targets, said):
    path = tmp_path / "known.csv"
    path.write_text("size,town,{}\n1.5,Ulm,{}\n-2,Bonn,{}\n".format("kind" if classes else "price", *targets))
    code, out, err = call("predict_table.py", run_of(tmp_path / "run", classes, kind, missing), path)
    assert (code, err) == (0, said + "\n")
    assert len(out.splitlines()) == 3


def test_the_cells_of_the_user_stay_as_they_are(call, tmp_path):
    path = tmp_path / "new.csv"
    path.write_text("id;code;size;town;empty\n12345678901234567;00123;3;Ulm;\n2;7;-2,0;Bonn;NA\n")
    _, out, err = call("predict_table.py", run_of(tmp_path / "run"), path)
    assert out.replace("\r", "") == (
        'id,code,size,town,empty,predicted price\n12345678901234567,00123,3,Ulm,,35.0\n2,7,"-2,0",Bonn,NA,-20.0\n'
    )
    assert err == "ignoring columns that the model was not trained on: id, code, empty\n"


def test_a_table_of_other_columns_is_one_line(call, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("note,town\n1,Ulm\n2,Ulm\n")
    code, out, err = call("predict_table.py", run_of(tmp_path / "run"), path)
    assert (code, out) == (2, "")
    assert err == "error: expected the columns 'size', 'town', found none named 'size'\n"


@pytest.mark.parametrize("name", ["predicted kind", "probability of dear"])
def test_a_table_with_a_column_of_the_output_is_refused(call, tmp_path, name):
    path, out = tmp_path / "new.csv", tmp_path / "out.csv"
    path.write_text(f"size,town,{name}\n1,Ulm,3\n")
    run = run_of(tmp_path / "run", ("cheap", "dear"))
    code, said, err = call("predict_table.py", run, path, "--out", out)
    assert (code, said) == (2, "")
    assert err == (
        f"error: expected a table without {name!r}, which the output adds, got {path}: rename it or leave it out\n"
    )
    assert not out.exists()


def test_a_file_is_written_once(call, tmp_path, table):
    run, out = run_of(tmp_path / "run"), tmp_path / "predictions.csv"
    code, said, err = call("predict_table.py", run, table, "--out", out)
    assert (code, said, err.splitlines()[-1]) == (0, "", f"2 rows written to {out}")
    before = out.read_bytes()
    code, _, err = call("predict_table.py", run, table, "--out", out)
    assert code == 2
    assert err == f"error: expected a new file for --out, found {out}: --force replaces it\n"
    assert out.read_bytes() == before
    assert call("predict_table.py", run, table, "--out", out, "--force")[0] == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("town,note\nUlm,a\n", "found none named 'size'"),
        ("size,town\n1,Kiel\n", "found 'Kiel' in data row 1"),
        ("size,town\n?,Ulm\n", "data row 1"),
        ("", "found an empty file"),
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_one_line(call, tmp_path, content, message):
    path = tmp_path / "new.csv"
    path.write_text(content)
    code, out, err = call("predict_table.py", run_of(tmp_path / "run"), path)
    assert (code, out) == (2, "")
    *notices, error = err.splitlines()
    assert message in error
    assert all(notice.startswith("ignoring columns") for notice in notices)


@pytest.mark.parametrize("damage", ["columns.json", "model.keras", "folder", "other"])
def test_a_folder_that_is_no_run_is_refused_in_one_line(call, tmp_path, table, damage):
    run = run_of(tmp_path / "run")
    if damage == "folder":
        run = tmp_path / "none"
    elif damage == "other":  # the columns of another model
        content = json.loads((run / "columns.json").read_text())
        content["columns"] = content["columns"][:1]
        (run / "columns.json").write_text(json.dumps(content))
    else:
        (run / damage).unlink()
    code, out, err = call("predict_table.py", run, table)
    assert (code, out) == (2, "")
    assert err.startswith("error: expected")
    assert err.count("\n") == 1 + err.startswith("ignoring")


@pytest.mark.parametrize("name", ["p.xlsx", "p.parquet", "p"])
def test_the_output_is_csv_and_named_so(call, tmp_path, table, name):
    code, _, err = call("predict_table.py", run_of(tmp_path / "run"), table, "--out", tmp_path / name)
    assert code == 2
    assert "as a file ending in .csv or .txt" in err
    assert not (tmp_path / name).exists()
