"""Run folders read as a list: statuses, settings in which they differ, metrics in order."""

import json
import os

from k3torch.claims import claim
from k3torch.errors import InputError
from k3torch.reports.runs import as_typed, differing, find_runs, metric_names, read_run
import pytest


def make(folder, status="complete", metrics=None, begun=0, **settings):
    folder.mkdir(parents=True)
    config = {"name": "imdb", "version": "1", "out": str(folder), "force": False, **settings}
    (folder / "config.json").write_text(json.dumps(config))
    os.utime(folder / "config.json", (begun, begun))
    (folder / "metrics.json").write_text(json.dumps({"status": status, **(metrics or {})}))
    return folder


def test_a_run_is_read(tmp_path):
    metrics = {"seed": 0, "seconds_total": 2.5, "peak_memory_mb": 9.0, "loss": 0.5, "nan": None, "confusion": [[1]],
               "source": "x", "flag": True, "huge": 10**400}  # fmt: skip
    run = read_run(make(tmp_path / "run", metrics=metrics, begun=7, epochs=3, units=[4, 5]))
    assert (run.name, run.status, run.begun, run.seconds) == ("imdb", "complete", 7, 2.5)
    assert run.settings == {"epochs": 3, "units": [4, 5]}
    assert run.metrics == {"loss": 0.5}


def test_a_run_that_neither_ended_nor_is_running_was_killed(tmp_path):
    folder = make(tmp_path / "run", status="running")
    assert read_run(folder).status == "killed"
    end = claim(folder)
    assert read_run(folder).status == "running"
    end()


@pytest.mark.parametrize("name", ["config.json", "metrics.json"])
@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{}", b'{"status": "odd", "name": 1}', b"\xff", b"[" * 99_999])
def test_a_damaged_run_is_one_line(name, content, tmp_path):
    folder = make(tmp_path / "run")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=r"expected a run folder, with config\.json and metrics\.json, got .*run: "):
        read_run(folder)


def test_runs_are_found_in_the_order_of_their_beginning_and_damaged_ones_named(tmp_path):
    for name, begun in (("a", 3), ("b", 1), ("c", 2)):
        make(tmp_path / name, begun=begun)
    (tmp_path / "c/metrics.json").write_text("")
    (tmp_path / "notes").mkdir()
    runs, problems = find_runs(tmp_path)
    assert [run.path.name for run in runs] == ["b", "a"]
    (problem,) = problems
    assert f"got {tmp_path / 'c'}: " in problem
    with pytest.raises(InputError, match="expected a folder with run folders"):
        find_runs(tmp_path / "missing")


def test_settings_in_which_runs_differ(tmp_path):
    runs = [
        read_run(make(tmp_path / "a", epochs=3, units=[1], seed=0)),
        read_run(make(tmp_path / "b", epochs=3, units=[2], seed=0, dropout=0.5)),
    ]
    assert differing(runs) == ["units", "dropout"]
    assert differing(runs[:1]) == []
    assert [as_typed(value) for value in ([1, 2], None, True, 0.25, {"a": 1})] == [
        "1 2", "the default", "on", "0.25", '{"a": 1}'
    ]  # fmt: skip


def test_test_metrics_come_first(tmp_path):
    metrics = {"best_epoch": 3, "validation_loss": 1.0, "test_loss": 2.0, "mean": 3.0}
    runs = [read_run(make(tmp_path / "a", metrics=metrics)), read_run(make(tmp_path / "b", metrics={"test_mae": 1.0}))]
    assert metric_names(runs) == ["test_loss", "test_mae", "mean", "validation_loss", "best_epoch"]
    assert metric_names(runs, 2) == ["test_loss", "test_mae"]
