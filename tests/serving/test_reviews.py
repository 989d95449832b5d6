"""Predictions of texts, and what each word contributed. scripts/test_predict_reviews.py has the rest."""

from k3torch.errors import InputError
from k3torch.serving.reviews import Classifier
import numpy as np
import pytest


def test_predictions_are_those_of_the_model(review_run):
    found = Classifier(review_run).predict(["Great, great film", "?!", "dull. unknown"])
    assert [(one.number, one.label, one.known_words, one.words) for one in found] == [
        (1, "positive", 3, 3),
        (3, "negative", 1, 2),
    ]
    np.testing.assert_allclose([one.probability for one in found], 1 / (1 + np.exp(-2)), rtol=1e-6)
    assert Classifier(review_run).predict(["", "?"]) == []


def test_a_contribution_is_the_change_of_the_log_odds(review_run):
    classifier = Classifier(review_run)
    found = classifier.contributions("great film, great and not dull at all")
    assert [one.word for one in found] == ["great", "dull"]
    np.testing.assert_allclose([one.log_odds for one in found], [2, -2], rtol=1e-5)
    assert classifier.contributions("great film, not dull", top=1)[0].word == "great"
    assert classifier.contributions("xyz film") == classifier.contributions("...") == []


def test_a_word_contributes_by_all_ngrams_that_it_is_in(ngram_run):
    classifier = Classifier(ngram_run)
    text = "great dull film"
    found = {one.word: one.log_odds for one in classifier.contributions(text)}
    assert set(found) == {"great", "dull", "film"}
    whole, without = classifier.probabilities([np.array([1, 4, 5, 6]), np.array([1, 4, 2, 6])])
    expected = np.log(whole / (1 - whole)) - np.log(without / (1 - without))
    np.testing.assert_allclose(found["dull"], expected, rtol=1e-5)


def test_log_odds_stay_finite(review_run):
    classifier = Classifier(review_run)
    classifier.model.set_weights([classifier.model.get_weights()[0] * 1000, np.zeros(1)])
    (first,) = classifier.contributions("great")
    assert 10 < first.log_odds < 20


def test_a_folder_without_a_vocabulary_is_refused(tmp_path):
    with pytest.raises(InputError, match="expected a vocabulary in"):
        Classifier(tmp_path)
