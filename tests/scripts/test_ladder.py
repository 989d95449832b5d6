"""ladder.py on synthetic reviews: the rungs agree, the table is written, bad input is one line."""

import csv
import importlib.util
import json
import re
import time

from k3torch import cli
from k3torch.errors import InputError
from k3torch.options import Machine, Output
import pytest

spec = importlib.util.spec_from_file_location("ladder", cli.SCRIPTS / "ladder.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.mark.slow
@pytest.mark.parametrize("rungs", [(1, 4), (1, 2, 3, 4, 5, 7)])
def test_the_rungs_reach_the_same_weights(run_script, review_table, tmp_path, rungs):
    out = tmp_path / "run"
    done = run_script("ladder.py", "--source", review_table, "--num-words", 45, "--epochs", 1,
                      "--rungs", *rungs[1:], "--out", out)  # fmt: skip

    assert done.returncode == 0, done.stderr
    with (out / "ladder.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["rung"] for row in rows] == list(map(str, rungs))
    assert all(float(row["weight difference"]) < 1e-5 for row in rows)
    assert len({round(float(row["validation accuracy"]), 4) for row in rows}) == 1
    assert (out / "ladder.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((out / "metrics.json").read_text())["status"] == "complete"
    threads = {row["rung"]: int(row["threads"]) for row in rows}
    assert threads == dict.fromkeys(threads, 1) | {rung: threads["1"] for rung in ("1", "2") if rung in threads}
    assert "  4  what happens to a batch" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rungs", 8], "expected --rungs among 1, 2, 3, 4, 5, 6, 7, got '8'"),
        (["--rung", 1, "--weights", "/no/such/folder/a.npz"], "expected --weights in a folder that exists"),
        (["--weights", "a.npz"], "expected --rung with --weights, got none"),
        (["--rung", 1, "--out", "folder"], "expected --rung without --rungs, --out, --force and --format"),
        (["--rung", 1, "--format", "svg"], "expected --rung without --rungs, --out, --force and --format"),
        (["--format", "gif"], "expected --format among png, svg, pdf, got 'gif'"),
        (["--rung", 1, "--rungs", 2], "expected --rung without --rungs, --out, --force and --format"),
        (["--epochs", 0], "expected --epochs as a whole number of 1 or more, got 0"),
    ],
)
def test_bad_input_is_one_line(call, arguments, message):
    code, _, err = call("ladder.py", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1


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

    def in_process(number, weights, settings, advance):
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


ROW = {
    "rung": 3, "name": script.rungs.NAMES[3], "lets you change": "", "lines": 1, "seconds": 12.3456, "threads": 64,
    "peak memory MB": 2046.4, "validation accuracy": 0.88, "weight difference": 6e-8,
}  # fmt: skip


def test_the_table_fits_in_80_columns_and_has_the_columns_of_the_docs(tmp_path, capsys):
    script.show([ROW], script.RunFolder("ladder", script.Settings(output=Output(tmp_path))))
    said = capsys.readouterr().out
    assert all(len(line) <= 80 or line.startswith("written to") for line in said.splitlines())
    header, values = (next(line for line in said.splitlines() if word in line) for word in ("MB   ", "2046"))
    assert values.split() == ["3", *script.rungs.NAMES[3].split(), "12.346", "1.0", "64", "2046", "6e-08"]
    docs = (cli.SCRIPTS.parent / "docs/ladder.md").read_text()
    assert re.findall(r"^\| `([^`]+)` \|", docs, re.MULTILINE) == header.split()[1:]


@pytest.mark.parametrize("number", script.RUNGS)
def test_the_docs_use_the_words_of_the_command(number):
    docs = (cli.SCRIPTS.parent / "docs/ladder.md").read_text()
    row = next(line for line in docs.splitlines() if line.startswith(f"| {number} "))
    _, name, _, changes, _, _ = row.split("|")
    assert name.strip() == f"{number} {script.rungs.NAMES[number]}"
    assert changes.strip().startswith(script.RUNGS[number][0])


def test_bars_say_which_rung_runs_and_advance_by_its_epochs(tmp_path, monkeypatch):
    bars = []

    class Bar:
        def __init__(self, title, epochs):
            bars.append([title, epochs, 0])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def advance(self, metrics):
            bars[-1][2] += 1

    def in_process(number, weights, settings, advance):
        for _ in range(3):
            advance()
        script.np.savez(weights, script.np.ones(3))
        return {"seconds": 1.0}

    monkeypatch.setattr(script, "EpochBar", Bar)
    monkeypatch.setattr(script, "in_process", in_process)
    script.compare([1, 4], script.Settings(epochs=2), [])
    assert bars == [["1 of 2: fit on arrays", 3, 3], ["2 of 2: an overridden train_step", 3, 3]]


def fake_rung(tmp_path, monkeypatch, code):
    """Replace the script that runs a rung."""
    path = tmp_path / "rung.py"
    path.write_text(code)
    monkeypatch.setattr(script, "__file__", str(path))


def test_each_epoch_of_the_process_is_counted_when_it_ends(tmp_path, monkeypatch):
    code = (
        "import sys, json\nfor n in (1, 2): print(f'epoch {n}', file=sys.stderr)\nprint('loaded')\nprint('{\"a\": 1}')"
    )
    fake_rung(tmp_path, monkeypatch, code)
    counted = []
    assert script.in_process(1, tmp_path / "a.npz", script.Settings(), lambda: counted.append(1)) == {"a": 1}
    assert counted == [1, 1]


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import sys; print('error: no reviews', file=sys.stderr); sys.exit(2)", InputError, "^no reviews$"),
        ("import sys; print('epoch 1', file=sys.stderr); sys.exit('broken')", RuntimeError, "^rung 1 failed:\nbroken"),
    ],
)
def test_what_the_process_says_when_it_fails_is_reported(tmp_path, monkeypatch, code, error, message):
    fake_rung(tmp_path, monkeypatch, code)
    with pytest.raises(error, match=message):
        script.in_process(1, tmp_path / "a.npz", script.Settings(), lambda: None)


def test_an_interrupt_ends_the_process(tmp_path, monkeypatch):
    code = "import sys, time\nprint('epoch 1', file=sys.stderr, flush=True)\ntime.sleep(60)"
    fake_rung(tmp_path, monkeypatch, code)
    started = time.monotonic()

    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        script.in_process(1, tmp_path / "a.npz", script.Settings(), interrupt)
    assert time.monotonic() - started < 30
