"""Run folders of interrupted runs that go on, and folders that two runs want at once."""

from contextlib import nullcontext
from dataclasses import dataclass
import json
import subprocess
import sys
import time

from k3torch import processes
from k3torch.claims import claim, is_claimed
from k3torch.errors import InputError
from k3torch.options import Output, Resumable
from k3torch.reports.run_folder import RunFolder
import pytest


@dataclass(frozen=True)
class Settings:
    epochs: int = 5
    output: Resumable = Resumable()


def new(folder, force=False):
    return RunFolder("job", Settings(output=Resumable(folder, force=force)))


def resumed(folder):
    return RunFolder("job", Settings(output=Resumable(resume=folder)))


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def contents(folder):
    return {name: (folder / name).read_bytes() for name in names(folder)}


@pytest.fixture
def interrupted(tmp_path):
    """A folder as a killed or interrupted run leaves it: a result, two checkpoints, a draft and the user's notes."""
    folder = tmp_path / "run"

    def work():
        with new(folder) as run:
            run.history.append({"epoch": 1, "loss": 2.0})
            run.file("loss.png").write_text("of the first epoch")
            for number in (1, 2):
                path = run.path / f"checkpoints/study/checkpoint-00000{number}.npz"
                assert run.checkpoint(path) == path
                path.write_text("state")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    (folder / "checkpoints/study/.checkpoint-000002-abcd_123.npz").write_text("half")
    (folder / "notes.txt").write_text("mine")
    return folder


BOOKS = {"config.json", "metrics.json", "manifest.json", "report.html"}
STATES = {f"checkpoints/study/checkpoint-00000{number}.npz" for number in (1, 2)}


def test_an_interrupted_run_goes_on_and_is_complete_without_checkpoints(interrupted):
    assert metrics(interrupted)["status"] == "interrupted"
    config = (interrupted / "config.json").read_bytes()
    with resumed(interrupted) as run:
        assert (run.resumed, run.path, metrics(interrupted)["status"]) == (True, interrupted, "running")
        assert names(interrupted) == BOOKS | STATES | {"loss.png", "history.csv", "notes.txt"}
        run.file("loss.png").write_text("of all epochs")
        run.metrics["score"] = 1
    assert names(interrupted) == BOOKS | {"loss.png", "notes.txt", "history.csv"}
    assert not (interrupted / "checkpoints").exists()
    assert (interrupted / "loss.png").read_text() == "of all epochs"
    assert metrics(interrupted) == {"status": "complete", "score": 1}
    assert (interrupted / "config.json").read_bytes() == config
    with pytest.raises(InputError, match="whose run is complete"):
        resumed(interrupted).__enter__()


@pytest.mark.parametrize(("raised", "status"), [(KeyboardInterrupt, "interrupted"), (ZeroDivisionError, "failed")])
def test_a_run_that_is_cut_short_again_can_go_on_again(raised, status, interrupted):
    def work():
        with resumed(interrupted):
            raise raised

    with pytest.raises(raised):
        work()
    assert metrics(interrupted)["status"] == status
    assert names(interrupted) >= STATES
    with resumed(interrupted):
        pass
    assert metrics(interrupted)["status"] == "complete"


@pytest.mark.parametrize("raised", [None, InputError("refused")])
def test_of_several_processes_one_goes_on_in_the_folder(raised, interrupted, monkeypatch):
    monkeypatch.setattr(processes, "is_main", lambda: False)
    before = contents(interrupted)
    with pytest.raises(InputError) if raised else nullcontext(), resumed(interrupted) as run:
        assert run.resumed
        run.write_json("results.json", {})
        elsewhere = run.path
        assert names(elsewhere) == {"config.json", "metrics.json", "manifest.json", "results.json"}
        if raised:
            raise raised
    assert not elsewhere.parent.exists()
    assert contents(interrupted) == before


def test_a_refused_resume_leaves_the_folder_as_it_was(interrupted):
    (interrupted / "checkpoints/study/.checkpoint-000002-abcd_123.npz").unlink()
    before = contents(interrupted)
    with pytest.raises(InputError, match="no"), resumed(interrupted):
        raise InputError("no")
    assert contents(interrupted) == before
    assert not is_claimed(interrupted)


def test_a_new_run_with_force_removes_checkpoints_and_drafts(interrupted):
    with new(interrupted, force=True):
        pass
    assert names(interrupted) == BOOKS | {"notes.txt"}


def test_a_checkpoint_lists_those_that_are_there_and_writes_the_history(interrupted):
    with resumed(interrupted) as run:
        run.history += [{"epoch": 1}, {"epoch": 2}]
        (interrupted / "checkpoints/study/checkpoint-000001.npz").unlink()
        run.checkpoint(interrupted / "checkpoints/study/checkpoint-000003.npz")
        listed = json.loads((interrupted / "manifest.json").read_text())["files"]
        assert [name for name in listed if "checkpoint" in name] == [
            "checkpoints/study/checkpoint-000002.npz", "checkpoints/study/checkpoint-000003.npz"
        ]  # fmt: skip
        assert (interrupted / "history.csv").read_text().split() == ["epoch", "1", "2"]


@pytest.mark.parametrize("content", ["", '{"files": ["loss.png"]}', '{"written_by": "k3torch", "version": "1"}'])
def test_without_a_manifest_nothing_goes_on(content, interrupted):
    (interrupted / "manifest.json").write_text(content)
    before = contents(interrupted)
    with pytest.raises(InputError, match=r"expected a run folder with a manifest\.json of k3torch for --resume"):
        resumed(interrupted).__enter__()
    assert contents(interrupted) == before


@pytest.mark.parametrize("make", [resumed, lambda folder: new(folder, force=True)])
def test_a_folder_that_another_process_writes_to_is_refused(make, interrupted):
    before, end = contents(interrupted), claim(interrupted)
    with pytest.raises(InputError, match=r"got .*run, to which another process is writing"):
        make(interrupted).__enter__()
    assert contents(interrupted) == before
    end()
    with make(interrupted):
        assert is_claimed(interrupted)
    assert not is_claimed(interrupted)


RACES = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from k3torch.errors import InputError
from k3torch.options import Output
from k3torch.reports.run_folder import RunFolder
@dataclass(frozen=True)
class Settings:
    output: Output
folder, begin, tries = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
for number in range(tries):
    time.sleep(max(0, begin + number * 0.04 - time.time()))
    try:
        with RunFolder("job", Settings(Output(folder / str(number)))) as run:
            run.file("result").write_text("")
            print(number)
    except InputError:
        pass
"""


def test_of_two_runs_that_open_a_folder_in_the_same_moment_one_wins(tmp_path):
    tries = 40
    command = [sys.executable, "-c", RACES, str(tmp_path), str(time.time() + 3), str(tries)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in "ab"]
    said = [process.communicate(timeout=60) for process in processes]
    assert [errors for _, errors in said] == ["", ""]
    assert sorted(int(line) for output, _ in said for line in output.split()) == list(range(tries))


class DiskFullError(OSError):
    def __init__(self):
        super().__init__(28, "No space left on device")


def test_a_disk_that_is_full_at_the_end_is_one_line_and_the_status_failed(tmp_path, monkeypatch):
    def work():
        with new(tmp_path / "run") as run:
            run.metrics["long"] = "x" * 100_000
            monkeypatch.setattr("k3torch.files.tempfile.mkstemp", full)

    def full(*_, **__):
        raise DiskFullError

    with pytest.raises(InputError, match=r"expected to write to the run folder .*run, got: No space left on device"):
        work()
    assert metrics(tmp_path / "run") == {"status": "failed"}
    assert not is_claimed(tmp_path / "run")


def test_output_alone_is_never_resumed(tmp_path):
    @dataclass(frozen=True)
    class Plain:
        output: Output = Output(tmp_path / "run")

    with RunFolder("job", Plain()) as run:
        assert not run.resumed
