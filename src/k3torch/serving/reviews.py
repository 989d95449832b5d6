"""The model of a run on film reviews: predictions for texts, and the words that contributed most to one."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from k3torch.data.bags import BagDataset, bag_loader
from k3torch.data.review_features import WordFeatures, load_features
from k3torch.data.text import UNKNOWN, tokenize
from k3torch.errors import InputError
from k3torch.training.saving import load_model
import numpy as np
from numpy.typing import NDArray

BATCH = 512  # reviews at a time
_NEVER_CERTAIN = 1e-7  # from 0 and 1, where log-odds are infinite: about the spacing of float32 below 1


class Prediction(NamedTuple):
    """A review and what the model says of it; the fields are the columns of ``predict-reviews --format csv``."""

    number: int  # from 1: of the line, or of the argument
    label: str
    probability: float  # of the label
    known_words: int
    words: int
    text: str


class Contribution(NamedTuple):
    """What a word contributed: the log-odds of the label 1 with the word, minus those of the review without it."""

    word: str
    log_odds: float


class Classifier:
    """The model of a run folder, with its vocabulary and the names of its labels.

    Attributes:
        model: takes bags, (batch, features), and returns the probability of ``labels[1]``, (batch, 1).
        features: turn word ids into bags.
        vocabulary: the words of the ids.
        labels: names of the labels 0 and 1.

    Raises:
        InputError: for files that are missing, damaged, or no model of reviews.
    """

    def __init__(self, run: Path):
        self.features, self.vocabulary, self.labels = load_features(run)
        self.model = load_model(run / "model.keras", (None, self.features.num_features), outputs=[1])

    def probabilities(self, reviews: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
        """Return the probability of ``labels[1]`` for each review of word ids, shape (reviews,).

        Raises:
            InputError: if the model's outputs are no probabilities.
        """
        offsets = np.cumsum([0, *map(len, reviews)])
        bags = self.features.transform(np.concatenate(reviews), offsets)
        outputs = self.model.predict(bag_loader(BagDataset(bags, np.zeros(len(reviews))), BATCH), verbose=0)
        if not isinstance(outputs, np.ndarray) or not ((outputs >= 0) & (outputs <= 1)).all():
            raise InputError("expected a model that returns probabilities, got other outputs: train again")
        return outputs[:, 0].astype(np.float64)

    def predict(self, texts: Iterable[str]) -> list[Prediction]:
        """Return a prediction for each text that has words."""
        found = [(number, text, words) for number, text in enumerate(texts, 1) if (words := tokenize(text))]
        if not found:
            return []
        ids = [self.vocabulary.encode(words) for _, _, words in found]
        known = [int(np.count_nonzero(review[1:] != UNKNOWN)) for review in ids]  # the first is the start id
        return [
            Prediction(number, self.labels[p > 0.5], max(p, 1 - p), n, len(words), text)
            for (number, text, words), p, n in zip(found, self.probabilities(ids).tolist(), known, strict=True)
        ]

    def contributions(self, text: str, top: int = 10) -> list[Contribution]:
        """Return the known words of a text that changed the prediction most, those that changed it most first.

        Each word is left out in turn, everywhere in the text, and the model predicts what remains. So it works for any
        network, and n-grams count for each of their words.
        """
        ids = self.vocabulary.encode(tokenize(text))
        words = np.unique(ids[1:][ids[1:] != UNKNOWN])
        if not len(words):
            return []
        versions = [ids, *(self._without(ids, word) for word in words)]
        parts = [self.probabilities(versions[first : first + BATCH]) for first in range(0, len(versions), BATCH)]
        odds = _log_odds(np.concatenate(parts))
        changes = odds[0] - odds[1:]
        order = np.argsort(-np.abs(changes), kind="stable")[:top]
        return [Contribution(self.vocabulary.decode([words[i]]), float(changes[i])) for i in order if changes[i]]

    def _without(self, ids: NDArray[np.int32], word: int) -> NDArray[np.int32]:
        # No n-gram has the unknown word, or reaches across it; in a bag it would be a word of its own.
        bags = isinstance(self.features, WordFeatures)
        changed: NDArray[np.int32] = ids[ids != word] if bags else np.where(ids == word, np.int32(UNKNOWN), ids)
        return changed


def _log_odds(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = np.clip(probabilities, _NEVER_CERTAIN, 1 - _NEVER_CERTAIN)
    return np.asarray(np.log(inside / (1 - inside)))
