import csv
from dataclasses import dataclass
import json
from pathlib import Path

from k3torch.errors import InputError
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
import numpy as np
import pytest


@dataclass(frozen=True)
class Settings(RunSettings):
    epochs: int = 3


def metrics(path):
    return json.loads((path / "metrics.json").read_text())


def test_a_complete_run_leaves_settings_figures_and_history(tmp_path):
    out = tmp_path / "run"
    with RunFolder("job", Settings(out=out, epochs=5)) as run:
        assert metrics(out) == {"status": "running"}
        run.metrics |= {"score": np.float32(0.5), "list": np.arange(2), "bad": float("nan")}
        run.history += [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 1.0}]
    assert metrics(out) == {"status": "complete", "score": 0.5, "list": [0, 1], "bad": None}
    config = json.loads((out / "config.json").read_text())
    assert (config["name"], config["epochs"], config["out"]) == ("job", 5, str(out))
    rows = list(csv.DictReader((out / "history.csv").open()))
    assert rows == [{"epoch": "1", "loss": "0.5", "val_loss": ""}, {"epoch": "2", "loss": "0.25", "val_loss": "1.0"}]


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed")])
def test_a_run_cut_short_says_so_and_keeps_its_history(tmp_path, raised, status):
    def cut_short():
        with RunFolder("job", Settings(out=tmp_path / "run")) as run:
            run.history.append({"epoch": 1})
            raise raised

    with pytest.raises(raised):
        cut_short()
    assert metrics(tmp_path / "run")["status"] == status
    assert (tmp_path / "run/history.csv").read_text().split() == ["epoch", "1"]


def test_bad_input_leaves_no_folder(tmp_path):
    with pytest.raises(InputError, match="no"), RunFolder("job", Settings(out=tmp_path / "run")):
        raise InputError("no")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_files_needs_force_and_loses_the_old_model(tmp_path):
    written = ["model.keras", "config.json", "loss.png", "log.csv", "best.weights.h5", "tensorboard/train/events.1"]
    (tmp_path / "tensorboard/train").mkdir(parents=True)
    for name in [*written, "notes.txt"]:
        (tmp_path / name).write_text("old")
    with pytest.raises(InputError, match="choose another or add --force"):
        check_free(Settings(out=tmp_path))
    with pytest.raises(InputError, match="add --force"), RunFolder("job", Settings(out=tmp_path)):
        pass
    assert (tmp_path / "model.keras").read_text() == "old"
    with RunFolder("job", Settings(out=tmp_path, force=True)):
        pass
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"config.json", "metrics.json", "notes.txt"}
    assert (tmp_path / "notes.txt").read_text() == "old"
    assert json.loads((tmp_path / "config.json").read_text())["name"] == "job"
    with pytest.raises(InputError, match="found the file"):
        check_free(Settings(out=tmp_path / "notes.txt"))


def test_force_takes_nothing_from_a_folder_that_holds_no_run(tmp_path):
    (tmp_path / "holiday.png").write_text("mine")
    with RunFolder("job", Settings(out=tmp_path, force=True)):
        pass
    assert (tmp_path / "holiday.png").read_text() == "mine"


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
