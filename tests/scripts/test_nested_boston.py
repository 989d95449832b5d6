"""nested_boston.py: the choice is the best on the inner folds, and the error that of samples outside them."""

import importlib.util
import json
from pathlib import Path

from k3torch.errors import InputError
from k3torch.options import Output
import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("nested_boston", Path(__file__).parents[2] / "scripts/nested_boston.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture
def settings(tmp_path):
    return script.Settings(
        candidates=("small", "dropout"),
        outer_folds=3,
        inner_folds=2,
        epochs=2,
        batch_size=64,
        output=Output(tmp_path / "run"),
    )


def test_it_leaves_choices_scores_history_and_a_plot(settings, capsys, monkeypatch):
    progress = []
    monkeypatch.setattr(script.cli, "progress", progress.append)
    script.main(settings)
    found = json.loads((settings.output.out / "metrics.json").read_text())
    assert found["status"] == "complete"
    assert len(found["choices"]) == len(found["scores"]) == 3
    assert found["mean"] == pytest.approx(np.mean(found["scores"]))
    assert found["mean_inner"] == pytest.approx(np.mean([choice["error"] for choice in found["choices"]]))
    assert found["interval"]["low"] < found["mean"] < found["interval"]["high"]
    assert (settings.output.out / "history.csv").read_text().count("\n") == 1 + 2 * 3 * 2 * 2
    assert (settings.output.out / "inner_and_outer.png").read_bytes()[:4] == b"\x89PNG"
    assert progress[:2] == [
        "candidate 1 of 2: small, 6 models, on the inner folds of all outer folds",
        "candidate 2 of 2: dropout, 6 models, on the inner folds of all outer folds",
    ]
    chosen = list(dict.fromkeys(choice["candidate"] for choice in found["choices"]))
    assert progress[2:] == [
        f"chosen {number} of {len(chosen)}: {name}, 3 models, on the outer folds"
        for number, name in enumerate(chosen, start=1)
    ]
    said = capsys.readouterr().out
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())
    assert said.index("expected error") < said.index("outer fold 1")


def test_inner_folds_never_contain_the_test_set(settings):
    x = np.arange(30.0)[:, None]
    for training, held_out in script.make_folds(3, x, x):
        pairs = script.inside(training, settings)
        validated = np.concatenate([validation for _, validation in pairs])
        assert sorted(validated) == sorted(training)
        assert not set(np.concatenate([rows for pair in pairs for rows in pair])) & set(held_out)


def test_the_lowest_smoothed_inner_error_is_chosen():
    falling = np.linspace(5, 3, 30)
    turning = np.concatenate([np.linspace(5, 2, 15), np.linspace(2, 4, 15)])
    curves = {"a": np.broadcast_to(falling, (2, 4, 30)), "b": np.broadcast_to(turning, (2, 4, 30))}
    choice = script.choose(curves, 1)
    assert choice.candidate == "b"
    assert 15 <= choice.epochs < 30
    assert choice.error == turning[choice.epochs - 1]


def test_the_score_is_that_of_the_chosen_epoch_on_the_test_set(settings):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 13)), rng.normal(size=12)
    outer = script.make_folds(3, x, y)
    choices = [script.Choice("small", 1, 0.0), script.Choice("dropout", 2, 0.0), script.Choice("small", 2, 0.0)]

    scores = script.test(choices, x, y, outer, settings).scores[0]

    for fold, choice in enumerate(choices):
        shorter = script.replace(settings, epochs=choice.epochs)
        alone = script.train(choice.candidate, x, y, outer, shorter)
        assert scores[fold] == pytest.approx(alone.scores[0, fold], rel=1e-5)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"candidates": ()}, "at least one candidate"),
        ({"epochs": 0}, "expected epochs as a whole number of 1 or more"),
        ({"outer_folds": 1}, "expected from 2 folds"),
        ({"inner_folds": 500}, "expected from 2 folds"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(settings, choice, message):
    with pytest.raises(InputError, match=message):
        script.main(script.replace(settings, **choice))
    assert not settings.output.out.exists()
