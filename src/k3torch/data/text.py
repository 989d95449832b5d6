"""Encoding of texts as word ids and back, with the ids of ``keras.datasets.imdb``.

0 is padding, 1 the start of a text, 2 an unknown word; words have ids from 4 on, the most frequent first.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
import json
from pathlib import Path
import re

from k3torch.data.review_labels import DEFAULT_NAMES
from k3torch.errors import InputError
from k3torch.files import atomic_path
import numpy as np
from numpy.typing import NDArray

START, UNKNOWN = 1, 2
FIRST_WORD = 4  # Keras adds 3 to the ranks, which start at 1
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def tokenize(text: str) -> list[str]:
    """Return the words of a text in lower case: letters and digits of any script, and apostrophes inside a word."""
    return _WORD.findall(text.lower().replace("<br />", " ").replace("\u2019", "'"))


class TokenStore:
    """Tokenized texts as integers, numbered in the order in which words first occur.

    A token takes four bytes, a string in a list about fifty. Number 0 marks the start of each text.
    """

    def __init__(self) -> None:
        self._words = [""]  # by number
        self._numbers: dict[str, int] = {}
        self._tokens = array("i")
        self._offsets = [0]

    def add(self, text: str) -> bool:
        """Tokenize and store a text; return whether it has words. One without is not stored."""
        words = tokenize(text)
        if not words:
            return False
        for word in words:
            if word not in self._numbers:
                self._numbers[word] = len(self._words)
                self._words.append(word)
        self._tokens.append(0)
        self._tokens.extend(map(self._numbers.__getitem__, words))
        self._offsets.append(len(self._tokens))
        return True

    def texts(self) -> list[NDArray[np.int32]]:
        """Return each text as 0 and the numbers of its words, int32, shape (words + 1,).

        The arrays share the store's memory: no text can be added while one of them exists.
        """
        tokens = np.frombuffer(self._tokens, dtype=np.int32)
        return [tokens[start:stop] for start, stop in pairwise(self._offsets)]

    def words(self, text: NDArray[np.int32]) -> list[str]:
        """Return the words of one of the ``texts``."""
        return [self._words[number] for number in text[1:].tolist()]

    def vocabulary_ids(self, vocabulary: "Vocabulary") -> NDArray[np.int32]:
        """Return the id in ``vocabulary`` of each number, shape (numbers,), int32; 0 has the start id."""
        return vocabulary.encode(self._words[1:])


@dataclass(frozen=True)
class Vocabulary:
    """Words by frequency, the most frequent first; ``words[i]`` has the id ``i + 4``."""

    words: tuple[str, ...]

    @classmethod
    def count(cls, texts: Iterable[Sequence[str]]) -> "Vocabulary":
        """Rank the words of tokenized texts by frequency; ties are in the order of first occurrence."""
        counter = Counter(word for words in texts for word in words)
        return cls(tuple(word for word, _ in counter.most_common()))

    def limit(self, num_words: int) -> "Vocabulary":
        """Return the vocabulary of the words whose id is below ``num_words``."""
        return Vocabulary(self.words[: max(0, num_words - FIRST_WORD)])

    @cached_property
    def _id_of(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words, FIRST_WORD)}

    def encode(self, words: Iterable[str]) -> NDArray[np.int32]:
        """Return the start id and the id of each word (2 if unknown), int32, shape (words + 1,)."""
        return np.array([START, *(self._id_of.get(word, UNKNOWN) for word in words)], dtype=np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the words of ``ids`` joined by spaces, "?" for an id without a word, as in Keras's IMDB example."""
        ranks = (int(i) - FIRST_WORD for i in ids)
        return " ".join(self.words[i] if 0 <= i < len(self.words) else "?" for i in ranks)

    def save(self, path: Path, num_words: int, labels: tuple[str, str]) -> None:
        """Write the words as JSON, with what belongs to their model: ``num_words`` and the names of the labels 0 and 1.

        The write is atomic.
        """
        content = {"num_words": num_words, "labels": labels, "words": self.words}
        with atomic_path(path) as draft:
            draft.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> tuple["Vocabulary", int, tuple[str, str]]:
        """Read what ``save`` wrote: the vocabulary, ``num_words`` and the names of the labels.

        They are "negative" and "positive" in files of version 0.1.0, which lack them.

        Raises:
            InputError: for a file that is missing or has other content.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            match {"labels": list(DEFAULT_NAMES)} | content if isinstance(content, dict) else content:
                case {
                    "num_words": int(num_words),
                    "labels": [str(negative), str(positive)],
                    "words": list(words),
                } if num_words > FIRST_WORD:
                    return cls(tuple(map(str, words))), num_words, (negative, positive)
            found = "other content"
        except (OSError, ValueError, RecursionError) as error:
            found = type(error).__name__
        raise InputError(f"expected a vocabulary in {path}, got {found}: give a run folder of train_imdb.py")
