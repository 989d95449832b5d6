"""How reviews become samples: chosen by options, saved beside a model, loaded again."""

from k3torch.data.bags import bag_of_words
from k3torch.data.imdb import Imdb, Reviews
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.review_features import WordFeatures, check_ngrams, learn_features, load_features, save_features
from k3torch.data.text import Vocabulary
from k3torch.errors import InputError
from k3torch.options import Ngrams
import numpy as np
import pytest

IDS = np.array([1, 4, 5, 6, 1, 5, 4, 7, 1, 4, 5, 4], np.int32)
REVIEWS = Reviews(IDS, np.array([0, 4, 8, 12]), np.array([1, 0, 1], np.float32))
DATA = Imdb(REVIEWS, REVIEWS, Vocabulary(("good", "film", "the", "rare")), "source", "reason", ("bad", "fine"))


def test_without_ngrams_samples_are_bags_of_words():
    features = learn_features(REVIEWS, 8, Ngrams())
    assert features == WordFeatures(8)
    assert features.num_features == features.num_words == 8
    bags = features.transform(IDS, REVIEWS.offsets)
    assert (bags != bag_of_words(IDS, REVIEWS.offsets, 8)).nnz == 0


def test_options_are_those_of_the_ngrams():
    options = Ngrams(2, min_count=1, max_features=5, weighting="plain")
    features = learn_features(REVIEWS, 8, options)
    expected = NgramFeatures.fit(REVIEWS, 2, min_count=1, max_features=5, weighting="plain")
    assert features.weights is None
    assert [k.tolist() for k in features.ngrams.keys] == [k.tolist() for k in expected.ngrams.keys]
    assert learn_features(REVIEWS, 8, Ngrams(2, hash_bits=6)).num_features == 64


@pytest.mark.parametrize("options", [Ngrams(), Ngrams(2), Ngrams(1, hash_bits=6), Ngrams(3, weighting="tf-idf")])
def test_what_is_saved_is_loaded_with_the_words_that_matter(tmp_path, options):
    features = learn_features(REVIEWS, 6, options)
    save_features(features, DATA, lambda name: tmp_path / name)
    loaded, vocabulary, labels = load_features(tmp_path)
    assert labels == ("bad", "fine")
    assert vocabulary.words == (DATA.vocabulary.words if options.hash_bits else ("good", "film"))
    assert loaded.num_features == features.num_features
    found, expected = (f.transform([1, 4, 5], [0, 3]).toarray() for f in (loaded, features))
    np.testing.assert_array_equal(found, expected)


def test_reviews_without_a_vocabulary_are_not_saved(tmp_path):
    data = Imdb(REVIEWS, REVIEWS, None, "source", "reason")
    save_features(learn_features(REVIEWS, 8, Ngrams(2)), data, lambda name: tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Ngrams(0), "n as a whole number of 1 or more, got 0"),
        (Ngrams(2, min_count=0, hash_bits=2), "min_count as .* got 0; expected hash_bits as .* got 2"),
        (Ngrams(min_count=3), "--ngrams with min_count, got none"),
        (Ngrams(max_features=3, weighting="plain"), "--ngrams with max_features and weighting, got none"),
    ],
)
def test_options_that_no_run_could_use_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        check_ngrams(options)


def test_other_options_pass():
    check_ngrams(Ngrams())
    check_ngrams(Ngrams(8, min_count=9, max_features=7, weighting="plain"))
