"""kfold_table.py on made-up tables: results in the target's unit, simpler models, a model that takes raw columns."""

from dataclasses import replace
import importlib.util
import json
from pathlib import Path

from k3torch.data.columns import Columns
from k3torch.data.table_files import read_frame
from k3torch.errors import InputError
from k3torch.options import Output
import keras
import numpy as np
import pandas as pd
import pytest

spec = importlib.util.spec_from_file_location("kfold_table", Path(__file__).parents[2] / "scripts/kfold_table.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    """240 houses with prices about 250,000, noise 20,000, linear in size and rooms, higher in one of three towns."""
    rng = np.random.default_rng(0)
    size, rooms, town = rng.uniform(50, 250, 240), rng.integers(1, 8, 240), rng.choice(["Ulm", "Bonn", "Kiel"], 240)
    price = 80_000 + 1000 * size + 8000 * rooms + 40_000 * (town == "Ulm") + rng.normal(0, 20_000, 240)
    path = tmp_path_factory.mktemp("houses") / "houses.csv"
    pd.DataFrame({"size": size.round(1), "rooms": rooms, "town": town, "price": price.round()}).to_csv(
        path, index=False
    )
    return path


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 120))
    path = tmp_path_factory.mktemp("cells") / "cells.csv"
    pd.DataFrame({"a": a, "b": b, "kind": np.where(a > b, "round", "flat")}).to_csv(path, index=False)
    return path


@pytest.fixture
def settings(houses, tmp_path):
    return script.Settings(houses, "price", epochs=40, output=Output(tmp_path / "run"))


def results(settings):
    return json.loads((settings.output.out / "metrics.json").read_text())


def test_prices_of_any_unit_are_predicted_from_raw_columns(settings, capsys):
    script.main(settings)
    found, out = results(settings), settings.output.out
    assert found["task"] == "regression"
    assert 15_000 < found["mean"] < 45_000
    assert 15_000 < found["test"] < 45_000
    assert found["final_batch_size"] == settings.batch_size == 16
    model, columns = keras.saving.load_model(out / "model.keras"), Columns.load(out / "columns.json")
    frame = read_frame(settings.table)
    errors = model.predict(columns.encode(frame), verbose=0)[:, 0] - frame["price"]
    assert np.abs(errors).mean() < 40_000
    assert set(found["baselines"]) == {"the median", "ridge regression", "gradient boosting"}
    assert found["baselines"]["ridge regression"]["mean"] < 25_000 < 50_000 < found["baselines"]["the median"]["mean"]
    assert {path.name for path in out.glob("*.png")} == {"validation.png", "validation_smoothed.png", "scores.png"}
    said = capsys.readouterr().out
    assert " ".join(said.split()).startswith(
        "240 rows: 2 numeric columns, town -> 3 columns; target price: regression, "
    )
    assert "warning: the network's mean error" in said.replace("\n", " ")
    assert f"{found['mean']:,.0f}" in said
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())


def test_the_unit_of_the_target_changes_the_numbers_by_its_factor_alone(settings, tmp_path):
    frame = read_frame(settings.table)
    found = {}
    for factor in (1, 1000):
        path = tmp_path / f"{factor}.csv"
        frame.assign(price=frame["price"] / factor).to_csv(path, index=False)
        changed = replace(settings, table=path, epochs=10, output=Output(tmp_path / str(factor)))
        script.main(changed)
        found[factor] = results(changed)
    for name in ("mean", "mean_last", "test"):
        assert found[1][name] == pytest.approx(1000 * found[1000][name], rel=1e-3)


def test_scores_are_those_of_the_best_epoch(settings):
    script.main(replace(settings, epochs=12, folds=2, repeats=2))
    found = results(settings)
    history = pd.read_csv(settings.output.out / "history.csv")
    assert len(history) == 2 * 2 * 12
    best = history[history["epoch"] == found["best_epoch"]]["val_mae"]
    last = history[history["epoch"] == 12]["val_mae"]
    np.testing.assert_allclose(found["scores"], best)
    np.testing.assert_allclose(found["scores_last"], last)
    assert found["mean"] == pytest.approx(best.mean())
    assert found["final_epochs"] == found["best_epoch"]


@pytest.mark.parametrize("three", [False, True])
def test_texts_make_a_classification(settings, cells, tmp_path, capsys, three):
    if three:
        frame = read_frame(cells)
        frame.loc[frame["a"] > 1, "kind"] = "long"
        frame.to_csv(cells := tmp_path / "three.csv", index=False)
    script.main(replace(settings, table=cells, target="kind", epochs=40))
    found = results(settings)
    assert (found["task"], found["score"]) == ("classification", "accuracy")
    assert found["mean"] > 0.8
    assert found["auc_last"] > 0.9
    assert found["test_auc"] > 0.9
    assert set(found["baselines"]) == {"the most frequent class", "logistic regression", "gradient boosting"}
    columns = Columns.load(settings.output.out / "columns.json")
    assert columns.classes == (("flat", "long", "round") if three else ("flat", "round"))
    model = keras.saving.load_model(settings.output.out / "model.keras")
    assert model.output_shape == (None, 3 if three else 1)
    assert "area under the ROC curve" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "prize"}, "did you mean 'price'"),
        ({"table": Path("none.csv")}, "expected the path of a table"),
        ({"folds": 1}, "expected from 2 folds"),
        ({"epochs": 0}, "epochs as a whole number of 1 or more"),
        ({"drop": ("size", "rooms", "town")}, "a column beside the target"),
        ({"network": replace(script.Settings.network, dropout=2.0)}, "dropout as"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(settings, change, message):
    with pytest.raises(InputError, match=message):
        script.main(replace(settings, **change))
    assert not settings.output.out.exists()


def test_too_many_folds_for_the_rarest_class_are_refused(settings, cells, tmp_path):
    frame = read_frame(cells)
    frame["kind"] = ["rare"] * 4 + ["common"] * 116
    frame.to_csv(tmp_path / "rare.csv", index=False)
    with pytest.raises(InputError, match="expected from 2 folds to 3, the samples of the smallest class, got 4"):
        script.main(replace(settings, table=tmp_path / "rare.csv", target="kind"))


def test_missing_values_are_filled_with_medians(settings, tmp_path, capsys):
    frame = read_frame(settings.table).astype({"size": object})
    frame.loc[5, "size"] = "?"
    frame.to_csv(tmp_path / "gaps.csv", index=False)
    settings = replace(settings, table=tmp_path / "gaps.csv", epochs=2)
    with pytest.raises(InputError, match=r"'\?' in data row 6.*--missing"):
        script.main(settings)
    script.main(replace(settings, missing="median"))
    assert "missing values filled in: 1" in capsys.readouterr().out
    assert "size" in Columns.load(settings.output.out / "columns.json").medians


@pytest.mark.slow
def test_kfold_boston_with_a_table_runs_this_script(run_script, houses, tmp_path):
    done = run_script(
        "kfold_boston.py", "--table", houses, "--target", "price", "--epochs", "2", "--out", tmp_path / "run"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "ridge regression" in done.stdout
    assert (tmp_path / "run" / "columns.json").exists()


@pytest.mark.parametrize("target", ["kind", "a"])
def test_a_diverged_network_ends_in_one_line_or_in_nan(settings, cells, capsys, target):
    network = replace(settings.network, optimizer="sgd", learning_rate=1e30)
    settings = replace(settings, table=cells, target=target, epochs=3, network=network)
    if target == "kind":  # torch's cross-entropy refuses NaN
        with pytest.raises(InputError, match=r"^expected [^\n]*learning[^\n]*$"):
            script.main(settings)
    else:
        settings = replace(settings, drop=("kind",))
        script.main(settings)
        assert results(settings)["mean_last"] is None
        assert "nan" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("y", "probabilities", "area"),
    [
        ([0, 0, 1, 1], [[0.1], [0.4], [0.35], [0.8]], 0.75),
        ([0, 1, 2], np.eye(3), 1.0),
        ([0, 1, 1], np.eye(3), np.nan),  # a class without a sample
        ([0, 1], [[np.nan], [0.5]], np.nan),
    ],
)
def test_the_area_under_the_roc_curve(y, probabilities, area):
    assert script.auc(np.array(y), np.array(probabilities)) == pytest.approx(area, nan_ok=True)
