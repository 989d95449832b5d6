"""benchmark.py: its tables have a row per contender that ran; bad input is one line."""

import importlib.util
import json
import os

from k3torch import cli
from k3torch.reports import sizes
from k3torch.reports.benchmark import JOBS
from k3torch.reports.sizes import Size
import matplotlib.pyplot as plt
import pytest


def load(name):
    spec = importlib.util.spec_from_file_location(name, cli.SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


@pytest.mark.slow
def test_a_table_per_job_with_a_row_for_each_contender(run_script, review_table, tmp_path):
    out = tmp_path / "run"
    done = run_script("benchmark.py", "--jobs", "reviews", "boston", "--source", review_table, "--num-words", 45,
                      "--epochs", 1, "--rounds", 1, "--contenders", "torch-bag", "torch", "--allow-load",
                      "--out", out)  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 80 or line.startswith("written to") for line in done.stdout.splitlines())
    assert done.stdout.index("written to") < done.stdout.index("EmbeddingBag") < done.stdout.index("4 models")
    machine, *parts = (out / "benchmark.md").read_text().rstrip().split("\n\n")
    assert "cores" in machine
    titles, tables = parts[::2], parts[1::2]
    assert titles == ["## reviews", "## boston"]
    rows = [[line.strip("| ").split(" | ") for line in table.splitlines()[2:]] for table in tables]
    assert [[row[0] for row in table] for table in rows] == [
        ["4 an overridden train_step", "PyTorch, EmbeddingBag"],
        ["4 models as a stack", "PyTorch"],
    ]
    assert all(table[0][3] == "1.00 to 1.00" for table in rows)
    metrics = json.loads((out / "metrics.json").read_text())
    # A fair peer learns as much: both reach about the same mean absolute error on the training samples.
    errors = [metrics["boston"][0][name]["training error"] for name in ("stacked-4", "torch")]
    assert errors[0] == pytest.approx(errors[1], rel=0.3)


@pytest.mark.slow
def test_sizes_are_cross_validated_by_each_contender(monkeypatch, capsys, tmp_path):
    script, size = load("benchmark"), Size(samples=40, features=3, width=8, batch=16, folds=2, epochs=2)
    monkeypatch.setattr(sizes, "GRID", (size,))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    out = tmp_path / "run"
    script.main(script.Settings(jobs=("sizes",), lines=(1,), optimizers=("rmsprop",), rounds=1, allow_load=True,
                                contenders=("k3torch-cold", "keras-fit"), output=script.Output(out)))  # fmt: skip

    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["load average"] >= 0
    assert "OPENBLAS_CORETYPE=Haswell" in metrics["kernel settings"]
    (found,) = metrics["sizes, rmsprop, line 1"]
    assert list(found) == ["k3torch-cached", "k3torch-cold", "keras-fit"]
    cached, cold, fit = found.values()
    assert [result["engine"] for result in (cached, cold, fit)] == ["stacked", "stacked", "fit"]
    assert 0 < cached["steady seconds"] < cached["seconds"]
    assert cold["steady seconds"] is None
    assert 0 < fit["steady seconds"] < fit["seconds"]
    # All train the same models on the same batches.
    errors = [result["validation error"] for result in found.values()]
    assert errors == pytest.approx([errors[0]] * 3, rel=1e-4)

    caption, *parts = (out / "benchmark.md").read_text().rstrip().split("\n\n")
    assert "OPENBLAS_CORETYPE=Haswell is set." in caption
    assert "timed for two epochs" in caption
    assert parts[0] == "## sizes, rmsprop: seconds of the whole job"
    assert parts[1].splitlines()[0] == "| line: size | k3torch cached | k3torch cold | Keras |"
    assert parts[1].splitlines()[2].startswith("| 1: 40 3 8 16 2 2 | ")
    assert parts[2] == "## sizes, rmsprop: seconds of the whole job, divided by k3torch cached's"
    assert plt.imread(out / "sizes-rmsprop.png")[..., :3].std() > 0.1
    printed = capsys.readouterr().out
    assert "OPENBLAS_CORETYPE=Haswell is set." in " ".join(printed.split())
    assert printed.index("written to") < printed.index("seconds of the whole job") < printed.index("after start-up")


def task(script, line=1):
    return script.Task(script.size_name("adam", line), "sizes", ("adam", *sizes.GRID[line - 1]))


@pytest.fixture
def commands(monkeypatch):
    """A script whose contenders do not run, and what each would be told: its name and its cache folder."""
    script, told = load("benchmark"), []

    def printed_by(name, command, environment):
        cache = environment["K3TORCH_CACHE"]
        told.append((name, [str(word) for word in command[1:]], cache, os.path.isdir(cache) and os.listdir(cache)))  # noqa: PTH112, PTH208
        os.makedirs(cache, exist_ok=True)  # noqa: PTH103
        with open(os.path.join(cache, name), "w") as file:  # noqa: PTH118, PTH123
            file.write("compiled")
        return {"seconds": 1.0}

    monkeypatch.setattr(script, "printed_by", printed_by)
    return script, told


def test_the_cached_contender_finds_what_an_earlier_run_compiled(commands, tmp_path):
    script, told = commands
    for line in (1, 1, 2):
        script.measure(task(script, line), "k3torch-cached", "python", script.Settings(), tmp_path)
    words = [arguments[-6:] for _, arguments, _, _ in told]
    assert words == [[str(n) for n in sizes.GRID[line - 1]] for line in (1, 1, 1, 2, 2)]  # untimed: the first of each
    assert [content for _, _, _, content in told] == [
        False,
        ["k3torch-cached"],
        ["k3torch-cached"],
        False,
        ["k3torch-cached"],
    ]
    assert len({cache for _, _, cache, _ in told}) == 2


def test_the_cold_contender_finds_an_empty_cache_in_each_round(commands, tmp_path):
    script, told = commands
    for _ in range(2):
        script.measure(task(script), "k3torch-cold", "python", script.Settings(), tmp_path)
    assert [content for _, _, _, content in told] == [[], []]
    assert told[0][2] != told[1][2]


@pytest.mark.parametrize(
    ("device", "others"), [("cpu", {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}), ("cuda", {})]
)
def test_all_contenders_compute_on_the_chosen_device(monkeypatch, tmp_path, device, others):
    script, passed = load("benchmark"), []
    monkeypatch.setattr(script, "printed_by", lambda *a: passed.append(a[2]) or {"seconds": 1.0})
    for name in ("JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KERAS_TORCH_DEVICE", device)  # as runtime.configure does
    for name in ("jax", "keras-fit", "k3torch-cold"):
        script.measure(task(script), name, "python", script.Settings(), tmp_path)
    expected = {"KERAS_TORCH_DEVICE": device, **others}
    for environment in passed:
        names = ("KERAS_TORCH_DEVICE", "JAX_PLATFORMS", "CUDA_VISIBLE_DEVICES")
        assert {name: environment[name] for name in names if name in environment} == expected


def test_lines_and_optimizers_are_measured_once_each_in_their_order(tmp_path):
    script = load("benchmark")
    settings = script.Settings(jobs=("sizes",), lines=(3, 1, 3), optimizers=("sgd-momentum", "adam"))
    assert [(task.name, *task.arguments[:2]) for task in script.tasks_of(settings, tmp_path)] == [
        ("sizes, sgd-momentum, line 1", "sgd-momentum", 404),
        ("sizes, sgd-momentum, line 3", "sgd-momentum", 5000),
        ("sizes, adam, line 1", "adam", 404),
        ("sizes, adam, line 3", "adam", 5000),
    ]


def test_a_busy_machine_is_refused_in_one_line(call, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "getloadavg", lambda: (2.25, 0.0, 0.0), raising=False)
    code, _, err = call("benchmark.py", "--jobs", "sizes", "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("error: expected a load average of at most 1.5, got 2.2")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


REFUSED = [
    (["--source", "nowhere"], "found no file at nowhere"),
    (["--device", "mps"], "expected --device as one of"),
    (["--seed", -1], "expected --seed as a whole number"),
    (["--num-words", 99_999_999], "expected --num-words up to 1,000,000"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_a_refused_run_opens_no_folder(call, tmp_path, arguments, message):
    code, _, err = call(
        "benchmark.py", *arguments, "--out", tmp_path / "run", "--contenders", "torch-bag", "--allow-load"
    )
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_keeps_the_results_so_far(tmp_path, monkeypatch):
    script = load("benchmark")
    calls = []

    def measure(task, name, *_):
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {JOBS[task.job].time: 2.0}

    monkeypatch.setattr(script, "measure", measure)
    settings = script.Settings(
        jobs=("boston",), contenders=("torch",), allow_load=True, output=script.Output(tmp_path / "run")
    )
    with pytest.raises(KeyboardInterrupt):
        script.main(settings)
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found["status"] == "interrupted"
    assert found["boston"] == [{"stacked-4": {"microseconds": 2.0}, "torch": {"microseconds": 2.0}}, {}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--contenders", "torch-bags"], "got 'torch-bags', did you mean 'torch-bag'?"),
        (["--contenders", "torch-bag", "--jobs", "boston"], "expected contenders of boston, got torch-bag: set --jobs"),
        (["--jobs", "bostn"], "expected --jobs among reviews, boston, sizes, got 'bostn', did you mean 'boston'?"),
        (["--jobs"], "expected at least one job"),
        (["--rounds", 0], "expected --rounds as a whole number of 1 or more, got 0"),
        (["--jax-python", "/no/python"], "expected a Python interpreter for --jax-python, got /no/python"),
        (["--contenders", "jax"], "expected --jax-python for the contender jax, got none"),
        (["--contenders", "keras-jax", "--jax-python", "/bin/false"], "expected jax in the environment of"),
        (["--lines", 9], "expected --lines among 1, 2, 3, 4, 5, 6, 7, 8, got '9'"),
        (["--lines"], "expected a value for --lines, got none"),
        (["--optimizers", "adamw"], "expected --optimizers among adam, rmsprop, sgd-momentum, got 'adamw'"),
        (["--contenders", "keras-jax"], "expected --jax-python for the contender keras-jax, got none"),
    ],
)
def test_bad_input_is_one_line(call, arguments, message):
    code, _, err = call("benchmark.py", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
