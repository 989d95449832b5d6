"""ngrams_imdb.py on reviews whose label only the order of the words tells: results, files, bad input."""

import csv
import importlib.util
import json
from pathlib import Path

from k3torch.data.imdb import load_data
from k3torch.options import Machine
import numpy as np
import pytest
from tests.review_tables import with_order, write_reviews

spec = importlib.util.spec_from_file_location("ngrams_imdb", Path(__file__).parents[2] / "scripts/ngrams_imdb.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """200 reviews: "not good" is negative and "good not" is positive."""
    return write_reviews(tmp_path_factory.mktemp("reviews"), 200, with_order(30, 6))


@pytest.fixture(scope="module")
def done(run_script, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("ngrams") / "run"
    ran = run_script("ngrams_imdb.py", "--source", table, "--ngrams", 2, "--epochs", 4, "--batch-size", 32,
                     "--device", "cpu", "--out", out)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    return out, ran


def test_each_model_is_measured_on_each_kind_of_features(done):
    out, ran = done
    rows = list(csv.DictReader((out / "ngrams.csv").open()))
    found = [(row["n"], row["weighting"], row["model"]) for row in rows]
    models = ("sigmoid unit", "LogisticRegression", "LinearSVC")
    weightings = ("plain", "tf-idf", "naive-bayes")
    assert found == [("1", "plain", "16-16-1"), *((n, w, m) for n in "12" for w in weightings for m in models)]
    pairs = [row for row in rows if row["n"] == "2"]
    assert all(float(row["test_accuracy"]) == 1 for row in pairs if row["model"] != "sigmoid unit")
    assert all(float(row["test_accuracy"]) < 0.75 for row in rows if row["n"] == "1" and row["model"] != "16-16-1")
    assert {row["features"] for row in rows if row["n"] == "1"} == {"10000", "32"}
    assert all(float(row["seconds"]) > 0 and float(row["megabytes"]) > 0 for row in rows)
    assert json.loads((out / "metrics.json").read_text())["status"] == "complete"
    assert (out / "accuracy.png").read_bytes().startswith(b"\x89PNG")
    assert all(len(line) <= 80 or line.startswith("written to") for line in ran.stdout.splitlines())
    assert "pairs, naive-bayes" in ran.stdout
    assert ran.stderr == ""


def test_features_are_learned_from_training_samples_alone(table):
    data = load_data(table, 1000)
    settings = script.Settings(source=str(table), min_count=1, machine=Machine("cpu"))
    training, held_out = data.train.slice(60, 160), data.train.slice(0, 60)
    samples, features = script.samples(training, held_out, script.Job(2, "plain"), settings, "cpu")
    assert samples.training.bags.shape == (100, features.num_features)
    assert samples.held_out.bags.shape == (60, features.num_features)
    assert (np.asarray(samples.training.bags.sum(axis=0)) > 0).all()  # each n-gram occurs in a training sample
    assert (np.asarray(samples.held_out.bags.sum(axis=0)) == 0).any()


def test_the_best_c_is_that_of_the_validation_samples(table):
    data = load_data(table, 1000)
    settings = script.Settings(source=str(table), machine=Machine("cpu"))
    parts = [data.train.slice(60, 160), data.train.slice(0, 60)]
    selection, _ = script.samples(*parts, script.Job(1, "plain"), settings, "cpu")
    final, _ = script.samples(data.train, data.test, script.Job(1, "plain"), settings, "cpu")
    score = script.sklearn_score("LinearSVC", selection, final)
    accuracies = {c: script.accuracy(script.LinearSVC(C=c, random_state=0), selection) for c in (0.1, 1, 3)}
    assert score.validation_accuracy == max(accuracies.values())
    assert accuracies[float(score.chosen.split()[1])] == score.validation_accuracy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ngrams", 9], "expected n up to 8, got 9"),
        (["--min-count", 0, "--epochs", 0], "expected --min-count as a whole number of 1 or more, got 0; expected"),
        (["--source", "nowhere"], "found no file at nowhere"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(arguments, message, tmp_path, call):
    code, _, said = call("ngrams_imdb.py", *arguments, "--out", tmp_path / "run")
    assert (code, said.count("\n")) == (2, 1)
    assert message in said
    assert not (tmp_path / "run").exists()
