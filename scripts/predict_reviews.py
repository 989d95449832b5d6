"""Predict how positive film reviews are.

    k3torch predict-reviews runs/imdb-TIME "A wonderful film."
    k3torch predict-reviews runs/imdb-TIME --file reviews.txt
    cat reviews.txt | python scripts/predict_reviews.py runs/imdb-TIME

The model is the one in a run folder of train-imdb. A file and standard input contain one review per line. Each line of
the output is the probability that a review is positive, and its first words.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from k3torch import cli
from k3torch.options import Device, shown_as
import tyro


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    run: tyro.conf.Positional[Annotated[Path, shown_as("RUN")]]
    """A run folder of train-imdb."""
    texts: tyro.conf.Positional[Annotated[tuple[str, ...], shown_as("TEXT ...", "standard input")]] = ()
    """Reviews."""
    file: Annotated[Path | None, shown_as("PATH", "none")] = None
    """A UTF-8 file with one review per line."""
    device: Annotated[Device, shown_as("DEVICE")] = "auto"  # the braces would widen the usage line
    """One of {auto,cpu,cuda,mps}. auto is cuda where there is a GPU, else cpu. mps lacks sparse CSR tensors, so it is
    never chosen by auto."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

import sys
import zipfile

from k3torch import runtime
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.text import Vocabulary, tokenize
from k3torch.errors import InputError
import keras
import numpy as np


def main(settings: Settings) -> None:
    """Print a line for each review."""
    check(settings.run)
    runtime.configure(settings.device)
    texts = read(settings)
    vocabulary, num_words = Vocabulary.load(settings.run / "vocabulary.json")
    model = load(settings.run / "model.keras")
    if model.input_shape != (None, num_words):
        raise InputError(
            f"expected a model with inputs of {num_words} words, as vocabulary.json has, got {model.input_shape}: "
            "give a run folder of train-imdb as it was written"
        )
    words = [tokenize(text) for text in texts]
    for number, found in enumerate(words, 1):
        if not found:
            raise InputError(f"expected words in every review, found none in review {number}: leave it out")
    ids = [vocabulary.encode(found) for found in words]
    offsets = np.cumsum([0, *map(len, ids)])
    samples = BagDataset(bag_of_words(np.concatenate(ids), offsets, num_words), np.zeros(len(ids)))
    for probability, text in zip(model.predict(bag_loader(samples, 512), verbose=0)[:, 0], texts, strict=True):
        line = " ".join(text.split())
        print(f"{probability:.4f}  {line if len(line) <= 72 else line[:68] + ' ...'}")


def check(run: Path) -> None:
    """Refuse what is no run folder, before standard input is read."""
    if not run.is_dir():
        raise InputError(
            f"expected a run folder of train-imdb before the reviews, got {str(run)!r}, which is no folder: "
            "train-imdb prints its path"
        )
    if missing := [name for name in ("vocabulary.json", "model.keras") if not (run / name).is_file()]:
        raise InputError(
            f"expected a run folder of train-imdb, got {run} without {' and '.join(missing)}: "
            "a complete run on reviews with a vocabulary writes both"
        )


def read(settings: Settings) -> list[str]:
    """Return the reviews of the arguments, the file or standard input."""
    if settings.texts and settings.file:
        raise InputError("expected reviews as arguments or in --file, got both: leave one of them out")
    if settings.texts:
        return list(settings.texts)
    try:
        content = settings.file.read_bytes() if settings.file else sys.stdin.buffer.read()
        lines = content.decode("utf-8-sig").split("\n")  # splitlines() would also split at U+0085 and the like
    except (OSError, UnicodeDecodeError) as error:
        where = settings.file or "standard input"
        reason = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise InputError(f"expected UTF-8 text in {where}, got: {reason}") from error
    reviews = [line for line in lines if line.strip()]
    if not reviews:
        raise InputError(
            "expected reviews, one per line, got none: give them as arguments, by --file or standard input"
        )
    return reviews


def load(path: Path) -> keras.Model:
    """Load a model of train-imdb."""
    if not zipfile.is_zipfile(path):
        raise InputError(f"expected a Keras model in {path}, got a file that is damaged or no model: train again")
    try:
        return keras.saving.load_model(path)  # in safe mode, which runs no code from the file
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"expected a Keras model in {path}, got: {reason}: train again") from error


if __name__ == "__main__":
    cli.run(main, SETTINGS)
