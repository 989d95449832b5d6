"""Runs that are killed at random moments and resumed, compared bit for bit with those that were not.

``pytest tests/test_killed_runs.py --kills 100 -rP`` kills as many runs, one to three times each, and prints how often,
and how often they went on from a checkpoint and not from the beginning.
"""

import csv
import io
import json
from pathlib import Path
import random
import re
import sys
import zipfile

import h5py
import numpy as np
import pytest
from tests.killed_runs import start
from tests.review_tables import write_reviews

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")

SEARCH = str(Path(__file__).with_name("search_script.py"))
RUNS = {  # the first four are those of the default tests
    "imdb with callbacks": [
        "train_imdb.py", "--epochs", 8, "--batch-size", 32, "--dropout", 0.3, "--early-stopping", 2,
        "--best-checkpoint", "--reduce-on-plateau", 1, "--optimizer", "adam",
    ],
    "boston by fit": ["kfold_boston.py", "--epochs", 3, "--folds", 2, "--batch-size", 8, "--engine", "fit"],
    "search by fit": [SEARCH, "--epochs", 3, "--optimizer", "nadam", "--early-stopping", 1],
    "digits with callbacks": [
        "train_digits.py", "--source", "wheel", "--epochs", 5, "--batch-size", 256, "--dropout", 0.2,
        "--best-checkpoint", "--schedule", "exponential", "--early-stopping", 3,
    ],
    "boston": ["kfold_boston.py", "--epochs", 40, "--folds", 3, "--batch-size", 8, "--dropout", 0.1],
    "search": [SEARCH],
    "search with halving": [SEARCH, "--halving", 2, "--early-stopping", 3],
    "nested search": [SEARCH, "--epochs", 4, "--outer", 2],
    "nested search with halving": [
        SEARCH, "--epochs", 9, "--outer", 2, "--halving", 2, "--early-stopping", 2, "--normalize", "fold"
    ],
    "search with an epoch": [SEARCH, "--epochs", 9, "--choose-epochs", "--normalize", "train", "--outer", 2],
    "search in processes": [SEARCH, "--n-jobs", 2, "--halving", 2, "--early-stopping", 2, "--normalize", "fold"],
    "search by fit in processes": [SEARCH, "--n-jobs", 2, "--epochs", 3, "--optimizer", "nadam", "--early-stopping", 1],
    "folds in processes": [SEARCH, "--only", "--n-jobs", 2, "--normalize", "fold", "--early-stopping", 3],
    "imdb": ["train_imdb.py", "--epochs", 8, "--batch-size", 32],
    "digits": ["train_digits.py", "--source", "wheel", "--epochs", 4, "--batch-size", 128, "--momentum", 0.5],
    "imdb by fit on arrays": ["train_imdb.py", "--epochs", 4, "--batch-size", 64, "--rung", 1, "--schedule", "step"],
    "variants": [
        "compare_overfitting.py", "--epochs", 6, "--batch-size", 32, "--variants", "original", "dropout", "l2"
    ],
    "imdb by a loop": ["train_imdb.py", "--epochs", 4, "--batch-size", 64, "--rung", 5],
}  # fmt: skip
LIMIT, TICK = 300, 0.01  # seconds
TIMES = {"seconds", "seconds_total", "seconds_per_epoch", "seconds_training", "peak_memory_mb", "peak_gpu_memory_mb"}


def pytest_generate_tests(metafunc):
    if "kill" in metafunc.fixturenames:
        metafunc.parametrize("kill", range(metafunc.config.getoption("--kills")))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """400 reviews in which two of ten words tell the label."""

    def words(draw, i):
        plain = [*draw.choices([f"word{j}" for j in range(80)], k=8), *draw.choices(["good", "bad", "so"], k=2)]
        return [*plain, "good" if i % 2 else "bad"]

    return write_reviews(tmp_path_factory.mktemp("reviews"), 400, words)


@pytest.fixture(scope="module")
def uninterrupted(table, tmp_path_factory):
    """A function that returns the folder of an uninterrupted run by name, its arguments and how long it took."""
    known = {}
    warm = start("train_imdb.py", ["--help"], tmp_path_factory.mktemp("help") / "log")  # loads the libraries once
    warm.join(LIMIT)

    def run(name):
        if name not in known:
            script, *arguments = RUNS[name]
            if script in ("train_imdb.py", "compare_overfitting.py"):
                arguments += ["--source", table]
            folder = tmp_path_factory.mktemp("whole")
            process = start(script, [*arguments, "--out", folder / "run"], folder / "log")
            seconds = waited(process, LIMIT)
            assert process.exitcode == 0, (folder / "log").read_text()
            known[name] = folder / "run", script, arguments, seconds
        return known[name]

    return run


def content(path):
    """Return what has to be the same in a file of two runs."""
    if path.suffix == ".json":
        found = json.loads(path.read_text())
        return {key: value for key, value in found.items() if key not in {*TIMES, "out", "force"}}
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            config = re.sub(rb'"shared_object_id": \d+', b"", archive.read("config.json"))  # an address in memory
            return config, tensors(io.BytesIO(archive.read("model.weights.h5")))
    if path.suffix == ".html":  # it has times, and settings of the call
        return re.findall(r'<polyline points="[^"]*|<img src="[^"]*', path.read_text())
    return tensors(path) if path.suffix == ".h5" else path.read_bytes()


def tensors(file):
    found = {}
    with h5py.File(file) as stored:
        stored.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return {name: (value.dtype, np.shape(value), value.tobytes()) for name, value in found.items()}


def status(folder):
    path = folder / "metrics.json"
    return json.loads(path.read_text())["status"] if path.exists() else None


def names(folder):
    """Return all files, without the draft of a run that was killed after it was complete, while it noted the end."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.name.startswith(".manifest-")
    )


def waited(process, seconds):
    """Wait for a process, at most so long, and return how long; while both are stopped no time passes."""
    ticks = 0
    while ticks < seconds / TICK and process.exitcode is None:
        process.join(TICK)
        ticks += 1
    return ticks * TICK


def test_a_killed_run_is_resumed_to_the_same_bits(kill, uninterrupted, tmp_path):
    draw = random.Random(kill)
    expected, script, arguments, seconds = uninterrupted(list(RUNS)[kill % len(RUNS)])
    log, folder = tmp_path / "log", tmp_path / "run"
    log.touch()
    killed = resumed = 0
    delays = [draw.uniform(0.3, 0.9) * seconds for _ in range(draw.randint(1, 3))]
    for delay in [*delays, LIMIT]:
        begun = (folder / "config.json").exists()
        options = ["--resume", folder] if begun else [*arguments, "--out", folder, "--force"]
        said = len(log.read_text())
        process = start(script, options, log, draw.choice(["auto", "epoch", "batch"]))
        waited(process, delay)
        resumed += "resuming from" in log.read_text()[said:]
        killed += process.is_alive()
        process.kill()
        process.join(LIMIT)
        if status(folder) == "complete":
            break
    print(f"{list(RUNS)[kill % len(RUNS)]}: killed {killed} times, resumed from a checkpoint {resumed} times")
    assert process.exitcode == 0 or delay < LIMIT, log.read_text()
    assert names(folder) == names(expected)
    for name in names(folder):
        assert content(folder / name) == content(expected / name), (name, log.read_text())
