"""Commands: what is parsed, how bad input ends, what a help page looks like."""

from dataclasses import dataclass
import os
from pathlib import Path
import re
import subprocess
import sys
from typing import Literal

from k3torch import cli
from k3torch.errors import InputError, did_you_mean
from k3torch.options import Machine, Output
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
        (["--epochz", "3"], "unrecognized options: --epochz, 3: did you mean --epochs?"),
        (["--epoch", "3"], "unrecognized options: --epoch, 3: did you mean --epochs?"),
        (["words"], "unrecognized options: words: see --help"),
        (["--epochs", "x"], "expected INT for --epochs, got 'x'"),
        (["--epochs", "None"], "expected INT for --epochs, got 'None'"),
        (["--epochs"], "expected a value for --epochs, got none"),
        (["--normalize", "zzz"], "expected --normalize among fold, train, got 'zzz'"),
        (["--normalize", "folds"], "expected --normalize among fold, train, got 'folds', did you mean 'fold'?"),
        (["--device", "gpu"], "expected --device among auto, cpu, cuda, mps, got 'gpu', did you mean 'cpu'?"),
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


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (InputError("expected a, got b: do c"), 2, "error: expected a, got b: do c\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_run_turns_errors_into_a_line_and_a_code(raised, code, said, capsys):
    def main(_):
        raise raised

    with pytest.raises(SystemExit) as stop:
        cli.run(main, Settings())
    assert stop.value.code == code
    assert capsys.readouterr().err == said


def test_a_defect_keeps_its_traceback():
    def main(_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cli.run(main, Settings())


def test_a_reader_that_closes_the_pipe_ends_it_without_a_message():
    code = "from k3torch import cli; cli.run(lambda _: [print('x' * 1000) for _ in range(1000)], None)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.read(10)
    process.stdout.close()
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
import runpy, sys
class Refuse:
    def find_spec(self, name, *_):
        if name in ("keras", "torch"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("script", COMMANDS, ids=lambda path: path.stem)
def test_every_script_answers_without_torch_and_fits_the_terminal(script):
    def run(option, columns):
        command = [sys.executable, "-c", WITHOUT_TORCH, str(script), option]
        environment = {**os.environ, "COLUMNS": columns}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    page = run("--help", "80")
    assert (page.returncode, page.stderr) == (0, "")
    assert max(map(len, page.stdout.splitlines())) == 80
    assert not re.search(r"\bNone\b", page.stdout)
    wide = run("--help", "120").stdout
    assert 100 < max(map(len, wide.splitlines())) <= 120

    bad = run("--epochz", "80")
    assert bad.returncode == 2
    assert re.fullmatch(r"error: [^\n]*\n", bad.stderr)
