import csv
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal

from k3torch import __version__, interrupts
from k3torch.errors import InputError
from k3torch.options import Output
from k3torch.reports.run_folder import RunFolder, check_free
import numpy as np
import pytest


@dataclass(frozen=True)
class Settings:
    epochs: int = 3
    output: Output = Output()


def at(out, force=False, **choices):
    return Settings(output=Output(out, force), **choices)


def metrics(path):
    return json.loads((path / "metrics.json").read_text())


def test_a_complete_run_leaves_settings_metrics_and_history(tmp_path):
    out = tmp_path / "run"
    with RunFolder("job", at(out, epochs=5)) as run:
        assert metrics(out) == {"status": "running"}
        assert json.loads((out / "manifest.json").read_text()) == {"files": ["config.json", "metrics.json"]}
        run.metrics |= {"score": np.float32(0.5), "list": np.arange(2), "bad": float("nan")}
        run.history += [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 1.0}]
    assert metrics(out) == {"status": "complete", "score": 0.5, "list": [0, 1], "bad": None}
    config = json.loads((out / "config.json").read_text())
    assert config == {"name": "job", "version": __version__, "epochs": 5, "out": str(out), "force": False}
    rows = list(csv.DictReader((out / "history.csv").open()))
    assert rows == [{"epoch": "1", "loss": "0.5", "val_loss": ""}, {"epoch": "2", "loss": "0.25", "val_loss": "1.0"}]


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed")])
def test_a_run_cut_short_says_so_and_keeps_its_history(tmp_path, raised, status):
    def cut_short():
        with RunFolder("job", at(tmp_path / "run")) as run:
            run.history.append({"epoch": 1})
            raise raised

    with pytest.raises(raised):
        cut_short()
    assert metrics(tmp_path / "run")["status"] == status
    assert (tmp_path / "run/history.csv").read_text().split() == ["epoch", "1"]


def test_bad_input_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="no"), RunFolder("job", at(tmp_path / "run")):
        raise InputError("no")
    assert list(tmp_path.iterdir()) == []


def test_bad_input_after_results_keeps_them(tmp_path):
    def fail():
        with RunFolder("job", at(tmp_path / "run")) as run:
            run.write_csv("table.csv", [{"a": 1}])
            raise InputError("no")

    with pytest.raises(InputError, match="no"):
        fail()
    assert metrics(tmp_path / "run")["status"] == "failed"
    assert (tmp_path / "run/table.csv").read_text().split() == ["a", "1"]


def test_a_signal_while_the_results_are_written_waits_for_them(tmp_path, monkeypatch):
    write_csv = RunFolder.write_csv

    def interrupted(run, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        write_csv(run, *arguments)

    def work():
        with interrupts.raising(), RunFolder("job", at(tmp_path / "run")) as run:
            run.history.append({"epoch": 1})

    monkeypatch.setattr(RunFolder, "write_csv", interrupted)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert metrics(tmp_path / "run")["status"] == "complete"
    assert (tmp_path / "run/history.csv").exists()


def test_a_folder_with_files_needs_force(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"found files in .*: --force deletes those that an earlier run wrote"):
        check_free(Output(tmp_path))
    with pytest.raises(InputError, match="--force"), RunFolder("job", at(tmp_path)):
        pass
    assert names(tmp_path) == {"notes.txt"}
    with pytest.raises(InputError, match="got the file"):
        check_free(Output(tmp_path / "notes.txt"))


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_force_deletes_what_the_earlier_run_wrote_and_nothing_else(tmp_path):
    with RunFolder("job", at(tmp_path)) as run:
        run.write_csv("table.csv", [{"a": 1}])
        run.file("sub/loss.png").write_text("old")
        run.file("never.png")  # listed, but not written: no plot of the run's
    mine = {"precious.csv", "thesis.md", "never.png", "sub/loss2.png", "best.weights.h5"}
    for name in mine:
        (tmp_path / name).write_text("mine")
    with RunFolder("job", at(tmp_path, force=True)):
        assert names(tmp_path) == mine | {"config.json", "metrics.json", "manifest.json"}
    assert {(tmp_path / name).read_text() for name in mine} == {"mine"}


def test_two_runs_of_one_second_have_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("time.strftime", lambda form: form.replace("%Y%m%d-%H%M%S", "now"))
    for expected in ("job-now", "job-now-2", "job-now-3"):
        with RunFolder("job", Settings()) as run:
            pass
        assert run.path.name == expected


def test_the_default_folder_is_named_after_the_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with RunFolder("job", Settings()) as run:
        pass
    assert run.path.parent == Path("runs")
    assert run.path.name.startswith("job-")
    assert metrics(run.path)["status"] == "complete"
