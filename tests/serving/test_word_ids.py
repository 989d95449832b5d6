"""Models that take word ids have the outputs of the models that take bags and n-grams."""

from k3torch.data.hashed_ngrams import HashedNgrams
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngrams import Ngrams
from k3torch.data.review_features import WordFeatures
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.serving.plain_layers import plain_model
from k3torch.serving.word_ids import takes_word_ids
import keras
import numpy as np
import pytest

DRAW = np.random.default_rng(1)
REVIEWS = [np.append(1, DRAW.integers(2, 10, n)).astype("int32") for n in (1, 5, 12, 30, 30)]
PADDED = np.zeros((5, 33), "int32")
for row, review in zip(PADDED, REVIEWS, strict=True):
    row[: len(review)] = review


def network(features, units=(4,), **options):
    keras.utils.set_random_seed(3)
    model = plain_model(imdb_classifier(features.num_features, units=units, **options))
    return model if units else without_bias(model)


def without_bias(model):
    inputs = keras.Input(model.input_shape[1:])
    layer = keras.layers.Dense(1, "sigmoid", use_bias=False)
    bare = keras.Model(inputs, layer(inputs))
    layer.set_weights(model.get_weights()[:1])
    return bare


def outputs(model, features, reviews):
    bags = features.transform(np.concatenate(reviews), np.cumsum([0, *map(len, reviews)]))
    return model.predict(bags.toarray(), verbose=0)


def same(model, features):
    by_ids = takes_word_ids(model, features)
    assert by_ids.input_shape == (None, None)
    np.testing.assert_allclose(by_ids.predict(PADDED, verbose=0), outputs(model, features, REVIEWS), atol=1e-6)
    np.testing.assert_allclose(
        by_ids.predict(PADDED[:1, :1], verbose=0), outputs(model, features, [REVIEWS[0][:1]]), atol=1e-6
    )
    return by_ids


@pytest.mark.parametrize("units", [(4,), (4, 3), ()])
def test_bags_of_words(units):
    same(network(WordFeatures(10), units), WordFeatures(10))


def test_dropout_and_other_layers_behind_the_first_stay():
    model = network(WordFeatures(10), (4, 3), dropout=0.5, activation="tanh")
    assert [type(layer).__name__ for layer in same(model, WordFeatures(10)).layers][-4:] == [
        "Dropout", "Dense", "Dropout", "Dense",
    ]  # fmt: skip


def test_weighted_ngrams(ngrams):
    assert [len(keys) for keys in ngrams.ngrams.keys] == [6, 36, 52]
    same(network(ngrams), ngrams)
    same(network(ngrams, ()), ngrams)


def test_ngrams_without_weights_and_orders_without_ngrams(ngrams):
    same(network(ngrams), NgramFeatures(ngrams.ngrams, None))
    first, second, _ = ngrams.ngrams.keys
    for keys in ((first,), (first, second, np.empty(0, np.int64)), (first[:1], np.zeros(1, np.int64))):
        fewer = NgramFeatures(Ngrams(keys), None)
        same(network(fewer), fewer)


def test_ids_that_the_model_does_not_know_are_unknown_words(ngrams):
    odd = np.array([[1, 5, 10, -7, 2**31 - 1, 6, 0, 0]], "int32")
    known = np.array([[1, 5, 2, 2, 2, 6]], "int32")
    for features in (WordFeatures(10), ngrams):
        model = takes_word_ids(network(features), features)
        np.testing.assert_array_equal(model.predict(odd, verbose=0), model.predict(known, verbose=0))


def test_only_padding_is_an_empty_review(ngrams):
    for features in (WordFeatures(10), ngrams):
        model = network(features)
        empty = model.predict(np.zeros((1, features.num_features), "float32"), verbose=0)
        by_ids = takes_word_ids(model, features)
        np.testing.assert_allclose(by_ids.predict(np.zeros((1, 4), "int32"), verbose=0), empty, atol=1e-7)


def test_keras_saves_and_loads_it(tmp_path, ngrams):
    model = takes_word_ids(network(ngrams), ngrams)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(PADDED, verbose=0), model.predict(PADDED, verbose=0))


def test_hashes_and_other_first_layers_are_refused():
    hashed = NgramFeatures(HashedNgrams(2, 6), None)
    with pytest.raises(InputError, match="expected words or n-grams of a vocabulary for word ids, got hashed n-grams"):
        takes_word_ids(network(hashed), hashed)
    scaled = keras.Sequential([keras.Input((10,)), keras.layers.Rescaling(2.0), keras.layers.Dense(1)])
    with pytest.raises(InputError, match="begins with a Dense layer for word ids, got Rescaling"):
        takes_word_ids(scaled, WordFeatures(10))
