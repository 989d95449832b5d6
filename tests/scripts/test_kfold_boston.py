"""kfold_boston.py on a few epochs: metrics, files, repeatability, a table of the user's, bad input, interruption."""

from dataclasses import replace
import importlib.util
import json
from pathlib import Path

from k3torch.data import boston
from k3torch.data.columns import Columns
from k3torch.errors import InputError
from k3torch.options import Machine, Output
from k3torch.training.progress import EpochBar
import keras
import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("kfold_boston", Path(__file__).parents[2] / "scripts/kfold_boston.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture
def settings(tmp_path):
    return script.Settings(folds=2, epochs=2, batch_size=32, output=Output(tmp_path / "run"))


def metrics(settings):
    return json.loads((settings.output.out / "metrics.json").read_text())


def test_it_leaves_metrics_history_plots_and_a_model(settings, capsys):
    script.main(settings)
    found = metrics(settings)
    assert found["status"] == "complete"
    assert len(found["scores"]) == 2
    assert found["scores_at_100"] is None
    assert found["mean"] == found["mean_last"] == pytest.approx(np.mean(found["scores"]))
    assert found["interval"]["low"] < found["mean"] < found["interval"]["high"]
    assert {"std", "best_epoch", "test_mae", "seconds_training", "seconds_total", "device", "seed"} <= set(found)
    assert (settings.output.out / "history.csv").read_text().count("\n") == 1 + 2 * 2
    plots = {path.name for path in settings.output.out.glob("*.png")}
    columns = Columns.load(settings.output.out / "columns.json")
    assert ([feature.name for feature in columns.features], columns.target) == (list(boston.FEATURES), "MEDV")
    assert plots == {"validation_mae.png", "validation_mae_smoothed.png", "scores.png"}
    model, (_, (x_test, y_test)) = keras.saving.load_model(settings.output.out / "model.keras"), boston.load_data()
    errors = model.predict(x_test, verbose=0)[:, 0] - y_test  # raw columns, as they are in the table
    assert np.abs(errors).mean() == pytest.approx(found["test_mae"], rel=1e-5)
    said = capsys.readouterr().out
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())
    assert said.index("written to") < said.index("K-fold cross-validation") < said.index("lecture")
    assert said.rstrip().splitlines()[-1].split()[:3] == ["test,", "final", "model"]


@pytest.mark.parametrize(
    ("epochs", "columns"),
    [(2, ["mean absolute error", "epoch 2"]), (100, ["mean absolute error", "epoch 100"]),
     (101, ["mean absolute error", "epoch 100", "epoch 101"])],
)  # fmt: skip
def test_the_table_has_no_empty_column_and_none_twice(settings, epochs, columns):
    run = script.RunFolder("boston", settings)
    early = [1.0, 2.0] if epochs >= 100 else None
    run.metrics = {
        "scores": [3.0, 4.0], "scores_at_100": early, "mean": 1.5, "std": 0.5, "mean_last": 3.5, "std_last": 0.7,
        "interval": {"low": 0.1, "high": 0.2, "method": "m"}, "best_epoch": 2, "test_mae": 9.0, "seconds_training": 1.0,
        "seconds_total": 2.0, "engine": "stacked",
    }  # fmt: skip
    _, (_, names, rows) = script.results(replace(settings, epochs=epochs), run)
    assert names == [*columns, "lecture"]
    assert rows[0][: len(columns)] == ("repeat 1, fold 1", *([1.0] if epochs > 100 else []), 3.0)
    assert rows[-1][: len(columns)] == ("test, final model", *([None] if epochs > 100 else []), 9.0)
    assert len(rows) == 2 + 4


def test_the_network_of_the_options_is_trained_in_folds_and_at_the_end(settings, monkeypatch, capsys):
    built = []
    build = script.boston_regressor
    monkeypatch.setattr(script, "boston_regressor", lambda *a, **o: built.append(build(*a, **o)) or built[-1])
    network = replace(settings.network, units=(3,), dropout=0.5, optimizer="adam", learning_rate=0.25)
    script.main(replace(settings, network=network))
    assert len(built) == 1 + 2 + 1  # checked, folds, final
    for model in built:
        dense, dropout, _ = model.layers if isinstance(model, keras.Sequential) else model.layers[1:]
        assert (dense.units, dropout.rate) == (3, 0.5)
        assert isinstance(model.optimizer, keras.optimizers.Adam)
        assert float(model.optimizer.learning_rate) == 0.25
    assert [layer.name for layer in keras.saving.load_model(settings.output.out / "model.keras").layers[2:]] == [
        "hidden_1", "dropout_1", "output",
    ]  # fmt: skip
    assert " ".join(capsys.readouterr().out.split()).endswith(
        "The lecture trained another network: this run has --units 3 instead of 64 64, --dropout 0.5 instead of 0, "
        "--optimizer adam instead of rmsprop, --learning-rate 0.25 instead of the default."
    )


@pytest.mark.parametrize("name", ["dropout", "l1", "max_norm", "clipnorm", "learning_rate"])
def test_a_bad_option_of_the_network_is_refused_before_the_data_are_loaded(settings, monkeypatch, name):
    monkeypatch.setattr(script.boston, "load_data", lambda: pytest.fail("loaded the data"))
    with pytest.raises(InputError, match=f"^expected {name} as [^\n]*, got -1.0$"):
        script.main(replace(settings, network=replace(settings.network, **{name: -1.0})))
    assert not settings.output.out.exists()


def test_both_engines_agree_and_the_same_seed_gives_the_same_digits(settings, tmp_path):
    found = []
    for name, engine in (("one", "stacked"), ("two", "stacked"), ("three", "fit")):
        changed = replace(settings, engine=engine, output=Output(tmp_path / name))
        script.main(changed)
        found.append(metrics(changed))
    for key in ("scores", "mean", "test_mae"):
        assert found[0][key] == found[1][key]
        np.testing.assert_allclose(found[0][key], found[2][key], rtol=1e-3)


def test_a_long_run_reports_the_lectures_epoch_too(settings):
    result = script.cross_validate(
        lambda: script.boston_regressor(2, units=(2,)), np.eye(8)[:, :2], np.arange(8.0), folds=2, epochs=101
    )
    found = script.metrics(result)
    assert found["scores_at_100"] == result.history["val_mae"][0, :, 99].tolist()
    assert found["mean"] == pytest.approx(np.mean(found["scores_at_100"]))
    assert found["mean_last"] == result.mean


@pytest.mark.parametrize(
    "choice",
    [{"epochs": 0}, {"folds": 1}, {"folds": 405}, {"repeats": 0}, {"final_batch_size": 0}],
)
def test_bad_input_is_refused_and_leaves_nothing(settings, choice):
    with pytest.raises(InputError, match="expected"):
        script.main(replace(settings, **choice))
    assert not settings.output.out.exists()


@pytest.mark.parametrize("choice", [{"folds": 1}, {"folds": 405}, {"machine": Machine(seed=-1)}])
def test_bad_input_leaves_the_earlier_run_alone(settings, choice):
    with script.RunFolder("boston", settings) as run:
        run.file("model.keras").write_text("trained for hours")
    with pytest.raises(InputError, match="expected"):
        script.main(replace(settings, output=Output(settings.output.out, force=True), **choice))
    assert (settings.output.out / "model.keras").read_text() == "trained for hours"
    assert metrics(settings)["status"] == "complete"


@pytest.mark.parametrize("engine", ["stacked", "fit"])
def test_an_interrupted_run_keeps_the_epochs_so_far(settings, monkeypatch, engine):
    advance = EpochBar.advance
    seen = []

    def interrupt(bar, metrics):
        seen.append(metrics)
        if len(seen) == 3:
            raise KeyboardInterrupt
        advance(bar, metrics)

    monkeypatch.setattr(EpochBar, "advance", interrupt)
    with pytest.raises(KeyboardInterrupt):
        script.main(replace(settings, epochs=50, engine=engine))
    assert metrics(settings)["status"] == "interrupted"
    rows = (settings.output.out / "history.csv").read_text().splitlines()[1:]
    assert len(rows) == {"stacked": 2 * 3, "fit": 3}[engine]
    assert all("nan" not in row for row in rows)
