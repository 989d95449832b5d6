from dataclasses import dataclass
from typing import Literal

from k3torch import cli
from k3torch.errors import InputError, did_you_mean
import pytest


@dataclass(frozen=True)
class Settings:
    """What may be chosen."""

    epochs: int = 20
    """Passes over the data."""
    normalize: Literal["fold", "train"] = "fold"
    """Whose mean."""


def test_good_arguments_become_settings():
    assert cli.parse(Settings, ["--epochs", "3", "--normalize", "train"]) == Settings(3, "train")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochz", "3"], "Unrecognized options: --epochz, 3: did you mean --epochs?"),
        (["--epochs", "x"], "Error parsing --epochs: invalid literal for int() with base 10: 'x': see --help"),
        (
            ["--normalize", "zzz"],
            "invalid choice 'zzz' for argument '--normalize'. Expected one of ('fold', 'train'): see --help",
        ),
    ],
)
def test_bad_arguments_give_one_line_and_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Settings, arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_help_shows_the_fields_and_ends_well(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.parse(Settings, ["--help"], "A story.")
    assert stop.value.code == 0
    said = capsys.readouterr().out
    assert "A story." in said
    assert "Passes over the data." in said


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (InputError("expected a, got b: do c"), 2, "error: expected a, got b: do c\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_run_turns_errors_into_a_line_and_a_code(raised, code, said, capsys, monkeypatch):
    def main(_):
        raise raised

    monkeypatch.setattr("sys.argv", ["script"])
    with pytest.raises(SystemExit) as stop:
        cli.run(main, Settings)
    assert stop.value.code == code
    assert capsys.readouterr().err == said


def test_a_defect_keeps_its_traceback(monkeypatch):
    def main(_):
        raise ZeroDivisionError

    monkeypatch.setattr("sys.argv", ["script"])
    with pytest.raises(ZeroDivisionError):
        cli.run(main, Settings)


def test_did_you_mean():
    assert did_you_mean("rmsprp", ["adam", "rmsprop"]) == ", did you mean 'rmsprop'?"
    assert did_you_mean("xyz", ["adam"]) == ""


def test_counts_below_one_are_refused_and_none_is_not():
    cli.check_counts(Settings(epochs=1), "epochs")
    cli.check_counts(Settings(epochs=None), "epochs")
    with pytest.raises(InputError, match="expected epochs as a whole number of 1 or more, got 0"):
        cli.check_counts(Settings(epochs=0), "epochs")
