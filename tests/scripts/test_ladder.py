"""ladder.py and benchmark.py on made-up reviews: the rungs agree, the tables are written, bad input is one line."""

import csv
import json
from pathlib import Path
import random
import subprocess
import sys

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts"


def run(script, *arguments):
    command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """200 reviews of 40 words; one word tells the label."""
    draw = random.Random(0)
    path = tmp_path_factory.mktemp("reviews") / "reviews.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for i in range(200):
            words = [*draw.choices([f"word{j}" for j in range(38)], k=8), "good" if i % 2 else "bad"]
            rows.writerow([" ".join(words), i % 2])
    return path


def test_the_rungs_reach_the_same_weights(table, tmp_path):
    out = tmp_path / "run"
    done = run("ladder.py", "--source", table, "--num-words", 45, "--epochs", 1, "--rungs", 2, 3, 4, 5, "--out", out)

    assert done.returncode == 0, done.stderr
    with (out / "ladder.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rung"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert all(float(row["weight difference"]) < 1e-5 for row in rows)
    assert len({round(float(row["validation accuracy"]), 4) for row in rows}) == 1
    assert (out / "ladder.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "metrics.json").read_text())["status"] == "complete"
    assert "  4  what happens to a batch" in done.stdout


def test_the_benchmark_writes_a_table_of_what_it_ran(table, tmp_path):
    out = tmp_path / "run"
    done = run("benchmark.py", "--source", table, "--num-words", 45, "--epochs", 1, "--rounds", 1,
               "--contenders", "torch-bag", "torch-dense", "--out", out)  # fmt: skip

    assert done.returncode == 0, done.stderr
    lines = (out / "benchmark.md").read_text().splitlines()
    ways = [line.split("|")[1].strip() for line in lines[4:]]
    assert ways == ["4 an overridden train_step", "PyTorch, dense", "PyTorch, EmbeddingBag"]
    assert "1.00 to 1.00" in lines[4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ladder.py", "--rungs", 7], "expected rungs from 1 to 6, got 7"),
        (["ladder.py", "--epochs", 0], "expected epochs of 1 or more, got 0"),
        (["benchmark.py", "--contenders", "torch-bags"], "did you mean 'torch-bag'?"),
        (["benchmark.py", "--jax-python", "/no/python"], "expected a Python interpreter for keras-jax"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    done = run(*arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
