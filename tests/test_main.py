"""The command k3torch: what it lists, that it runs each script, and that a wheel has all of it."""

from pathlib import Path
import re
import subprocess
import sys
import tomllib

from k3torch import __main__, __version__, cli, interrupts
import pytest
from tests import forked

ROOT = Path(__file__).parents[1]


def k3torch(*arguments):
    return subprocess.run([sys.executable, "-m", "k3torch", *arguments], capture_output=True, text=True, check=False)


def test_alone_it_lists_every_command_in_one_line_each():
    done = k3torch()
    assert done.returncode == 0
    assert done.stdout == k3torch("--help").stdout == __main__.overview() + "\n"
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    for name in __main__.COMMANDS:
        assert sum(bool(re.fullmatch(rf"  {name} +[A-Z][^.]*\.", line)) for line in lines) == 1


def test_it_has_the_scripts_of_the_makefile_described_in_the_same_words():
    makefile = (ROOT / "Makefile").read_text()
    targets = dict(re.findall(r"^([a-z-]+):.*\n\t@\$\(BIN\)/python scripts/(\w+\.py)", makefile, re.MULTILINE))
    assert len(targets) == 21
    assert targets == __main__.COMMANDS
    for name in targets:
        described = re.search(rf"^{name}: setup  ## (.*)$", makefile, re.MULTILINE).group(1)
        assert f"{described[0].upper()}{described[1:]}." in __main__.overview()


def test_version_and_unknown_commands():
    assert k3torch("--version").stdout == f"k3torch {__version__}\n"
    for word, said in (
        ("train-imbd", "error: expected a command, got 'train-imbd', did you mean 'train-imdb'?\n"),
        ("--epochs", "error: expected a command, got '--epochs': k3torch --help lists the commands\n"),
    ):
        done = k3torch(word)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.fixture
def called(monkeypatch, capsys):
    """A function that calls the command in this process, and returns its exit code and what it printed."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["k3torch", *arguments])
        monkeypatch.setattr(cli, "program", None)
        code = 0
        with interrupts.raising():  # which puts back what the command makes of signals
            try:
                __main__.main()
            except SystemExit as stop:
                code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.mark.parametrize("name", __main__.COMMANDS)
def test_each_command_is_its_script(called, name):
    code, page, _ = called(name, "--help")
    assert code == 0
    assert page.startswith((cli.SCRIPTS / __main__.COMMANDS[name]).read_text()[3:].split("\n")[0])
    assert f"usage: k3torch {name} [-h] " in page


def test_a_command_runs_to_its_end(tmp_path):
    options = ["--folds", 2, "--epochs", 2, "--batch-size", 64, "--out", tmp_path / "run"]
    done = forked.run_code("from k3torch import __main__; __main__.main()", "kfold-boston", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/model.keras").exists()


def test_the_wheel_has_all_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folders = {path.parent for path in (ROOT / "src/k3torch").rglob("*.py")}
    packages = {".".join(folder.relative_to(ROOT / "src").parts) for folder in folders} | {"k3torch.scripts"}
    assert set(project["tool"]["setuptools"]["packages"]) == packages
    assert project["project"]["scripts"] == {"k3torch": "k3torch.__main__:main"}
