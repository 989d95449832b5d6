"""Commands: what is parsed, how bad input ends, what a help page looks like."""

import contextlib
from dataclasses import dataclass
import json
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
from typing import Literal

from k3torch import cli, processes
from k3torch.errors import InputError, did_you_mean
from k3torch.options import Machine, Output, Resumable
import pytest


@dataclass(frozen=True)
class Settings:
    """Options."""

    epochs: int = 20
    """Passes over the data."""
    normalize: Literal["fold", "train"] = "fold"
    """Whose mean."""
    output: Output = Output()
    machine: Machine = Machine()


def test_good_arguments_become_settings():
    arguments = ["--epochs", "3", "--normalize", "train", "--out", "a/b", "--force", "--seed", "7"]
    expected = Settings(3, "train", Output(Path("a/b"), True), Machine(seed=7))
    assert cli.parse(Settings, arguments=arguments) == expected
    assert cli.parse(Settings, arguments=[]) == Settings()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochz", "3"], "unrecognized options: --epochz: did you mean --epochs?"),
        (["--epoch", "-3"], "unrecognized options: --epoch: did you mean --epochs?"),
        (["--epoch=3", "--sed", "4"], "unrecognized options: --epoch, --sed: did you mean --epochs, --seed?"),
        (["--source", "x"], "unrecognized options: --source: see --help"),  # --force would replace files
        (["--forcee"], "unrecognized options: --forcee: see --help"),
        (["words"], "unrecognized options: words: see --help"),
        (["--epochs", "x"], "expected INT for --epochs, got 'x'"),
        (["--epochs", "None"], "expected INT for --epochs, got 'None'"),
        (["--epochs"], "expected a value for --epochs, got none"),
        (["--normalize", "zzz"], "expected --normalize among fold, train, got 'zzz'"),
        (["--normalize", "folds"], "expected --normalize among fold, train, got 'folds', did you mean 'fold'?"),
        (["--device", "gpu"], "expected --device among auto, cpu, cuda, mps, got 'gpu', did you mean 'cuda'?"),
        (["--out", ""], "expected a value for --out, got an empty one"),
        (["--out="], "expected a value for --out, got an empty one"),
    ],
)
def test_bad_arguments_give_one_line_and_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Settings, arguments=arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_help_shows_the_description_and_the_own_options_first(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Settings, "A story.\n\n    make story\n\n" + "long " * 40 + "``code``", ["--help"])
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("A story.\n\n    make story\n\nlong long")
    assert "long code\n" in said
    places = [said.index(text) for text in ("--epochs INT", "--normalize {fold,train}", "output options", "--out PATH",
                                            "--force ", "machine options", "--seed INT")]  # fmt: skip
    assert places == sorted(places)
    assert "None" not in said
    settings = (
        "Use the folder even if it contains files. Those that an earlier run wrote, as listed in its manifest.json"
    )
    assert settings in " ".join(said.replace("│", " ").split())


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (InputError("expected a, got b: do c"), 2, "error: expected a, got b: do c\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (processes.OtherProcessEnded("another has ended"), 2, "error: another has ended\n"),
    ],
)
def test_run_turns_errors_into_a_line_and_a_code(raised, code, said, capsys):
    def main(_):
        raise raised

    with pytest.raises(SystemExit) as stop:
        cli.run(main, Settings())
    assert stop.value.code == code
    assert capsys.readouterr().err == said


def test_a_process_that_another_one_ends_says_so_though_torchrun_terminates_it(capsys):
    def main(_):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        raise processes.OtherProcessEnded("another has ended")

    with pytest.raises(SystemExit) as stop:
        cli.run(main, Settings())
    assert (stop.value.code, capsys.readouterr().err) == (2, "error: another has ended\n")


def test_of_several_processes_one_prints_help_and_errors(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(Path(cli.__file__).parents[1])!r})\n"
    (tmp_path / "script.py").write_text(code + SCRIPT_OF_PROCESSES)
    said = []
    for rank in "01":
        for argument in ("--help", "--epoch=x"):
            environment = os.environ | {"RANK": rank, "WORLD_SIZE": "2"}
            command = [sys.executable, str(tmp_path / "script.py"), argument]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            said.append((done.returncode, bool(done.stdout), done.stderr.count("\n")))
    assert said == [(0, True, 0), (2, False, 1), (0, False, 0), (2, False, 0)]


SCRIPT_OF_PROCESSES = """
import dataclasses
from k3torch import cli

@dataclasses.dataclass(frozen=True)
class Settings:
    "Options."
    epochs: int = 1
    "Epochs."

cli.parse(Settings, "A script.")
"""


def test_a_defect_keeps_its_traceback():
    def main(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(main, Settings())


def test_arguments_in_messages_of_the_library_become_options(capsys):
    @dataclass
    class Options:
        batch_size: int = 1
        folds: int = 2
        output: Output = Output()

    def main(_):
        raise InputError("expected batch_size as x, got batch_size; expected folds as y: 3 folds in a/batch_size")

    with pytest.raises(SystemExit):
        cli.run(main, Options())
    expected = "expected --batch-size as x, got --batch-size; expected --folds as y: 3 folds in a/batch_size"
    assert capsys.readouterr().err == f"error: {expected}\n"


@dataclass(frozen=True)
class ResumableSettings:
    """Options, one group of which inherits others."""

    output: Resumable = Resumable()


@pytest.mark.parametrize("settings", [Settings, ResumableSettings])
def test_no_line_of_a_docstring_ends_a_line_of_the_help_page(settings, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        cli.parse(settings, arguments=["--help"])
    page = capsys.readouterr().out
    assert "are replaced: they are deleted when the new run ends" in page


def test_a_broken_pipe_of_another_kind_is_a_defect():
    def main(_):
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        cli.run(main, Settings())


PIPES = {
    "a run": "from k3torch import cli; cli.run(lambda _: [print('x' * 1000) for _ in range(1000)], None)",
    "help": """
import dataclasses, sys
from k3torch import cli
@dataclasses.dataclass
class Settings:
    epochs: int = 3
print("x" * 10, end="", flush=True)
sys.stdin.read()  # until the reader has closed the pipe
cli.parse(Settings, "text " * 100_000, ["--help"])
""",
    "short help": """
import sys
from k3torch import __main__
print("x" * 10, end="", flush=True)
sys.stdin.read()
sys.argv[1:] = []
__main__.main()
""",
}


@pytest.mark.parametrize("code", PIPES.values(), ids=PIPES)
def test_a_reader_that_closes_the_pipe_ends_it_without_a_message(code):
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen([sys.executable, "-c", code], text=True, **pipes)
    process.stdout.read(10)
    process.stdout.close()
    process.stdin.close()
    assert process.wait() == 0
    assert process.stderr.read() == ""


def test_did_you_mean():
    assert did_you_mean("rmsprp", ["adam", "rmsprop"]) == ", did you mean 'rmsprop'?"
    assert did_you_mean("xyz", ["adam"]) == ""


def test_counts_below_one_are_refused_and_none_is_not():
    cli.check_counts(Settings(epochs=1), "epochs")
    cli.check_counts(Settings(epochs=None), "epochs")
    with pytest.raises(InputError, match="expected epochs as a whole number of 1 or more, got 0"):
        cli.check_counts(Settings(epochs=0), "epochs")


COMMANDS = sorted(path for path in cli.SCRIPTS.glob("*.py") if "cli.run(" in path.read_text())
WITHOUT_TORCH = """
import contextlib, io, json, os, runpy, sys
class Refuse:
    def find_spec(self, name, *_):
        if name in ("keras", "torch"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
answers = {}
for script in sys.argv[1:]:
    for option, columns in (("--help", "80"), ("--help", "120"), ("--epochz", "80")):
        sys.argv, os.environ["COLUMNS"], code = [script, option], columns, None
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(io.StringIO()) as errors:
            try:
                runpy.run_path(script, run_name="__main__")
            except SystemExit as stop:
                code = stop.code
        answers.setdefault(script, []).append((code, said.getvalue(), errors.getvalue()))
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    """The exit code, output and errors of each script for a help page, a wide one, and an unknown option."""
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, COMMANDS)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("script", COMMANDS, ids=lambda path: path.stem)
def test_every_script_answers_without_torch_and_fits_the_terminal(answers, script):
    (code, page, errors), (_, wide, _), bad = answers[str(script)]
    assert (code, errors) == (0, "")
    assert 70 < max(map(len, page.splitlines())) <= 80  # a page of short lines is narrower
    assert not re.search(r"\bNone\b", page)
    assert 100 < max(map(len, wide.splitlines())) <= 120

    assert bad[0] == 2
    assert re.fullmatch(r"error: [^\n]*\n", bad[2])


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device"), "expected to read or write files, got: No space left on device"),
        (OSError(36, "File name too long", "xx"), "expected to read or write xx, got: File name too long"),
        (PermissionError(13, "Permission denied", "a", None, "b"), "read or write a and b, got: Permission denied"),
        (FileNotFoundError(2, "No such file or directory", b"a"), "read or write b'a', got: No such file or directory"),
        (MemoryError("Unable to allocate 7 GiB"), "expected the run to fit in memory, got: Unable to allocate 7 GiB"),
    ],
)
def test_what_the_system_denies_is_one_line_and_code_2(error, line, capsys):
    def main(_):
        raise error

    with pytest.raises(SystemExit) as stop:
        cli.run(main, None)
    said = capsys.readouterr().err
    assert (stop.value.code, said.count("\n")) == (2, 1)
    assert line in said


@pytest.mark.parametrize("error", [OSError("of a library"), ZeroDivisionError(), BrokenPipeError(32, "another pipe")])
def test_an_error_that_no_file_explains_keeps_its_traceback(error):
    def main(_):
        raise error

    with pytest.raises(type(error)):
        cli.run(main, None)
