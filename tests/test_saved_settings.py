"""The settings of an earlier run: read with their types, and what contradicts them refused."""

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Annotated, Literal

from k3torch import __version__, cli
from k3torch.errors import InputError
from k3torch.options import Callbacks, Flag, Machine, Network, Resumable, flat, shown_as
from k3torch.saved_settings import load
import pytest


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    epochs: int = 20
    """Passes."""
    rung: Literal[1, 2] = 2
    """How."""
    table: Annotated[Path | None, shown_as("PATH", "none")] = None
    """A table."""
    on: Flag = False
    """A flag."""
    network: Network = Network(units=(16, 16))
    output: Resumable = Resumable()
    machine: Machine = Machine()
    callbacks: Callbacks = Callbacks()


def save(folder, settings, **changes):
    values = {key: str(value) if isinstance(value, Path) else value for key, value in flat(settings).items()}
    folder.mkdir(exist_ok=True)
    content = {"name": "job", "version": __version__, **values, **changes}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def parse(capsys):
    """Parse a command line; return the settings, or the line that refuses it."""

    def parsed(*arguments):
        try:
            return cli.parse(Settings, "", list(map(str, arguments)))
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr().err
        assert (code, said.count("\n")) == (2, 1)
        return said.removeprefix("error: ").removesuffix("\n")

    return parsed


EARLIER = ["--epochs", 7, "--on", "--rung", 1, "--table", "a/b.csv", "--units", 5, 4, "--dropout", 0.25, "--seed", 3,
           "--best-checkpoint", "--out", "there", "--force"]  # fmt: skip


def test_settings_come_back_with_their_types(tmp_path, parse):
    earlier = parse(*EARLIER)
    run = save(tmp_path / "run", earlier)
    found = parse("--resume", run)
    assert found == parse(*EARLIER[:-3], "--resume", run) == load_with(earlier, run)
    assert found.table == Path("a/b.csv")
    assert found.network.units == (5, 4)
    assert found.output == Resumable(resume=run)


def load_with(settings, run):
    values = dict(vars(settings)) | {"output": Resumable(resume=run)}
    return Settings(**values)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--epochs", 8], "--epochs 8 instead of 7: leave it out"),
        (["--units", 5, "--epochs", 8], "--epochs 8 instead of 7, --units 5 instead of 5 4: leave them out"),
        (["--early-stopping", 2], "--early-stopping 2 instead of 0: leave it out"),
        (["--tensorboard"], "--tensorboard on instead of off: leave it out"),
        (["--learning-rate", 0.1], "--learning-rate 0.1 instead of the default: leave it out"),
        (["--out", "elsewhere"], "--out elsewhere: leave it out"),
        (["--force"], "--force: leave it out"),
    ],
)
def test_options_that_contradict_are_refused_in_one_line(arguments, said, tmp_path, parse):
    run = save(tmp_path / "run", parse(*EARLIER))
    expected = f"expected the settings that are saved in {run} with --resume, got {said}, or begin a new run without "
    assert parse("--resume", run, *arguments) == f"{expected}--resume"


def test_options_that_repeat_the_saved_ones_are_accepted(tmp_path, parse):
    run = save(tmp_path / "run", parse(*EARLIER))
    assert parse("--resume", run, *EARLIER[:-3], "--out", run) == parse("--resume", run)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": "7"}, "got '7' for epochs"),
        ({"epochs": 7.5}, "got 7.5 for epochs"),
        ({"epochs": None}, "got None for epochs"),
        ({"rung": 3}, "got 3 for rung"),
        ({"units": [5, "x"]}, "got [5, 'x'] for units"),
        ({"on": 1}, "got 1 for on"),
        ({"table": [["a"]]}, "got [['a']] for table"),
        ({"version": "0.0.1"}, f"expected a run of k3torch {__version__} for --resume, got one of 0.0.1"),
        ({"folds": 4}, "expected a run of this command for --resume, got one of 'job'"),
        ({"name": None}, "other content"),
    ],
)
def test_a_file_with_other_content_is_refused_in_one_line(changes, said, tmp_path, parse):
    run = save(tmp_path / "run", Settings(), **changes)
    assert said in parse("--resume", run)


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_a_folder_without_settings_is_refused_in_one_line(content, tmp_path, parse):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    assert f"expected the folder of an interrupted run for --resume, got {tmp_path}: " in parse("--resume", tmp_path)


def test_numbers_of_json_become_those_of_the_settings(tmp_path):
    run = save(tmp_path / "run", Settings(), dropout=1)
    assert type(load(Settings, run).network.dropout) is float
    with pytest.raises(InputError, match="this command"):
        load(Machine, run)


def test_a_report_is_opened_if_this_call_says_so_and_not_because_an_earlier_one_did(tmp_path, parse):
    for saved in (False, True):
        run = save(tmp_path / str(saved), Settings(output=Resumable(open=saved)))
        assert parse("--resume", run).output.open is False
        assert parse("--resume", run, "--open").output.open is True


@dataclass(frozen=True)
class Required:
    """Command-line options, some without a default."""

    table: Annotated[Path, shown_as("PATH")]
    """A table."""
    target: Annotated[str, shown_as("COLUMN")]
    """A column."""
    output: Resumable = Resumable()


def test_options_without_a_default_are_those_of_the_run(tmp_path, capsys):
    run = save(tmp_path / "run", Required(Path("a.csv"), "price"))
    found = cli.parse(Required, "", ["--resume", str(run)])
    assert found == Required(Path("a.csv"), "price", Resumable(resume=run))
    for arguments, said in (
        (["--resume", str(run), "--target", "size"], "with --resume, got --target size instead of price"),
        (["--target", "size"], "--table"),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.parse(Required, "", arguments)
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
