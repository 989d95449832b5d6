"""ladder.py on synthetic reviews: the rungs agree, the table is written, bad input is one line."""

import csv
import importlib.util
import json

from k3torch import cli
from k3torch.errors import InputError
from k3torch.options import Machine, Output
import pytest

spec = importlib.util.spec_from_file_location("ladder", cli.SCRIPTS / "ladder.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


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
        (["--rung", 1, "--weights", "/no/such/folder/a.npz"], "expected --weights in a folder that exists"),
        (["--weights", "a.npz"], "expected --rung with --weights, got none"),
        (["--rung", 1, "--out", "folder"], "expected --rung without --rungs, --out and --force"),
        (["--rung", 1, "--rungs", 2], "expected --rung without --rungs, --out and --force"),
        (["--epochs", 0], "expected --epochs as a whole number of 1 or more, got 0"),
    ],
)
def test_bad_input_is_one_line(run_script, arguments, message):
    done = run_script("ladder.py", *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "choice",
    [{"source": "nowhere"}, {"machine": Machine("mps")}, {"machine": Machine(seed=-1)}, {"num_words": 99_999_999}],
)
def test_a_refused_run_leaves_the_earlier_one_alone(tmp_path, choice, review_table):
    settings = script.Settings(**{"source": str(review_table), "output": Output(tmp_path, force=True), **choice})
    with script.RunFolder("ladder", settings) as run:
        run.file("ladder.csv").write_text("measured")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match=r"expected|found no file"):
        script.main(settings)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_an_interrupted_run_keeps_the_complete_rungs(tmp_path, review_table, monkeypatch):
    sources = []

    def in_process(number, weights, settings):
        sources.append(settings.source)
        if number == 3:
            raise KeyboardInterrupt
        script.np.savez(weights, script.np.ones(3) * number)
        return {"seconds": float(number)}

    monkeypatch.setattr(script, "in_process", in_process)
    with pytest.raises(KeyboardInterrupt):
        script.main(script.Settings(source=str(review_table), num_words=45, output=Output(tmp_path / "run")))
    found = json.loads((tmp_path / "run/metrics.json").read_text())
    assert found["status"] == "interrupted"
    assert [(row["rung"], row["seconds"], row["weight difference"]) for row in found["rungs"]] == [(1, 1, 0), (2, 2, 1)]
    with (tmp_path / "run/ladder.csv").open() as file:
        assert [row["rung"] for row in csv.DictReader(file)] == ["1", "2"]
    assert sources == [str(review_table)] * 3
