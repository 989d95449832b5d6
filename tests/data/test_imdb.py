import csv
import json

from k3torch.data import imdb
from k3torch.data.imdb import Reviews
from k3torch.errors import InputError
import numpy as np
import pytest


def write_csv(path, rows, columns=("text", "label")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def some_reviews(n=40):
    return [(f"good film number{i}" if i % 2 else f"bad film number{i}", i % 2) for i in range(n)]


def write_npz(path, seed=0, **changed):
    random = np.random.RandomState(seed)
    arrays = {}
    for half, n in (("train", 20), ("test", 10)):
        x = np.empty(n, dtype=object)
        x[:] = [random.randint(1, 50, random.randint(3, 9)).tolist() for _ in range(n)]
        arrays |= {f"x_{half}": x, f"y_{half}": random.randint(0, 2, n)}
    np.savez(path, **(arrays | changed))
    return path


def test_an_npz_gives_what_keras_gives(tmp_path, cache, monkeypatch):
    import keras.src.datasets.imdb as theirs

    path = write_npz(tmp_path / "some.npz")
    monkeypatch.setattr(theirs, "get_file", lambda **_: str(path))
    mine = imdb.load_data(path, num_words=30)
    for half, (x, y) in zip((mine.train, mine.test), theirs.load_data(num_words=30), strict=True):
        assert [half[i].tolist() for i in range(len(half))] == x.tolist()
        np.testing.assert_array_equal(half.labels, y)
    assert mine.vocabulary is None
    with pytest.raises(InputError, match="vocabulary"):
        mine.decode(mine.train[0])


def test_a_word_index_beside_the_npz_gives_a_vocabulary(tmp_path, cache):
    path = write_npz(tmp_path / "some.npz")
    (tmp_path / "imdb_word_index.json").write_text(json.dumps({f"word{i}": i for i in range(1, 60)}))
    data = imdb.load_data(path, num_words=30)
    first = data.train[0]
    assert data.decode(first) == " ".join("?" if i < 4 else f"word{i - 3}" for i in first)


def test_a_csv_is_tokenized_split_and_cached(tmp_path, cache, monkeypatch):
    path = write_csv(tmp_path / "a.csv", some_reviews())
    data = imdb.load_data(path, num_words=100)
    assert (len(data.train), len(data.test)) == (32, 8)
    assert data.test.labels.sum() == 4
    texts = [data.decode(half[i])[2:] for half in (data.train, data.test) for i in range(len(half))]
    # A test review's own number was never seen in training, so it is unknown.
    assert sorted(texts[:32]) == sorted({text for text, _ in some_reviews()} & set(texts[:32]))
    assert set(texts[32:]) == {"good film ?", "bad film ?"}
    labels = [0.0 if text.startswith("bad") else 1.0 for text in texts]
    np.testing.assert_array_equal(labels, np.concatenate((data.train.labels, data.test.labels)))
    assert data.vocabulary.words[0] == "film"

    monkeypatch.setattr(imdb.imdb_sources, "_from_csv", None)  # the second time it must not be read
    again = imdb.load_data(path, num_words=100)
    np.testing.assert_array_equal(again.train.ids, data.train.ids)


def test_num_words_turns_rare_words_into_unknown(tmp_path, cache):
    path = write_csv(tmp_path / "a.csv", some_reviews())
    wide, narrow = imdb.load_data(path, 100), imdb.load_data(path, 6)
    assert narrow.train.ids.max() == 5
    np.testing.assert_array_equal(narrow.train.ids, np.where(wide.train.ids < 6, wide.train.ids, 2))
    assert narrow.vocabulary.words == wide.vocabulary.words[:2]


def test_an_aclimdb_folder_keeps_its_halves(tmp_path, cache):
    for half, n in (("train", 6), ("test", 3)):
        for label in ("pos", "neg"):
            folder = tmp_path / half / label
            folder.mkdir(parents=True)
            for i in range(n):
                (folder / f"{i}_1.txt").write_text(f"{label} words<br />{half}")
    data = imdb.load_data(tmp_path)
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
    with pytest.raises(IndexError):
        reviews[3]


def test_auto_takes_the_wheel_when_the_canonical_file_does_not_come(cache, tmp_path, monkeypatch):
    wheel = imdb.imdb_sources.from_path(write_csv(tmp_path / "a.csv", some_reviews()))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(imdb.imdb_sources, "_KERAS_URL", "http://127.0.0.1:9/")
    monkeypatch.setattr(imdb.imdb_sources, "reviews_wheel", lambda: wheel)
    data = imdb.load_data("auto")
    assert data.source == "reviews"
    assert "not in Keras's cache and did not download" in data.reason
    with pytest.raises(InputError, match="check the network"):
        imdb.load_data("keras")


BAD = {
    "columns": ([("a", 1)], ("words", "label"), "expected the columns text and label"),
    "label": ([*some_reviews(), ("fine", 2)], ("text", "label"), "label 0 or 1 in row 41"),
    "no label": ([*some_reviews(), ("fine",)], ("text", "label"), "label 0 or 1 in row 41"),
    "empty": ([*some_reviews(), ("?!", 1)], ("text", "label"), "expected words in every review"),
    "few": (some_reviews(8), ("text", "label"), "at least 5 reviews of each label"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_csv_is_refused(tmp_path, cache, case):
    rows, columns, message = BAD[case]
    with pytest.raises(InputError, match=message) as error:
        imdb.load_data(write_csv(tmp_path / "a.csv", rows, columns))
    assert "\n" not in str(error.value)


def test_other_bad_sources_are_refused(tmp_path, cache):
    with pytest.raises(InputError, match="found no file"):
        imdb.load_data(tmp_path / "missing.csv")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"\.npz or \.csv"):
        imdb.load_data(tmp_path / "a.txt")
    (tmp_path / "cut.csv").write_text('text,label\n"never closed,1\n')
    with pytest.raises(InputError, match="UTF-8 CSV"):
        imdb.load_data(tmp_path / "cut.csv")
    (tmp_path / "latin.csv").write_bytes(b"text,label\ncaf\xe9,1\n")
    with pytest.raises(InputError, match="UTF-8 CSV"):
        imdb.load_data(tmp_path / "latin.csv")
    with pytest.raises(InputError, match=r"\.txt files"):
        imdb.load_data(tmp_path)
    with pytest.raises(InputError, match="num_words above 4"):
        imdb.load_data("reviews", num_words=4)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": np.arange(20)}, "labels 0 and 1"),
        ({"y_test": np.zeros(3, int)}, "one label a review"),
        ({"x_test": np.zeros((10, 2))}, "list of word ranks"),
        ({"x_test": np.full((10, 2), -1)}, "list of word ranks"),
    ],
)
def test_a_bad_npz_is_refused(tmp_path, cache, changed, message):
    with pytest.raises(InputError, match=message):
        imdb.load_data(write_npz(tmp_path / "bad.npz", **changed))
