"""Tell how positive film reviews are, with a model that train_imdb.py left behind.

    python scripts/predict_reviews.py runs/imdb-20300101-120000 "A wonderful film." "Two hours of my life, gone."
    python scripts/predict_reviews.py runs/imdb-20300101-120000 --file reviews.txt
    cat reviews.txt | python scripts/predict_reviews.py runs/imdb-20300101-120000

A file and standard input hold one review a line. Each line of the answer is a probability and the review's beginning.
"""

from dataclasses import dataclass
from pathlib import Path
import sys
import zipfile

from k3torch import cli, runtime
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.text import Vocabulary, tokenize
from k3torch.errors import InputError
import keras
import numpy as np
import tyro


@dataclass(frozen=True)
class Settings:
    """What a person may choose."""

    run: tyro.conf.Positional[Path]
    """A run folder of train_imdb.py."""
    texts: tyro.conf.Positional[tuple[str, ...]] = ()
    """Reviews; without any, and without a file, they are read from standard input, one a line."""
    file: Path | None = None
    """A UTF-8 file with one review a line."""
    device: runtime.Device = "auto"
    """Where to compute."""


def main(settings: Settings) -> None:
    runtime.configure(settings.device)
    texts = read(settings)
    vocabulary, num_words = Vocabulary.load(settings.run / "vocabulary.json")
    model = load(settings.run / "model.keras")

    if model.input_shape != (None, num_words):
        raise InputError(
            f"expected a model of {num_words} words beside that vocabulary, got inputs of {model.input_shape}: "
            "give a run folder of train_imdb.py as it left it"
        )

    words = [tokenize(text) for text in texts]
    for number, found in enumerate(words, 1):
        if not found:
            raise InputError(f"expected words in every review, found none in review {number}: leave it out")
    ids = [vocabulary.encode(found) for found in words]
    offsets = np.cumsum([0, *map(len, ids)])
    rows = BagDataset(bag_of_words(np.concatenate(ids), offsets, num_words), np.zeros(len(ids)))
    for probability, text in zip(model.predict(bag_loader(rows, 512), verbose=0)[:, 0], texts, strict=True):
        print(f"{probability:.4f}  {' '.join(text.split())[:100]}")


def read(settings: Settings) -> list[str]:
    if settings.texts and settings.file:
        raise InputError("expected reviews as arguments or in --file, got both: drop one of them")
    if settings.texts:
        return list(settings.texts)
    try:
        lines = (settings.file.read_text("utf-8") if settings.file else sys.stdin.read()).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        where = settings.file or "standard input"
        reason = error.strerror if isinstance(error, OSError) else "other bytes"
        raise InputError(f"expected UTF-8 text in {where}, got {reason}: check it") from error
    reviews = [line for line in lines if line.strip()]
    if not reviews:
        raise InputError("expected reviews, one a line, got none: give them as arguments, by --file or standard input")
    return reviews


def load(path: Path) -> keras.Model:
    if not path.is_file():
        raise InputError(f"expected a trained model at {path}, found none: give a run folder of train_imdb.py")
    if not zipfile.is_zipfile(path):
        raise InputError(f"expected a Keras model in {path}, found a damaged file or another kind: train it again")
    try:
        return keras.saving.load_model(path)  # in safe mode, which runs no code from the file
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"expected a Keras model in {path}, got: {reason}: train it again") from error


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
