"""n-grams compared with those that plain Python counts, review by review."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data import ngrams, pair_sort
from k3torch.data.ngrams import Ngrams
from k3torch.errors import InputError
import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer

# Ids below 4 are no words: they separate n-grams, as the end of a review does.
some_reviews = st.lists(st.lists(st.integers(0, 8), max_size=9), min_size=1, max_size=8)


def flat(reviews):
    """The word ids of all reviews and their offsets."""
    return np.array([word for review in reviews for word in review], int), np.cumsum([0, *map(len, reviews)])


def grams(review, n):
    """All n-grams of a review of 1 to ``n`` words, one by one."""
    found = [tuple(review[i : i + k]) for k in range(1, n + 1) for i in range(len(review) - k + 1)]
    return [gram for gram in found if min(gram) >= 4]


def counted(reviews, n, min_count):
    counts = Counter(gram for review in reviews for gram in grams(review, n))
    return {gram: count for gram, count in counts.items() if count >= min_count}


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "CHUNK", 3)
        yield


@settings(max_examples=150, deadline=None)
@given(some_reviews, st.integers(1, 4), st.integers(1, 3))
def test_the_vocabulary_is_all_ngrams_that_are_frequent_enough(reviews, n, min_count):
    expected = counted(reviews, n, min_count)
    if not expected:
        with pytest.raises(InputError, match=f"words that occur {min_count} times or more, got none"):
            Ngrams.fit(*flat(reviews), n, min_count=min_count)
        return
    found = Ngrams.fit(*flat(reviews), n, min_count=min_count)
    names = found.word_ids(range(found.num_features))
    assert sorted(names) == sorted(expected)
    assert [len(name) for name in names] == sorted(len(name) for name in names)  # words first, then pairs
    assert found.n == n


@settings(max_examples=150, deadline=None)
@given(some_reviews, some_reviews, st.integers(1, 4), st.booleans())
def test_columns_count_the_ngrams_of_the_vocabulary(reviews, others, n, counts):
    if not counted(reviews, n, 1):
        return
    found = Ngrams.fit(*flat(reviews), n, min_count=1)
    names = found.word_ids(range(found.num_features))
    for some in (reviews, others):  # others have words that are not in the vocabulary
        bags = found.transform(*flat(some), counts=counts)
        expected = np.array([[grams(review, n).count(name) for name in names] for review in some])
        assert bags.dtype == np.float32
        np.testing.assert_array_equal(bags.toarray(), expected if counts else expected > 0)


@settings(max_examples=150, deadline=None)
@given(some_reviews, st.integers(1, 4), st.integers(1, 12))
def test_the_most_frequent_are_kept_with_all_of_their_parts(reviews, n, max_features):
    expected = counted(reviews, n, 1)
    if not expected:
        return
    found = Ngrams.fit(*flat(reviews), n, min_count=1, max_features=max_features)
    names = found.word_ids(range(found.num_features))
    kept = sorted((expected[name] for name in names), reverse=True)
    assert kept == sorted(expected.values(), reverse=True)[:max_features]
    assert {part for name in names for part in (name[:-1], name[1:]) if part} <= set(names)
    bags = found.transform(*flat(reviews), counts=True)
    np.testing.assert_array_equal(bags.sum(axis=0), [[expected[name] for name in names]])


@settings(max_examples=100, deadline=None)
@given(some_reviews, st.integers(1, 4), st.integers(1, 3), st.none() | st.integers(1, 12))
def test_fit_transform_returns_what_fit_and_transform_return(reviews, n, min_count, max_features):
    if not counted(reviews, n, min_count):
        return
    options = {"min_count": min_count, "max_features": max_features}
    expected = Ngrams.fit(*flat(reviews), n, **options)
    found, bags = Ngrams.fit_transform(*flat(reviews), n, **options)
    assert [keys.tolist() for keys in found.keys] == [keys.tolist() for keys in expected.keys]
    assert bags.dtype == np.float32
    np.testing.assert_array_equal(bags.toarray(), expected.transform(*flat(reviews)).toarray())


@settings(max_examples=100, deadline=None)
@given(some_reviews, st.integers(1, 4), st.booleans(), st.sampled_from([0, 64]))
def test_the_counts_are_those_of_scikit_learn_on_the_texts(reviews, n, counts, bits):
    reviews = [[max(word, 4) for word in review] for review in reviews]  # every id is a word in the texts
    if not counted(reviews, n, 1):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pair_sort, "BITS", bits)  # with 0, no pair is sorted as one integer
        found, bags = Ngrams.fit_transform(*flat(reviews), n, min_count=1)
        if counts:
            bags = found.transform(*flat(reviews), counts=True)
    vectorizer = CountVectorizer(ngram_range=(1, n), binary=not counts, token_pattern=r"\S+")
    expected = vectorizer.fit_transform([" ".join(map(str, review)) for review in reviews])
    names = [" ".join(map(str, gram)) for gram in found.word_ids(range(found.num_features))]
    assert sorted(names) == sorted(vectorizer.vocabulary_)
    columns = [vectorizer.vocabulary_[name] for name in names]
    np.testing.assert_array_equal(bags.toarray(), expected.toarray()[:, columns])
    assert names == sorted(names, key=lambda name: (name.count(" "), name))  # ids of one digit


def test_of_equally_frequent_ngrams_the_shorter_are_kept_then_those_of_smaller_numbers():
    found = Ngrams.fit([7, 6, 1, 7, 6], [0, 5], 2, min_count=1, max_features=2)
    assert found.word_ids([0, 1]) == [(6,), (7,)]
    found = Ngrams.fit([5, 4, 1, 7, 6], [0, 5], 2, min_count=1, max_features=5)
    assert found.word_ids(range(5)) == [(4,), (5,), (6,), (7,), (5, 4)]


def test_the_keys_are_made_of_the_numbers_of_the_order_below():
    found = Ngrams.fit([4, 9, 4, 9], [0, 4], 3, min_count=1)
    assert [keys.tolist() for keys in found.keys] == [
        [4, 9],
        [1, 2],
        [1, 2],
    ]  # (4, 9) is 0 * 2 + 1, (9, 4) is 1 * 2 + 0
    assert found.word_ids([0, 1, 2, 3, 4, 5]) == [(4,), (9,), (4, 9), (9, 4), (4, 9, 4), (9, 4, 9)]
    assert [keys.dtype for keys in found.keys] == [np.int64] * 3


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint64])
def test_ids_of_any_integer_type_are_taken(kind):
    found = Ngrams.fit(np.array([1, 4, 5], kind), np.array([0, 3], kind), min_count=1)
    assert found.word_ids(range(3)) == [(4,), (5,), (4, 5)]
    large = Ngrams.fit([2**31 - 1, 4], [0, 2], 1, min_count=1)
    assert large.transform([4, 2**31 - 1, 2**31 - 2], [0, 1, 2, 3]).toarray().tolist() == [[1, 0], [0, 1], [0, 0]]


def test_reviews_without_words_have_empty_rows():
    found = Ngrams.fit([4, 5], [0, 2], min_count=1)
    assert found.transform([], [0, 0, 0]).toarray().tolist() == [[0, 0, 0], [0, 0, 0]]
    assert found.transform(np.array([1, 5], np.uint8), [0, 0, 2]).toarray().tolist() == [[0, 0, 0], [0, 1, 0]]
    assert found.transform([], [0]).shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n": 0, "min_count": 0}, "n as a whole number of 1 or more, got 0; expected min_count as a whole number"),
        ({"n": 9}, "n up to 8, got 9"),
        ({"n": True}, "n as a whole number"),
        ({"max_features": 0}, "max_features as a whole number of 1 or more, got 0"),
        ({"ids": [4.0, 5.0]}, "ids as integers in one dimension, got float64"),
        ({"ids": [[4, 5]]}, r"ids as integers in one dimension, got int64 of shape \(1, 2\)"),
        ({"ids": [4, -1]}, "word ids from 0 to 2147483647, got -1 to 4"),
        ({"ids": [4, 2**31]}, "word ids from 0 to 2147483647, got 4 to 2147483648"),
        ({"offsets": [0, 1]}, "offsets that do not decrease, from 0 to 2, the number of ids"),
        ({"offsets": [0, 3, 2]}, "offsets that do not decrease"),
        ({"offsets": "x"}, "offsets"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Ngrams.fit(**{"ids": [4, 5], "offsets": [0, 2], **arguments})


@pytest.mark.parametrize("column", [-1, 3])
def test_a_column_that_does_not_exist_has_no_words(column):
    with pytest.raises(InputError, match=f"columns from 0 to 2, got {column} to {column}"):
        Ngrams.fit([4, 5], [0, 2], min_count=1).word_ids([column])
