"""ladder.py on synthetic reviews: the rungs agree, the table is written, bad input is one line."""

import csv
import json

import pytest


def test_the_rungs_reach_the_same_weights(run_script, review_table, tmp_path):
    out = tmp_path / "run"
    done = run_script("ladder.py", "--source", review_table, "--num-words", 45, "--epochs", 1,
                      "--rungs", 2, 3, 4, 5, "--out", out)  # fmt: skip

    assert done.returncode == 0, done.stderr
    with (out / "ladder.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rung"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert all(float(row["weight difference"]) < 1e-5 for row in rows)
    assert len({round(float(row["validation accuracy"]), 4) for row in rows}) == 1
    assert (out / "ladder.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "metrics.json").read_text())["status"] == "complete"
    assert "  4  what happens to a batch" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rungs", 7], "expected --rungs among 1, 2, 3, 4, 5, 6, got '7'"),
        (["--weights", "/no/such/folder/a.npz"], "expected --weights in a folder that exists"),
        (["--epochs", 0], "expected epochs as a whole number of 1 or more, got 0"),
    ],
)
def test_bad_input_is_one_line(run_script, arguments, message):
    done = run_script("ladder.py", *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
