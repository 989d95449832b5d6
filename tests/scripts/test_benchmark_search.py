"""benchmark_search.py: all models predict the same samples, of which no choice has seen one."""

import csv
from dataclasses import replace
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

from k3torch.errors import InputError
from k3torch.options import Output
import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor

path = Path(__file__).parents[2] / "scripts/benchmark_search.py"
spec = importlib.util.spec_from_file_location("benchmark_search", path)
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture
def settings(tmp_path):
    return script.Settings(seeds=(0, 3), outer_folds=2, output=Output(tmp_path / "run"))


def found(kind, outer, y, scores):
    """What a search finds whose predictions are too high by 1 or 3, and whose inner scores are given."""
    predictions = np.full((len(y), 1), np.nan)
    for _, test in outer:
        predictions[test, 0] = y[test] + (1 if kind == "relu" else 3)
    folds = [SimpleNamespace(params={"activation": kind}, inner_score=score) for score in scores]
    return SimpleNamespace(outer_predictions=predictions, outer=folds)


def test_errors_are_those_of_each_division_and_seed_and_their_means(settings, monkeypatch, capsys):
    searched = []

    def search(build, grid, x, y, *, outer, **named):
        searched.append((grid, outer, named))
        (kind,) = grid["activation"]
        best = "relu" if named["seed"] else "silu"
        return found(kind, outer, y, [0.0 if kind == best else 1.0] * len(outer))

    monkeypatch.setattr(script, "search", search)
    monkeypatch.setattr(script, "boosted", lambda x, y, outer, seed: {"trees": y + 0.5})
    script.main(settings)
    assert [len(outer) for _, outer, _ in searched] == [2, 2, 1, 1] * 2
    for grid, outer, named in searched:
        tested = np.concatenate([test for _, test in outer])
        assert sorted(tested) == list(range(506)) if len(outer) == 2 else sorted(tested) == list(range(404, 506))
        assert all(not set(training) & set(test) for training, test in outer)
        inner = max(len(training) for training, _ in named["folds"].split(outer[0][0]))
        assert grid["steps"] == [settings.epochs * int(np.ceil(inner / settings.batch_size))]
    rows = list(csv.DictReader((settings.output.out / "history.csv").open()))
    assert [float(row["mae"]) for row in rows if "better" in row["model"]] == pytest.approx([3, 3, 1, 1])
    assert [float(row["mae"]) for row in rows if "both" in row["model"]] == pytest.approx([2, 2, 2, 2])
    metrics = json.loads((settings.output.out / "metrics.json").read_text())
    split = {mean["model"]: mean for mean in metrics["means"] if mean["division"] == "Keras's split"}
    better = split["search: the better by the inner folds"]
    assert (better["mae"], better["rmse"], better["std"]) == pytest.approx((2, 2, 1))
    assert split["trees"]["mae"] == pytest.approx(0.5)
    assert metrics["selected"]["Keras's split, seed 3"]["SiLU"] == [{"activation": "silu", "inner_score": 1.0}]
    said = capsys.readouterr().out
    assert said.index("2 folds: means over the seeds") < said.index("Keras's split: means over the seeds")
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())


def test_the_better_search_is_that_of_each_outer_fold():
    outer = [(np.arange(2, 4), np.arange(2)), (np.arange(2), np.arange(2, 4))]
    y = np.zeros(4)
    both = {"ReLU": found("relu", outer, y, [1.0, 2.0]), "SiLU": found("silu", outer, y, [2.0, 1.0])}
    assert script.networks(both, outer)["search: the better by the inner folds"].tolist() == [1, 1, 3, 3]
    assert script.networks(both, outer)["search: the mean of both"].tolist() == [2, 2, 2, 2]


def test_boosted_trees_are_fitted_to_the_training_samples_of_each_fold():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    outer = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(10))]
    predicted = script.boosted(x, y, outer, seed=2)
    assert set(predicted) >= {"scikit-learn: gradient boosting", "scikit-learn: histogram gradient boosting"}
    expected = GradientBoostingRegressor(random_state=2).fit(x[:20], y[:20]).predict(x[20:])
    np.testing.assert_array_equal(predicted["scikit-learn: gradient boosting"][20:], expected)
    assert all(np.isnan(values).tolist() == [False] * 10 + [True] * 10 + [False] * 20 for values in predicted.values())


def test_each_candidate_is_a_network_with_its_settings():
    model = script.build_model("silu", 0.01, 0.2, 50)
    hidden, dropout = model.layers[1], model.layers[2]
    assert (hidden.units, hidden.activation.__name__, dropout.rate) == (64, "silu", 0.2)
    schedule = model.optimizer.get_config()["learning_rate"]["config"]
    assert (schedule["initial_learning_rate"], schedule["decay_steps"]) == (0.01, 50)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"seeds": ()}, "expected a value for --seeds, got none"),
        ({"divisions": ()}, "expected a value for --divisions, got none"),
        ({"epochs": 0}, "expected epochs as a whole number of 1 or more, got 0"),
        (
            {"inner_folds": 1, "outer_folds": 0, "seeds": (0, -1)},
            "expected outer_folds as .* got 0; expected inner_folds as .* got 1; expected seeds as .*, got -1",
        ),
        ({"outer_folds": 507}, "507"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(settings, choice, message):
    with pytest.raises(InputError, match=message):
        script.main(replace(settings, **choice))
    assert not settings.output.out.exists()
