"""Texts to word ids and back, by Keras's convention: 0 padding, 1 start, 2 unknown, and the words from 4 on."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
import json
from pathlib import Path
import re

from k3torch.data.cache import atomic_path
from k3torch.errors import InputError
import numpy as np
from numpy.typing import NDArray

START, UNKNOWN = 1, 2
FIRST_WORD = 4  # Keras shifts ranks, which start at 1, by 3
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def tokenize(text: str) -> list[str]:
    """Return the lower-case words of a text: letters and digits of any script, apostrophes inside a word."""
    return _WORD.findall(text.lower().replace("<br />", " ").replace("\u2019", "'"))


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
            stored = json.loads(path.read_text(encoding="utf-8"))
            return cls(tuple(map(str, stored["words"]))), int(stored["num_words"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"expected a vocabulary in {path}, got {type(error).__name__}: give a run folder of train_imdb.py"
            ) from error
