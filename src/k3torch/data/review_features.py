"""How reviews become samples: bags of words, or n-grams; learned, saved and loaded with the vocabulary."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from k3torch.data.bags import bag_of_words
from k3torch.data.imdb import Imdb, Reviews
from k3torch.data.ngram_features import NgramFeatures, problems
from k3torch.data.ngram_files import load_ngrams, save_ngrams
from k3torch.data.text import FIRST_WORD, Vocabulary
from k3torch.errors import InputError, refuse
from k3torch.options import Ngrams, Weighting
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix

VOCABULARY, NGRAMS = "vocabulary.json", "ngrams.npz"
"""The files in a run folder."""


class ReviewFeatures(Protocol):
    """What turns reviews into samples: ``WordFeatures`` or ``NgramFeatures``."""

    @property
    def num_features(self) -> int:
        """The number of columns."""

    @property
    def num_words(self) -> int | None:
        """Words with an id below this are in columns; None if all are."""

    def transform(self, ids: ArrayLike, offsets: ArrayLike) -> csr_matrix:
        """Return the samples, float32 CSR of shape (reviews, ``num_features``)."""


@dataclass(frozen=True)
class WordFeatures:
    """Multi-hot bags of words, one column for each id below ``num_words``."""

    num_words: int

    @property
    def num_features(self) -> int:
        """The number of columns."""
        return self.num_words

    def transform(self, ids: ArrayLike, offsets: ArrayLike) -> csr_matrix:
        """Return the bags of words, as ``bag_of_words`` does."""
        return bag_of_words(ids, offsets, self.num_words)


def check_ngrams(options: Ngrams) -> None:
    """Refuse options that ``learn_features`` cannot use.

    Raises:
        InputError: names all of them; also for other options than ``ngrams`` without it.
    """
    if options.ngrams is not None:
        refuse(problems(options.ngrams, *_arguments(options)))
    elif given := [name for name, value in vars(options).items() if value != getattr(Ngrams, name)]:
        raise InputError(f"expected --ngrams with {' and '.join(given)}, got none")


def learn_features(reviews: Reviews, num_words: int, options: Ngrams) -> ReviewFeatures:
    """Return bags of ``num_words`` words, or n-grams that are learned from ``reviews``, which are training samples.

    Raises:
        InputError: for arguments that cannot be used.
    """
    if options.ngrams is None:
        return WordFeatures(num_words)
    return NgramFeatures.fit(reviews, options.ngrams, *_arguments(options))


def _arguments(options: Ngrams) -> tuple[int, int | None, int | None, Weighting]:
    return options.min_count, options.max_features, options.hash_bits, options.weighting


def save_features(features: ReviewFeatures, data: Imdb, file: Callable[[str], Path]) -> None:
    """Write what ``load_features`` needs; nothing for reviews without a vocabulary.

    Args:
        features: of the model.
        data: the reviews, with their vocabulary and the names of their labels.
        file: returns the path of a file in the run folder.
    """
    if data.vocabulary is None:
        return
    num_words = features.num_words or len(data.vocabulary.words) + FIRST_WORD
    data.vocabulary.limit(num_words).save(file(VOCABULARY), num_words, data.labels)
    if isinstance(features, NgramFeatures):
        save_ngrams(file(NGRAMS), features)


def load_features(folder: Path) -> tuple[ReviewFeatures, Vocabulary, tuple[str, str]]:
    """Return the features of a run folder, its vocabulary, and the names of the labels 0 and 1.

    Raises:
        InputError: for files that are missing, damaged, or have other content.
    """
    vocabulary, num_words, labels = Vocabulary.load(folder / VOCABULARY)
    ngrams = folder / NGRAMS
    return load_ngrams(ngrams) if ngrams.exists() else WordFeatures(num_words), vocabulary, labels
