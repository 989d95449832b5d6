"""benchmark_vocabulary.py on small vocabularies: its tables and files, and bad input."""

import importlib.util
import json
import re

from k3torch import InputError, cli
import numpy as np
import pytest
from tests.review_tables import with_order, write_reviews

spec = importlib.util.spec_from_file_location("benchmark_vocabulary", cli.SCRIPTS / "benchmark_vocabulary.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.mark.slow
def test_trainings_and_ngrams_are_measured(run_script, tmp_path):
    table = write_reviews(tmp_path, 60, with_order(30, 6))
    options = ["--words", 300, "--frequencies", "zipf", "--optimizers", "sgd", "--epochs", 2, "--ngrams", 3]
    ran = run_script("benchmark_vocabulary.py", *options, "--source", table, "--allow-load", "--out", tmp_path / "run")
    assert ran.returncode == 0, ran.stderr
    (row,) = json.loads((tmp_path / "run" / "metrics.json").read_text())["trainings"]
    assert (row["words"], row["frequencies"], row["optimizer"]) == (300, "zipf", "sgd")
    assert row["first"] > 0
    assert row["memory"] > 100
    pairs, triples = json.loads((tmp_path / "run" / "metrics.json").read_text())["ngrams"]
    assert (pairs["n"], triples["n"]) == (2, 3)
    assert pairs["features"] < triples["features"]
    text = (tmp_path / "run" / "benchmark.md").read_text()
    assert "| 300 | zipf | sgd |" in text
    assert "## n-grams" in text


def test_ratios_are_to_the_smallest_vocabulary_of_their_kind():
    cases = [script.Case(words, f, "sgd") for f in ("zipf", "equal") for words in (1_000, 10)]
    found = [script.Found(1.0, epoch, 5e2) for epoch in (6.0, 2.0, 12.0, 3.0)]
    assert [row["ratio"] for row in script.training_rows(cases, found)] == ["3.00", "1.00", "4.00", "1.00"]


@pytest.mark.parametrize("frequencies", ["zipf", "equal"])
def test_bags_have_as_many_words(frequencies):
    bags = script.random_bags(script.Case(5_000, frequencies, "sgd"))
    assert bags.shape == (15_000, 5_000)
    assert bags.nnz == 15_000 * 212
    counts = np.bincount(bags.indices, minlength=5_000)
    assert (counts[0] > 20 * counts[100]) is np.bool_(frequencies == "zipf")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"words": (3,), "epochs": 1}, "--words from 212 to 2147483647, got 3; expected --epochs of 2 or more, got 1"),
        ({"words": ()}, "--words or --ngrams, got neither"),
        ({"ngrams": -1}, "n as a whole number of 1 or more, got -1"),
        ({"optimizers": ()}, "a value for --optimizers, got none"),
    ],
)
def test_bad_input_is_refused(settings, message):
    with pytest.raises(InputError, match=f"^expected {re.escape(message)}$"):
        script.check(script.Settings(**settings))
