"""Texts to word ids and back, by Keras's convention: 0 padding, 1 start, 2 unknown, and the words from 4 on."""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
import json
from pathlib import Path
import re

from k3torch.errors import InputError
from k3torch.files import atomic_path
import numpy as np
from numpy.typing import NDArray

START, UNKNOWN = 1, 2
FIRST_WORD = 4  # Keras shifts ranks, which start at 1, by 3
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def tokenize(text: str) -> list[str]:
    """Return the lower-case words of a text: letters and digits of any script, apostrophes inside a word."""
    return _WORD.findall(text.lower().replace("<br />", " ").replace("\u2019", "'"))


class Sighted:
    """Texts as numbers, one a word by first sight: four bytes each, where a list of strings would take fifty."""

    def __init__(self) -> None:
        self._words = [""]  # number 0 stands for the start of a text
        self._number: dict[str, int] = {}
        self._read = array("i")
        self._bounds = [0]

    def read(self, text: str, where: str) -> None:
        """Add a text.

        Raises:
            InputError: for a text without words, which is named by ``where``.
        """
        words = tokenize(text)
        if not words:
            raise InputError(f"expected words in every review, found none in {where}: leave that review out")
        for word in words:
            if word not in self._number:
                self._number[word] = len(self._words)
                self._words.append(word)
        self._read.append(0)
        self._read.extend(map(self._number.__getitem__, words))
        self._bounds.append(len(self._read))

    def texts(self) -> list[NDArray[np.int32]]:
        """Return all texts, once all are read: each a 0 and the number of each word, int32, shape (words + 1,)."""
        numbers = np.frombuffer(self._read, dtype=np.int32)
        return [numbers[start:stop] for start, stop in pairwise(self._bounds)]

    def words(self, numbers: NDArray[np.int32]) -> list[str]:
        """Return the words of one of the texts."""
        return [self._words[number] for number in numbers[1:].tolist()]

    def ids(self, vocabulary: "Vocabulary") -> NDArray[np.int32]:
        """Return the id in ``vocabulary`` of each number, the start id for 0: int32, shape (numbers,)."""
        return vocabulary.encode(self._words[1:])


@dataclass(frozen=True)
class Vocabulary:
    """Words by frequency, most frequent first; word ``i`` of them has the id ``i + 4``."""

    words: tuple[str, ...]

    @classmethod
    def count(cls, texts: Iterable[Sequence[str]]) -> "Vocabulary":
        """Rank the words of tokenized texts; words equally frequent stay in the order of first sight."""
        counter = Counter(word for words in texts for word in words)
        return cls(tuple(word for word, _ in counter.most_common()))

    def limit(self, num_words: int) -> "Vocabulary":
        """Keep the words whose id is below ``num_words``."""
        return Vocabulary(self.words[: max(0, num_words - FIRST_WORD)])

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, words: Iterable[str]) -> NDArray[np.int32]:
        """Return the start id and the id of each word (2 where unknown), int32 of shape (words + 1,)."""
        return np.array([START, *(self._id_of.get(word, UNKNOWN) for word in words)], dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words of ``ids`` with "?" where there is none, as Keras users know it."""
        shifted = (int(i) - FIRST_WORD for i in ids)
        return " ".join(self.words[i] if 0 <= i < len(self.words) else "?" for i in shifted)

    def save(self, path: Path, num_words: int) -> None:
        """Write the words as JSON, with the width of the bags that they are for."""
        with atomic_path(path) as draft:
            draft.write_text(json.dumps({"num_words": num_words, "words": self.words}, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path) -> tuple["Vocabulary", int]:
        """Read what ``save`` wrote: the vocabulary and ``num_words``.

        Raises:
            InputError: for a file that is missing or something else.
        """
        try:
            match json.loads(path.read_text(encoding="utf-8")):
                case {"num_words": int(num_words), "words": list(words)} if num_words > FIRST_WORD:
                    return cls(tuple(map(str, words))), num_words
            found = "something else"
        except (OSError, ValueError) as error:
            found = type(error).__name__
        raise InputError(f"expected a vocabulary in {path}, got {found}: give a run folder of train_imdb.py")
