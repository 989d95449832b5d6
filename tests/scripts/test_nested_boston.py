"""nested_boston.py: the selection is the best on the inner folds, and the error that of samples outside them."""

from dataclasses import replace
import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

from k3torch.data import boston
from k3torch.errors import InputError
from k3torch.options import Output
from k3torch.validation.search_result import OuterFold
import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("nested_boston", Path(__file__).parents[2] / "scripts/nested_boston.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture
def settings(tmp_path):
    return script.Settings(
        candidates=("small", "dropout"),
        outer_folds=2,
        inner_folds=2,
        epochs=2,
        batch_size=64,
        output=Output(tmp_path / "run"),
    )


def test_it_reports_the_selections_of_a_search_on_all_samples_and_plots_them(settings, capsys, monkeypatch):
    plotted, searched = [], []
    outer = [
        OuterFold({"candidate": name}, epochs, inner, score, np.arange(2), np.zeros((2, 1)))
        for name, epochs, inner, score in (("small", 2, 3.0, 4.0), ("dropout", 1, 2.0, 5.0))
    ]
    result = SimpleNamespace(
        outer=outer,
        outer_scores=[4.0, 5.0],
        best_params={"candidate": "dropout"},
        epochs=np.array([2, 1]),
        best_index=1,
    )
    monkeypatch.setattr(script, "plot_nested", lambda *arguments, **named: plotted.append((arguments, named)))
    monkeypatch.setattr(script, "search", lambda *given, **named: searched.append((given, named)) or result)
    script.main(replace(settings, output=replace(settings.output, format="svg")))
    (((build, grid, x, y), named),) = searched
    halves = boston.load_data()
    np.testing.assert_array_equal(x, np.concatenate([halves[0][0], halves[1][0]]))
    np.testing.assert_array_equal(y, np.concatenate([halves[0][1], halves[1][1]]))
    assert (build, grid) == (script.build_model, {"candidate": ("small", "dropout")})
    assert (named["outer"], named["folds"], named["choose_epochs"], named["normalize"]) == (2, 2, True, "fold")
    found = json.loads((settings.output.out / "metrics.json").read_text())
    assert found["status"] == "complete"
    assert found["scores"] == [4, 5]
    assert found["selections"] == [
        {"candidate": "small", "epochs": 2, "inner_score": 3, "score": 4},
        {"candidate": "dropout", "epochs": 1, "inner_score": 2, "score": 5},
    ]
    assert (found["mean"], found["mean_inner"], found["std"]) == (4.5, 2.5, pytest.approx(0.5**0.5))
    assert found["interval"]["low"] < 4.5 < found["interval"]["high"]
    assert found["selected_over_all"] == {"candidate": "dropout", "epochs": 1}
    (((path, inner, tested), labels),) = plotted
    assert path.name == "inner_and_outer.svg"
    assert (inner, tested) == ([3, 2], [4, 5])
    assert labels["data"] == "Boston prices (1000 USD), 2 outer folds"
    said = capsys.readouterr().out
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())
    assert said.index("expected error") < said.index("selected networks (1000 USD)") < said.index("outer fold 1")
    assert "selected on all samples: dropout (0.2), 1 epochs" in said
    assert said.index("small (16)") < said.index("4.000")


@pytest.mark.slow
def test_a_real_run_leaves_a_plot(settings):
    script.main(settings)
    found = json.loads((settings.output.out / "metrics.json").read_text())
    assert len(found["scores"]) == 2
    assert (settings.output.out / "inner_and_outer.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(("name", "strength"), [("l2", 0.01), ("dropout", 0.2), ("small", 16), ("lecture", 64)])
def test_labels_name_the_strengths_of_the_candidates(name, strength):
    model = script.build_model(name)
    hidden = [layer for layer in model.layers if hasattr(layer, "units")][:-1]
    found = {
        "l2": float(hidden[0].kernel_regularizer.l2) if hidden[0].kernel_regularizer else 0,
        "dropout": [layer.rate for layer in model.layers if hasattr(layer, "rate")][:1],
    }
    values = {"l2": found["l2"], "dropout": sum(found["dropout"])}.get(name, hidden[0].units)
    assert values == pytest.approx(strength)
    assert str(strength) in script.LABELS[name]


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
        script.main(replace(settings, **choice))
    assert not settings.output.out.exists()
