"""benchmark.py: its tables have a row per contender that ran; bad input is one line."""

import importlib.util
import json

from k3torch import cli
import pytest


def load(name):
    spec = importlib.util.spec_from_file_location(name, cli.SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_a_table_per_job_with_a_row_for_each_contender(run_script, review_table, tmp_path):
    out = tmp_path / "run"
    done = run_script("benchmark.py", "--source", review_table, "--num-words", 45, "--epochs", 1, "--rounds", 1,
                      "--contenders", "torch-bag", "torch", "--out", out)  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 80 or line.startswith("written to") for line in done.stdout.splitlines())
    assert done.stdout.index("written to") < done.stdout.index("EmbeddingBag") < done.stdout.index("4 models")
    machine, *tables = (out / "benchmark.md").read_text().rstrip().split("\n\n")
    assert "cores" in machine
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


REFUSED = [
    (["--source", "nowhere"], "found no file at nowhere"),
    (["--device", "mps"], "expected --device as one of"),
    (["--seed", -1], "expected --seed as a whole number"),
    (["--num-words", 99_999_999], "expected --num-words up to 1,000,000"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_a_refused_run_opens_no_folder(call, tmp_path, arguments, message):
    code, _, err = call("benchmark.py", *arguments, "--out", tmp_path / "run", "--contenders", "torch-bag")
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_keeps_the_results_so_far(tmp_path, monkeypatch):
    script = load("benchmark")
    calls = []

    def measure(job, name, *_):
        calls.append(name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {job.time: 2.0}

    monkeypatch.setattr(script, "measure", measure)
    settings = script.Settings(jobs=("boston",), contenders=("torch",), output=script.Output(tmp_path / "run"))
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
        (["--jobs", "bostn"], "expected --jobs among reviews, boston, got 'bostn', did you mean 'boston'?"),
        (["--jobs"], "expected at least one job"),
        (["--rounds", 0], "expected --rounds as a whole number of 1 or more, got 0"),
        (["--jax-python", "/no/python"], "expected a Python interpreter for --jax-python, got /no/python"),
        (["--contenders", "keras-jax"], "expected --jax-python for the contender keras-jax, got none"),
    ],
)
def test_bad_input_is_one_line(call, arguments, message):
    code, _, err = call("benchmark.py", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
