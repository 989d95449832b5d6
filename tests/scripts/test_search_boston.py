"""search_boston.py: the best candidate sees the training samples alone, and is compared with others on the test."""

import csv
from dataclasses import replace
import importlib.util
import json
from pathlib import Path

from k3torch import SearchResult, cross_validate
from k3torch.data import boston
from k3torch.data.columns import Columns
from k3torch.errors import InputError
from k3torch.options import Machine, Output, TableFormat
import keras
import numpy as np
import pandas as pd
import pytest

spec = importlib.util.spec_from_file_location("search_boston", Path(__file__).parents[2] / "scripts/search_boston.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


def quick_search(build, grid, *, x, y, folds, repeats, seed, normalize, normalize_y, **_):
    """Stands for ``search``: one epoch of ``fit``, and the model of the first fold as the best one."""
    settings = [dict(params) for params in (grid or [{}])]
    arguments = {"normalize": normalize, "normalize_y": normalize_y, "seed": seed, "repeats": repeats, "folds": folds}
    found = [
        cross_validate(lambda p=p: build(**p), x, y, epochs=1, batch_size=100, engine="fit", verbose=0, **arguments)
        for p in settings
    ]
    scores = np.array([result.scores for result in found])
    sign = -1 if found[0].greater_is_better else 1
    best = int(np.argmin(sign * scores.mean(axis=(1, 2))))
    ones = np.ones(len(found))
    return SearchResult(
        settings, scores, ones.astype("int64"), ones, best, found[best].models[0], found[best]
    )  # fmt: skip


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(script, "search", quick_search)


COMPARED = ["the best candidate", "the mean of its fold models"]


@pytest.fixture
def settings(tmp_path):
    return script.Settings(candidates=2, folds=2, epochs=2, batch_size=64, output=Output(tmp_path / "run"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    a, b = np.random.default_rng(1).normal(size=(2, 60))
    path = tmp_path_factory.mktemp("cells") / "cells.csv"
    pd.DataFrame({"a": a, "b": b, "kind": np.where(a > b, "round", "flat")}).to_csv(path, index=False)
    return path


def test_it_leaves_the_candidates_and_a_model_whose_test_error_is_the_reported_one(settings, quick, capsys):
    script.main(settings)
    out, said = settings.output.out, capsys.readouterr().out
    found = json.loads((out / "metrics.json").read_text())
    assert (found["status"], found["candidates"]) == ("complete", 2)
    rows = list(csv.DictReader((out / "candidates.csv").open()))
    assert [float(row["mean"]) for row in rows] == sorted(float(row["mean"]) for row in rows)
    assert float(rows[0]["mean"]) == pytest.approx(found["mean"])
    assert found["best_params"].keys() == {"units", "activation", "dropout", "rate", "decay"}
    compared = found["compared"]
    lecture, *others = compared
    assert lecture.startswith("the lecture's network, ")
    assert others == [*COMPARED, "the median", "ridge regression", "gradient boosting"]
    report = (out / "report.html").read_text()
    assert all(name in report for name in ("the best of 2 candidates", *COMPARED))
    _, (x, y) = boston.load_data()
    model = keras.saving.load_model(out / "model.keras")
    assert np.abs(model.predict(x, verbose=0)[:, 0] - y).mean() == pytest.approx(compared["the best candidate"]["test"])
    assert found["test"] == compared["the best candidate"]["test"]
    assert compared["ridge regression"]["test"] == pytest.approx(3.442, abs=1e-3)
    assert [column.name for column in Columns.load(out / "columns.json").columns] == list(boston.FEATURES)
    assert (out / "candidates.png").read_bytes()[:4] == b"\x89PNG"
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())
    report = (out / "report.html").read_text("utf-8")
    for text in ("the best of 2 candidates: activation ", "ridge regression", "selected on these folds, so"):
        assert text in said
        assert text in report


def test_a_table_with_classes_is_searched_by_accuracy(settings, quick, cells):
    script.main(replace(settings, table=cells, target="kind", batch_size=4, machine=Machine(seed=1)))
    found = json.loads((settings.output.out / "metrics.json").read_text())
    compared = found["compared"]
    assert list(compared)[1:] == [*COMPARED, "the most frequent class", "logistic regression", "gradient boosting"]
    assert all(0 <= values["test"] <= 1 for values in compared.values())
    assert compared["logistic regression"]["test"] > 0.8
    assert Columns.load(settings.output.out / "columns.json").classes == ("flat", "round")


@pytest.mark.slow
def test_a_real_search_beats_the_median_by_far(settings):
    script.main(replace(settings, epochs=30, batch_size=16))
    compared = json.loads((settings.output.out / "metrics.json").read_text())["compared"]
    assert compared["the best candidate"]["test"] < 4 < compared["the median"]["test"]


def test_candidates_are_drawn_by_the_seed(settings):
    drawn = [list(script.draws(replace(settings, machine=Machine(seed=s), candidates=30), 7)) for s in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert all(0.05 <= d["dropout"] <= 0.3 and 1e-3 <= d["rate"] <= 1e-2 and d["steps"] == 7 for d in drawn[0])
    assert {d["units"] for d in drawn[0]} == {(64, 64), (128, 128)}


def test_the_score_of_outputs():
    columns = Columns("y", "regression", (), ())
    table = script.Table(np.zeros((2, 1)), np.array([1.0, 3.0]), columns, np.arange(2))
    assert script.score(np.array([[2.0], [6.0]]), table) == 2
    classes = replace(table, y=np.array([0, 1]), columns=replace(columns, task="classification", classes=("a", "b")))
    assert script.score(np.array([[0.6], [0.7]]), classes) == 0.5
    assert script.score(np.array([[0.6, 0.4], [0.1, 0.9]]), classes) == 1


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"candidates": 0, "epochs": 0}, "candidates as a whole number of 1 or more, got 0; expected epochs as"),
        ({"halving": 1}, "expected halving as a whole number of 2 or more, got 1"),
        ({"folds": 1}, "expected from 2 folds"),
        ({"folds": 500}, "expected from 2 folds"),
        ({"target": "price"}, "expected --target only with --table, got no table"),
        (
            {"missing": "median", "drop": ("a",), "table_format": TableFormat(decimal=",")},
            "expected --missing only with --table, got no table; expected --drop only .*; expected --decimal only",
        ),
        ({"table": Path("a.csv")}, "expected --target with --table, got none"),
        ({"table": Path("a.csv"), "target": "price"}, "a.csv"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(settings, choice, message):
    with pytest.raises(InputError, match=message):
        script.main(replace(settings, **choice))
    assert not settings.output.out.exists()


def test_more_folds_than_samples_of_a_class_are_refused(settings, cells):
    with pytest.raises(InputError, match=r"expected from 2 folds to 2[0-9], the samples of the smallest class, got 40"):
        script.main(replace(settings, table=cells, target="kind", folds=40))
