"""Options: groups become flat settings, and closed sets of names equal what the scripts can build."""

from dataclasses import dataclass
import importlib.util
from pathlib import Path
import subprocess
import sys
from typing import get_args

from k3torch import cli, options
from k3torch.training import callbacks, rungs
import pytest


@dataclass(frozen=True)
class Settings:
    epochs: int = 3
    output: options.Output = options.Output()
    machine: options.Machine = options.Machine(seed=4)
    callbacks: options.Callbacks = options.Callbacks()


def load(name):
    spec = importlib.util.spec_from_file_location(name, cli.SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_groups_are_flattened_by_name():
    assert options.flat(Settings(output=options.Output(Path("a")))) == {
        "epochs": 3,
        "out": Path("a"),
        "force": False,
        "format": "png",
        "open": False,
        "device": "auto",
        "precision": "float32",
        "seed": 4,
        "early_stopping": 0,
        "best_checkpoint": False,
        "schedule": "constant",
        "reduce_on_plateau": 0,
        "tensorboard": False,
    }


def test_no_two_groups_share_a_name():
    groups = (options.Output(), options.Machine(), options.Callbacks(), options.Network(units=()))
    names = [name for group in groups for name in vars(group)]
    assert len(names) == len(set(names))


def test_a_network_lists_what_differs_from_another():
    lectures = options.Network(units=(16, 16))
    assert lectures.differences(options.Network(units=(16, 16))) == []
    other = options.Network(units=(), dropout=0.5, activation="tanh", momentum=0.9, nesterov=True)
    assert other.differences(lectures) == [
        "--units none instead of 16 16",
        "--activation tanh instead of relu",
        "--dropout 0.5 instead of 0",
        "--momentum 0.9 instead of the default",
        "--nesterov on instead of off",
    ]


@pytest.mark.parametrize("name", ["train_imdb", "kfold_boston", "train_digits"])
def test_the_options_of_the_network_take_one_line_each_or_two(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    script = load(name)
    monkeypatch.setitem(sys.modules, name, script)
    with pytest.raises(SystemExit):
        cli.parse(script.Settings, "", ["--help"])
    page = capsys.readouterr().out
    group = page[page.index("network options") : page.index("output options")].splitlines()
    lines = [line.strip("│| ") for line in group[1:-2]]
    assert all(len(line) <= 80 for line in page.splitlines())
    assert "The network and its optimizer, by default the lecture's. A NAME is Keras's." in lines
    assert [line.split()[0] for line in lines if line[:2] == "--" != line[-2:]] == [
        "--units", "--activation", "--dropout", "--l1", "--l2", "--max-norm", "--kernel-initializer", "--optimizer",
        "--learning-rate", "--momentum", "--nesterov", "--clipnorm", "--clipvalue",
    ]  # fmt: skip
    assert len(lines) <= 3 + 13 + 4


def test_importing_them_is_light():
    code = "import sys, k3torch.cli, k3torch.options; print({'torch', 'keras', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_rungs_and_schedules_are_those_that_exist():
    assert get_args(options.Rung) == tuple(rungs.NAMES)
    for schedule in get_args(options.Schedule):
        assert callbacks.scheduler(schedule, 10).schedule(0, 0.5) == pytest.approx(0.5)


def test_variants_are_those_that_can_be_built():
    script = load("compare_overfitting")
    assert get_args(script.Variant) == tuple(script.VARIANTS)
    assert script.Settings().variants == tuple(script.VARIANTS)[:-1]


def test_candidates_are_those_that_can_be_built():
    script = load("nested_boston")
    assert get_args(script.Candidate) == script.Settings().candidates == tuple(script.CANDIDATES)


def test_jobs_and_contenders_are_those_of_the_benchmark():
    script = load("benchmark")
    assert get_args(script.JobName) == script.Settings().jobs == tuple(script.JOBS)
    assert set(get_args(script.Contender)) == {name for job in script.JOBS.values() for name in job.contenders}
    assert get_args(script.Line) == script.Settings().lines == tuple(range(1, len(script.sizes.GRID) + 1))


def test_a_resumable_run_folder_is_an_output_with_one_more_option():
    assert isinstance(options.Resumable(), options.Output)
    assert set(options.flat(options.Resumable())) == {*options.flat(options.Output()), "resume"}
    assert options.Resumable().resume is None
    assert options.option("batch_size") == "--batch-size"
    assert [options.typed(value) for value in ((), (1, 2), 0.5, True, False, None, "x", 3)] == [
        "none", "1 2", "0.5", "on", "off", "the default", "x", "3"
    ]  # fmt: skip
