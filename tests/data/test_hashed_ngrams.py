"""Hashed n-grams: which are hashed, and how evenly."""

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data.hashed_ngrams import HashedNgrams
from k3torch.errors import InputError
import numpy as np
import pytest

PINNED = (7238627, 15321753)  # columns of the word 4 and of the pair 4 5, of 2**24
some_reviews = st.lists(st.lists(st.integers(0, 8), max_size=9), min_size=1, max_size=8)


def flat(reviews):
    return np.array([word for review in reviews for word in review], int), np.cumsum([0, *map(len, reviews)])


def grams(review, n):
    found = [tuple(review[i : i + k]) for k in range(1, n + 1) for i in range(len(review) - k + 1)]
    return [gram for gram in found if min(gram) >= 4]


@settings(max_examples=50, deadline=None)
@given(some_reviews, st.integers(1, 4))
def test_each_ngram_has_a_column_of_its_own_if_there_are_many(reviews, n):
    bags = HashedNgrams(n, 24).transform(*flat(reviews), counts=True)
    assert bags.shape == (len(reviews), 2**24)
    assert bags.sum(axis=1).ravel().tolist() == [[len(grams(review, n)) for review in reviews]]
    assert np.diff(bags.indptr).tolist() == [len(set(grams(review, n))) for review in reviews]


def test_the_column_of_an_ngram_depends_on_its_words_and_their_order_alone():
    hashed = HashedNgrams(3, 24)

    def columns(*review):
        return set(hashed.transform(review, [0, len(review)]).indices.tolist())

    assert columns(4, 5, 6) & columns(9, 4, 5) == columns(4, 5)
    assert columns(4, 5) & columns(5, 4) == columns(4) | columns(5)
    assert columns(4, 5, 1, 6, 7) == columns(4, 5) | columns(6, 7)
    assert len(columns(4, 4, 4)) == 3
    # They are the same in later versions: saved models depend on them.
    assert sorted(columns(4, 5)) == sorted(HashedNgrams(2, 24).transform([1, 4, 5], [0, 3]).indices.tolist())
    assert hashed.transform([4], [0, 1]).indices.tolist() == [PINNED[0]]
    assert columns(4, 5) - columns(4) - columns(5) == {PINNED[1]}


def test_columns_are_used_evenly():
    ids = np.arange(4, 4 + 2**14)
    bags = HashedNgrams(1, 10).transform(ids, [0, len(ids)], counts=True)
    assert bags.shape == (1, 1024)
    assert bags.nnz == 1024
    assert 4 < bags.data.min() < bags.data.max() < 32  # 16 on average, standard deviation 4


def test_ngrams_with_the_same_column_count_once():
    bags = HashedNgrams(2, 4).transform(np.arange(4, 200), [0, 196])
    assert bags.toarray().tolist() == [[1.0] * 16]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 3), "n as a whole number of 1 or more, got 0; expected bits as a whole number of 4 or more, got 3"),
        ((9, 25), "n up to 8, got 9; expected bits up to 24, got 25"),
        ((2, 10.0), "bits as a whole number of 4 or more, got 10.0"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        HashedNgrams(*arguments)


def test_reviews_are_checked():
    with pytest.raises(InputError, match="offsets that do not decrease"):
        HashedNgrams(2, 10).transform([4, 5], [0, 1])
    assert HashedNgrams(2, 10).transform([], [0, 0]).nnz == 0
