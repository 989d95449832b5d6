"""benchmark_candidates.py: what is timed, and what its tables say of it, with searches that return at once."""

import csv
from dataclasses import replace
import importlib.util
from itertools import count
from types import SimpleNamespace

from k3torch import cli
from k3torch.errors import InputError
from k3torch.options import Output
from k3torch.validation.result import Interval
import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("benchmark_candidates", cli.SCRIPTS / "benchmark_candidates.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture
def settings(tmp_path):
    return script.Settings(batch_sizes=(16,), candidates=4, folds=3, rounds=2, output=Output(tmp_path / "run"))


def found(scores, best):
    result = SimpleNamespace(scores=np.array(scores)[:, None, None], best_index=best, best_score=scores[best])
    return SimpleNamespace(**vars(result), seconds=np.ones(len(scores)), interval=lambda _: Interval(1.8, 2.2, ""))


@pytest.mark.parametrize(
    ("halved", "said"),
    [
        (1, "selects the same candidate: mean score 2.000, inside the"),
        (2, "selects another candidate: mean score 2.100, inside the"),
        (3, "selects another candidate: mean score 2.400, outside the"),
    ],
)
def test_three_searches_are_timed_in_each_round(settings, monkeypatch, capsys, halved, said):
    calls, ticks = [], count()

    def search(build_model, grid, *, x, batch_size, **named):
        calls.append((len(grid), named.get("repeats"), named.get("halving")))
        assert (x.shape, batch_size, named["folds"], named["epochs"]) == ((506, 13), 16, 3, 100)
        for _ in range(named.get("repeats", 2) - 1):
            next(ticks)
        return found([3.0, 2.0, 2.1, 2.4][: len(grid)], halved if "halving" in named else min(1, len(grid) - 1))

    monkeypatch.setattr(script, "search", search)
    monkeypatch.setattr(script, "perf_counter", lambda: next(ticks))
    script.main(settings)
    assert calls == [(2, None, None), *[(4, None, None), (1, 4, None), (4, None, 3)] * 2]
    rows = list(csv.DictReader((settings.output.out / "history.csv").open()))
    assert [float(row["seconds"]) for row in rows] == [2, 4, 2] * 2
    assert [float(row["training"]) for row in rows] == [4, 1, 4] * 2
    out = capsys.readouterr().out
    assert said in " ".join(out.split())
    assert "2.0 to 2.0" in out
    assert "0.50" in out


def test_some_of_the_searches_are_timed(settings, monkeypatch, capsys):
    monkeypatch.setattr(script, "search", lambda *_, **named: found([2.0, 3.0, 2.1, 2.4], 0))
    script.main(replace(settings, searches=("halving",), rounds=1))
    rows = list(csv.DictReader((settings.output.out / "history.csv").open()))
    assert [row["search"] for row in rows] == ["halving"]
    assert "selects" not in capsys.readouterr().out


def test_settings_are_the_same_each_time_and_each_has_its_own():
    grid = script.drawn(5)
    assert grid == script.drawn(5)
    assert len({tuple(values["dropout"]) for values in grid}) == 5
    model = script.build_model(rate=0.002, decay=0.03, dropout=0.2)
    assert [layer.rate for layer in model.layers if hasattr(layer, "rate")] == [0.2]
    assert (float(model.optimizer.learning_rate), model.optimizer.weight_decay) == (pytest.approx(0.002), 0.03)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"batch_sizes": ()}, "expected a value for --batch-sizes, got none"),
        (
            {"batch_sizes": (0,), "rounds": 0, "candidates": 1},
            "expected batch_sizes as .* got 0; expected rounds as .* got 0; expected candidates as .* got 1",
        ),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(settings, choice, message):
    with pytest.raises(InputError, match=message):
        script.main(replace(settings, **choice))
    assert not settings.output.out.exists()
