"""nested_boston.py: the selection is the best on the inner folds, and the error that of samples outside them."""

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


def test_it_leaves_selections_scores_history_and_a_plot(settings, capsys, monkeypatch):
    progress = []
    monkeypatch.setattr(script.cli, "progress", progress.append)
    script.main(settings)
    found = json.loads((settings.output.out / "metrics.json").read_text())
    assert found["status"] == "complete"
    assert len(found["selections"]) == len(found["scores"]) == 3
    assert found["mean"] == pytest.approx(np.mean(found["scores"]))
    assert found["mean_inner"] == pytest.approx(np.mean([selection["error"] for selection in found["selections"]]))
    assert found["interval"]["low"] < found["mean"] < found["interval"]["high"]
    assert (settings.output.out / "history.csv").read_text().count("\n") == 1 + 2 * 3 * 2 * 2
    assert (settings.output.out / "inner_and_outer.png").read_bytes()[:4] == b"\x89PNG"
    assert progress[:2] == [
        "candidate 1 of 2: small, 6 models, on the inner folds of all outer folds",
        "candidate 2 of 2: dropout, 6 models, on the inner folds of all outer folds",
    ]
    selected = list(dict.fromkeys(selection["candidate"] for selection in found["selections"]))
    assert progress[2:] == [
        f"selected {number} of {len(selected)}: {name}, 3 models, on the outer folds"
        for number, name in enumerate(selected, start=1)
    ]
    said = capsys.readouterr().out
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())
    assert said.index("expected error") < said.index("selected networks (1000 USD)") < said.index("outer fold 1")
    assert "chosen" not in said
    assert any(label in said for label in ("small (16)", "dropout (0.2)"))


def test_the_plot_shows_the_errors_of_the_selected_networks_in_the_chosen_format(settings, monkeypatch):
    plotted = []
    monkeypatch.setattr(script, "plot_nested", lambda *arguments, **named: plotted.append((arguments, named)))
    script.main(script.replace(settings, output=script.replace(settings.output, format="svg")))
    found = json.loads((settings.output.out / "metrics.json").read_text())
    (((path, inner, outer), named),) = plotted
    assert path.name == "inner_and_outer.svg"
    assert inner == [selection["error"] for selection in found["selections"]]
    assert outer == found["scores"]
    assert named["data"] == "Boston prices (1000 USD), 3 outer folds"


@pytest.mark.parametrize(("name", "strength"), [("l2", 0.01), ("dropout", 0.2), ("small", 16), ("lecture", 64)])
def test_labels_name_the_strengths_of_the_candidates(name, strength):
    model = script.CANDIDATES[name]()
    hidden = [layer for layer in model.layers if hasattr(layer, "units")][:-1]
    found = {
        "l2": float(hidden[0].kernel_regularizer.l2) if hidden[0].kernel_regularizer else 0,
        "dropout": [layer.rate for layer in model.layers if hasattr(layer, "rate")][:1],
    }
    values = {"l2": found["l2"], "dropout": sum(found["dropout"])}.get(name, hidden[0].units)
    assert values == pytest.approx(strength)
    assert str(strength) in script.LABELS[name]


def test_inner_folds_never_contain_the_test_set(settings):
    x = np.arange(30.0)[:, None]
    for training, held_out in script.make_folds(3, x, x):
        pairs = script.inside(training, settings)
        validated = np.concatenate([validation for _, validation in pairs])
        assert sorted(validated) == sorted(training)
        assert not set(np.concatenate([rows for pair in pairs for rows in pair])) & set(held_out)


def test_the_lowest_smoothed_inner_error_is_selected():
    falling = np.linspace(5, 3, 30)
    turning = np.concatenate([np.linspace(5, 2, 15), np.linspace(2, 4, 15)])
    curves = {"a": np.broadcast_to(falling, (2, 4, 30)), "b": np.broadcast_to(turning, (2, 4, 30))}
    selection = script.select(curves, 1)
    assert selection.candidate == "b"
    assert 15 <= selection.epochs < 30
    assert selection.error == turning[selection.epochs - 1]


def test_the_score_is_that_of_the_selected_epoch_on_the_test_set(settings):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, 13)), rng.normal(size=12)
    outer = script.make_folds(3, x, y)
    selections = [
        script.Selection("small", 1, 0.0),
        script.Selection("dropout", 2, 0.0),
        script.Selection("small", 2, 0.0),
    ]

    scores = script.test(selections, x, y, outer, settings).scores[0]

    for fold, selection in enumerate(selections):
        shorter = script.replace(settings, epochs=selection.epochs)
        alone = script.train(selection.candidate, x, y, outer, shorter)
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
