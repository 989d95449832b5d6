from contextlib import nullcontext
import csv
from dataclasses import dataclass
import json
import os
from pathlib import Path
import signal

from k3torch import __version__, cli, interrupts, processes
from k3torch.errors import InputError
from k3torch.options import Output
from k3torch.reports import run_folder
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
        assert json.loads((out / "manifest.json").read_text())["files"] == ["config.json", "metrics.json"]
        run.metrics |= {"score": np.float32(0.5), "list": np.arange(2), "bad": float("nan")}
        run.history += [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 1.0}]
    assert metrics(out) == {"status": "complete", "score": 0.5, "list": [0, 1], "bad": None}
    config = json.loads((out / "config.json").read_text())
    assert config == {
        "name": "job",
        "version": __version__,
        "epochs": 5,
        "out": str(out),
        "force": False,
        "format": "png",
        "open": False,
    }
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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_a_folder_that_says_so(number, code, tmp_path, capsys):
    def main(_):
        with RunFolder("job", at(tmp_path / "run")):
            os.kill(os.getpid(), number)

    with pytest.raises(SystemExit) as stop:
        cli.run(main, None)
    assert stop.value.code == code
    assert capsys.readouterr().err == "interrupted\n"
    assert metrics(tmp_path / "run")["status"] == "interrupted"


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
        visible = {name for name in names(tmp_path) if not name.startswith(".")}
        assert visible == mine | {"config.json", "metrics.json", "manifest.json"}
    assert names(tmp_path) == mine | {"config.json", "metrics.json", "manifest.json", "report.html"}
    assert {(tmp_path / name).read_text() for name in mine} == {"mine"}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in names(folder)}


@pytest.fixture
def finished(tmp_path):
    """The folder of a run that is complete, with a file of the user's."""
    with RunFolder("job", at(tmp_path / "run")) as run:
        run.history.append({"epoch": 1})
        run.file("model.keras").write_text("trained for hours")
        run.file("sub/loss.png").write_text("plot")
    (tmp_path / "run/config.yaml").write_text("mine")
    return tmp_path / "run"


@pytest.mark.parametrize("results", [[], ["model.keras"], ["model.keras", "sub/other.png"]])
def test_a_refused_run_leaves_the_earlier_one_as_it_was(finished, results):
    before = contents(finished)

    def refused():
        with RunFolder("job", at(finished, force=True)) as run:
            for name in results:
                run.file(name).write_text("new")
            run.history.append({"epoch": 1, "loss": 3.0})
            raise InputError("no")

    with pytest.raises(InputError, match="no"):
        refused()
    assert contents(finished) == before
    assert sorted(path.name for path in finished.iterdir() if path.is_dir()) == ["sub"]


@pytest.mark.parametrize("raised", [None, KeyboardInterrupt, ZeroDivisionError])
def test_a_run_that_was_not_refused_replaces_the_earlier_one(finished, raised):
    def replace():
        with RunFolder("job", at(finished, force=True)):
            if raised:
                raise raised

    if raised:
        with pytest.raises(raised):
            replace()
    else:
        replace()
    assert names(finished) == {"config.yaml", "config.json", "metrics.json", "manifest.json", "report.html"}


def test_a_signal_while_the_folder_is_opened_leaves_it_as_it_was(finished, monkeypatch):
    before, write_json = contents(finished), RunFolder.write_json

    def interrupted(run, *arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        write_json(run, *arguments)

    monkeypatch.setattr(RunFolder, "write_json", interrupted)
    with interrupts.raising(), pytest.raises(KeyboardInterrupt), RunFolder("job", at(finished, force=True)):
        pass
    assert contents(finished) == before


def test_a_folder_that_cannot_be_written_to_is_refused_and_stays_as_it_was(finished, monkeypatch):
    before, write_json = contents(finished), RunFolder.write_json

    def full(run, name, content):
        write_json(run, name, content)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunFolder, "write_json", full)
    with pytest.raises(InputError, match=r"expected to write to the run folder .*, got: No space left"):
        RunFolder("job", at(finished, force=True)).__enter__()
    assert contents(finished) == before


def test_bad_input_removes_the_parents_that_were_made_and_no_others(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="no"), RunFolder("job", at(tmp_path / "mine/a/b")):
        raise InputError("no")
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_bad_input_beside_the_users_files_leaves_them_alone(tmp_path):
    for name in ("config.json", "manifest.json", "notes.txt"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match="no"), RunFolder("job", at(tmp_path, force=True)):
        raise InputError("no")
    assert contents(tmp_path) == before


def test_a_manifest_of_another_program_is_not_believed(tmp_path):
    (tmp_path / "manifest.json").write_text('{"name": "app", "files": ["precious.txt"]}')
    (tmp_path / "precious.txt").write_text("mine")
    with RunFolder("job", at(tmp_path, force=True)):
        pass
    assert (tmp_path / "precious.txt").read_text() == "mine"
    assert json.loads((tmp_path / "manifest.json.bak").read_text())["name"] == "app"


@pytest.mark.parametrize("suffix", ["png", "svg", "pdf"])
def test_a_plot_has_the_chosen_format_as_its_suffix_and_is_listed(tmp_path, suffix):
    with RunFolder("job", Settings(output=Output(tmp_path, format=suffix))) as run:
        assert run.plot("loss") == tmp_path / f"loss.{suffix}"
        run.plot("loss").write_text("plot")
    assert f"loss.{suffix}" in json.loads((tmp_path / "manifest.json").read_text())["files"]
    with RunFolder("job", at(tmp_path, force=True)) as run:  # of another format
        run.plot("loss").write_text("plot")
    assert [path.name for path in tmp_path.glob("loss.*")] == ["loss.png"]


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


def test_the_report_has_results_plots_and_files_and_is_opened_if_wished(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(run_folder.html_report, "open_report", opened.append)
    with RunFolder("job", Settings(output=Output(tmp_path, open=True))) as run:
        run.plot("loss").write_bytes(b"plot")
        run.file("checkpoints/a.npz").write_text("x")
        run.results.append("the result")
        run.history.append({"epoch": 1, "loss": 0.5})
    report = (tmp_path / "report.html").read_text()
    assert opened == [tmp_path / "report.html"]
    assert "the result" in report
    assert "data:image/png;base64,cGxvdA==" in report
    assert "history.csv" in report
    assert "checkpoints" not in report
    assert "report.html" in json.loads((tmp_path / "manifest.json").read_text())["files"]


def test_the_report_of_an_interrupted_run_says_so_and_is_not_opened(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.html_report, "open_report", None)

    def cut_short():
        with RunFolder("job", Settings(output=Output(tmp_path, open=True))):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_short()
    assert '<small class="status interrupted"' in (tmp_path / "report.html").read_text()


def test_a_run_is_complete_only_when_its_report_is_written(tmp_path, monkeypatch):
    statuses = []
    write = run_folder.html_report.write_report
    spy = lambda *arguments: statuses.append(metrics(tmp_path)["status"]) or write(*arguments)  # noqa: E731
    monkeypatch.setattr(run_folder.html_report, "write_report", spy)
    with RunFolder("job", Settings(output=Output(tmp_path))):
        pass
    assert statuses == ["running"]
    assert metrics(tmp_path)["status"] == "complete"


def test_a_fault_of_the_report_leaves_the_metrics(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder.html_report, "write_report", None)

    def run():
        with RunFolder("job", Settings(output=Output(tmp_path))) as folder:
            folder.metrics["score"] = 1

    with pytest.raises(TypeError):
        run()
    assert metrics(tmp_path) == {"status": "complete", "score": 1}


@pytest.mark.parametrize("raised", [None, InputError("refused"), KeyboardInterrupt()])
def test_of_several_processes_one_writes_the_folder(tmp_path, monkeypatch, raised):
    monkeypatch.setattr(processes, "is_main", lambda: False)
    with pytest.raises(type(raised)) if raised else nullcontext(), RunFolder("job", at(tmp_path / "run")) as run:
        run.history.append({"epoch": 1})
        run.write_json("results.json", {"accuracy": 0.5})
        elsewhere = run.path
        assert (elsewhere / "results.json").exists()
        if raised:
            raise raised
    assert not elsewhere.parent.exists()
    assert list(tmp_path.iterdir()) == []
