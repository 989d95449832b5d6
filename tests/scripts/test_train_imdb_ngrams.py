"""train_imdb.py --ngrams on synthetic reviews whose label only the order of the words tells, and predict_reviews.py."""

import csv
import json

from k3torch.data.ngram_files import load_ngrams
import keras
import numpy as np
import pytest
from tests.review_tables import with_order, write_reviews

FIT = ["--epochs", 10, "--batch-size", 32, "--device", "cpu"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """300 reviews: "not good" is negative and "good not" is positive, so that no single word tells the label."""
    return write_reviews(tmp_path_factory.mktemp("reviews"), 300, with_order(40, 8))


@pytest.fixture(scope="module")
def trained(run_script, table, tmp_path_factory):
    out = tmp_path_factory.mktemp("imdb") / "run"
    done = run_script("train_imdb.py", "--source", table, "--ngrams", 2, "--min-count", 1, *FIT, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "metrics.json").read_text()), done


def test_pairs_tell_what_words_do_not(trained, table, tmp_path, call):
    _, metrics, done = trained
    assert metrics["test_accuracy"] == 1
    assert metrics["status"] == "complete"
    assert metrics["learning_rate"] in (0.03, 0.1, 0.3)
    assert done.stderr == ""
    assert all(len(line) <= 80 or line.startswith("written to") for line in done.stdout.splitlines())
    assert call("train_imdb.py", "--source", table, "--ngrams", 1, *FIT, "--out", tmp_path / "words")[0] == 0
    assert json.loads((tmp_path / "words/metrics.json").read_text())["test_accuracy"] < 0.8


def test_the_surest_pairs_are_listed_and_plotted(trained):
    out, _, done = trained
    table = done.stdout.split("Surest n-grams of each label")[1].split("Test reviews")[0]
    first = next(line for line in table.splitlines() if "good" in line)
    assert first.split()[:2] == ["good", "not"]
    assert first.split()[3:5] == ["not", "good"]
    rows = list(csv.DictReader((out / "ngrams.csv").open()))
    weights = {row["ngram"]: float(row["weight"]) for row in rows}
    assert max(weights, key=weights.get) == "good not"
    assert min(weights, key=weights.get) == "not good"
    assert (out / "ngrams.png").read_bytes().startswith(b"\x89PNG")
    assert set(json.loads((out / "manifest.json").read_text())["files"]) >= {"ngrams.png", "ngrams.csv", "ngrams.npz"}


def test_the_model_is_one_unit_whose_rate_was_chosen(trained):
    out, metrics, done = trained
    model = keras.saving.load_model(out / "model.keras")
    features = load_ngrams(out / "ngrams.npz")
    assert model.count_params() == features.num_features + 1
    assert isinstance(model.optimizer, keras.optimizers.Adam)
    assert float(model.optimizer.learning_rate) == pytest.approx(metrics["learning_rate"])
    said = " ".join(done.stdout.split())
    assert (
        "this run has --ngrams 2 instead of bags of words, --units none instead of 16 16, --optimizer adam "
        "instead of rmsprop, --learning-rate"
    ) in said


def test_weights_are_learned_from_all_training_samples_and_from_no_test_sample(trained):
    features = load_ngrams(trained[0] / "ngrams.npz")
    assert features.ngrams.n == 2
    # 120 positive and 120 negative training samples have a pair each; the 60 test samples would make it 150.
    words = json.loads((trained[0] / "vocabulary.json").read_text())["words"]
    ids = {word: i for i, word in enumerate(words, 4)}
    column = features.ngrams.word_ids(range(features.num_features)).index((ids["good"], ids["not"]))
    other = features.ngrams.word_ids(range(features.num_features)).index((ids["not"], ids["good"]))
    ratio = np.exp(features.weights[column] - features.weights[other])
    assert ratio == pytest.approx(121**2, rel=1e-3)


def test_the_model_predicts_new_texts(trained, call):
    code, said, _ = call("predict_reviews.py", trained[0], "it is good not new", "not good", "unknown")
    assert code == 0
    lines = said.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["positive", "negative"]
    assert "2 of 5 words known" in lines[0]
    assert "0 of 1 words known" in lines[2]
    assert all(float(line.split()[1]) > 0.6 for line in lines[:2])


def test_hashed_ngrams_are_saved_and_predict_too(table, tmp_path, call):
    options = ["--ngrams", 2, "--hash-bits", 12, "--weighting", "tf-idf", "--learning-rate", 0.3]
    code, said, _ = call("train_imdb.py", "--source", table, *options, *FIT, "--out", tmp_path / "run")
    assert code == 0
    assert "Surest" not in said  # hashes have no words
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["test_accuracy"] > 0.9
    assert "learning_rate" not in metrics  # it was given
    assert call("predict_reviews.py", tmp_path / "run", "word1 not good word2")[1].startswith("negative")


def test_a_network_of_the_options_is_trained_with_its_own_rate(table, tmp_path, call):
    options = ["--ngrams", 2, "--units", 8, "--optimizer", "rmsprop", "--learning-rate", 0.01]
    code, said, _ = call("train_imdb.py", "--source", table, *options, *FIT, "--out", tmp_path / "run")
    assert code == 0
    assert "Surest" not in said  # a hidden layer has no weight for a label
    model = keras.saving.load_model(tmp_path / "run/model.keras")
    assert [layer.units for layer in model.layers[1:]] == [8, 1]
    assert isinstance(model.optimizer, keras.optimizers.RMSprop)


def test_a_model_without_its_ngrams_is_refused(trained, tmp_path, call):
    for name in ("model.keras", "vocabulary.json"):
        (tmp_path / name).write_bytes((trained[0] / name).read_bytes())
    code, _, said = call("predict_reviews.py", tmp_path, "good")
    assert code == 2
    assert said.count("\n") == 1
    assert "expected a model with inputs of shape" in said
    (tmp_path / "ngrams.npz").write_bytes(b"damaged")
    code, _, said = call("predict_reviews.py", tmp_path, "good")
    assert (code, said.count("\n")) == (2, 1)
    assert f"expected n-grams in {tmp_path / 'ngrams.npz'}" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ngrams", 0], "expected n as a whole number of 1 or more, got 0"),
        (["--ngrams", 2, "--rung", 1], "expected a rung of 3 or more for n-grams, got 1, which takes dense arrays"),
        (["--ngrams", 2, "--hash-bits", 9, "--max-features", 9], "expected --max-features or --hash-bits, got both"),
        (["--min-count", 3], "expected --ngrams with --min-count, got none"),
        (["--ngrams", 2, "--weighting", "tfidf"], "expected --weighting among naive-bayes, tf-idf, plain, got 'tfidf'"),
        (["--ngrams", 2, "--min-count", 10**6], "expected words that occur 1000000 times or more, got none"),
    ],
)
def test_bad_options_are_one_line_and_leave_nothing(arguments, message, table, tmp_path, call):
    code, _, said = call("train_imdb.py", "--source", table, *arguments, "--out", tmp_path / "run")
    assert code == 2
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()
