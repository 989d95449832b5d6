"""Weighted n-grams of labelled reviews compared with their parts, one after another."""

from k3torch.data.feature_weights import NaiveBayesWeights, TfidfWeights, UnitRows
from k3torch.data.hashed_ngrams import HashedNgrams
from k3torch.data.imdb import Reviews
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngrams import Ngrams
from k3torch.errors import InputError
import numpy as np
import pytest

IDS = np.array([1, 4, 5, 6, 1, 5, 4, 7, 1, 4, 5, 4], np.int32)
REVIEWS = Reviews(IDS, np.array([0, 4, 8, 12]), np.array([1, 0, 1], np.float32))


@pytest.mark.parametrize(
    ("weighting", "learner"), [("naive-bayes", NaiveBayesWeights()), ("tf-idf", TfidfWeights()), ("plain", None)]
)
@pytest.mark.parametrize("bits", [None, 6])
def test_features_are_ngrams_then_weights_then_unit_rows(weighting, learner, bits):
    features = NgramFeatures.fit(REVIEWS, 2, 1, hash_bits=bits, weighting=weighting)
    ngrams = Ngrams.fit(IDS, REVIEWS.offsets, 2, min_count=1) if bits is None else HashedNgrams(2, bits)
    bags = ngrams.transform(IDS, REVIEWS.offsets)
    weighted = bags if learner is None else learner.fit(bags, REVIEWS.labels).transform(bags)
    found = features.transform(IDS, REVIEWS.offsets)
    np.testing.assert_array_equal(found.toarray(), UnitRows().transform(weighted).toarray())
    np.testing.assert_allclose(np.linalg.norm(found.toarray(), axis=1), 1, rtol=1e-6)
    assert features.num_features == ngrams.num_features
    assert features.num_words == (8 if bits is None else None)


def test_naive_bayes_triples_that_occur_twice_are_the_default():
    features = NgramFeatures.fit(REVIEWS)
    assert features.ngrams.n == 3
    assert features.ngrams.word_ids(range(features.num_features)) == [(4,), (5,), (4, 5), (5, 4)]
    bags = features.ngrams.transform(IDS, REVIEWS.offsets)
    np.testing.assert_array_equal(features.weights, NaiveBayesWeights().fit(bags, REVIEWS.labels).weights_)
    assert NgramFeatures.fit(REVIEWS, max_features=1).num_words == 5


def test_a_review_without_known_ngrams_has_an_empty_row():
    assert NgramFeatures.fit(REVIEWS).transform([1, 9], [0, 2]).nnz == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0, "min_count": 0}, "n as a whole number of 1 or more, got 0; expected min_count as"),
        ({"max_features": 5, "hash_bits": 8}, "max_features or hash_bits, got both"),
        ({"hash_bits": 3}, "hash_bits as a whole number of 4 or more, got 3"),
        ({"max_features": 0}, "max_features as a whole number of 1 or more, got 0"),
        ({"weighting": "tfidf"}, "weighting as one of .*, got 'tfidf', did you mean 'tf-idf'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        NgramFeatures.fit(REVIEWS, **arguments)
