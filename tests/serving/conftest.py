"""Run folders with small models whose outputs are known or easily computed."""

import json

from k3torch.data.column import Column
from k3torch.data.columns import Columns
from k3torch.data.imdb import Reviews
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngram_files import save_ngrams
from k3torch.data.scaling import Standardizer
from k3torch.data.text import Vocabulary
from k3torch.models.builders import imdb_classifier, table_network
from k3torch.training.fast_model import FastModel
from k3torch.training.scaling_layers import with_scaling_layers
import keras
import numpy as np
import pytest

WORDS = ("great", "dull", "film", "not", "at", "all")


@pytest.fixture(scope="session")
def review_run(tmp_path_factory):
    """The word "great" adds 2 to the log-odds of "positive", "dull" -2, and nothing else anything."""
    folder = tmp_path_factory.mktemp("reviews")
    Vocabulary(WORDS).save(folder / "vocabulary.json", 10, ("negative", "positive"))
    model = imdb_classifier(10, units=(), model_class=FastModel)
    model.set_weights([np.array([[0.0, 0, 0, 0, 2, -2, 0, 0, 0, 0]]).T, np.zeros(1)])
    model.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def ngrams():
    """Weighted words, pairs and triples of 40 random reviews, the pair (4, 5) in half of them."""
    draw = np.random.default_rng(0)
    reviews = [np.append(1, draw.integers(2, 10, 12)) for _ in range(40)]
    for review in reviews[::2]:
        review[3:5] = 4, 5
    labels = np.arange(40) % 2
    offsets = np.cumsum([0, *map(len, reviews)])
    data = Reviews(np.concatenate(reviews).astype(np.int32), offsets, labels.astype(np.float32))
    return NgramFeatures.fit(data, 3)


@pytest.fixture(scope="session")
def ngram_run(tmp_path_factory, ngrams):
    """A single unit on n-grams, with random weights."""
    folder = tmp_path_factory.mktemp("ngrams")
    Vocabulary(WORDS).save(folder / "vocabulary.json", 10, ("no", "yes"))
    save_ngrams(folder / "ngrams.npz", ngrams)
    keras.utils.set_random_seed(0)
    imdb_classifier(ngrams.num_features, units=(), model_class=FastModel).save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def table_run(tmp_path_factory):
    """The model computes ``10 size + 5`` for Ulm and ``10 size`` for Bonn, with a scaling of the size in it."""
    folder = tmp_path_factory.mktemp("table")
    columns = (Column("size", "number"), Column("town", "text", ("Bonn", "Ulm")))
    Columns("price", "regression", (), columns).save(folder / "columns.json")
    model = table_network(3, units=())
    model.set_weights([np.array([[20.0], [0.0], [5.0]]), np.array([30.0])])
    scale = Standardizer(np.array([3.0, 0, 0], "float32"), np.array([2.0, 1, 1], "float32"))
    with_scaling_layers(model, features=scale).save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def class_run(tmp_path_factory):
    """The probability of "dear" is the sigmoid of the size."""
    folder = tmp_path_factory.mktemp("classes")
    Columns("kind", "classification", ("cheap", "dear"), (Column("size", "number"),), target_kind="text").save(
        folder / "columns.json"
    )
    model = table_network(1, 2, units=())
    model.set_weights([np.array([[1.0]]), np.zeros(1)])
    model.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A model of 784 pixels, not trained."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "config.json").write_text(json.dumps({"name": "digits"}))
    keras.utils.set_random_seed(0)
    table_network(784, 10, units=(4,)).save(folder / "model.keras")
    return folder
