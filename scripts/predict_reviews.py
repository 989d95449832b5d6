"""Predict whether film reviews are positive or negative.

    k3torch predict-reviews runs/imdb-TIME "A wonderful film."
    k3torch predict-reviews runs/imdb-TIME
    k3torch predict-reviews runs/imdb-TIME --file reviews.txt --format csv
    cat reviews.txt | python scripts/predict_reviews.py runs/imdb-TIME

The model is the one in a run folder of train-imdb. Each line of the output is the predicted label, its probability,
how many words of the review the model knows, and the first of them. A file and standard input contain one review per
line; on a terminal, a prompt asks for one review after another until an empty line. Reviews without words are skipped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

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
    format: Literal["lines", "csv"] = "lines"
    """What to print: lines to read, or a table with the columns number, label, probability, known_words, words and
    text, separated by commas."""
    device: Device = "auto"
    """auto is cuda where there is a GPU, else cpu. mps lacks sparse CSR tensors, so it is
    never chosen by auto."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Collection, Iterable, Iterator, Sequence
import contextlib
import csv
import io
import shutil
import sys

from k3torch import runtime
from k3torch.errors import InputError
from k3torch.serving.reviews import Classifier, Prediction
from rich.cells import cell_len, set_cell_size

KNOWN_WIDTH, LEAST_TEXT = 22, 20  # columns of the terminal
LISTED = 10  # numbers of skipped reviews in a message


def main(settings: Settings) -> None:
    """Print a line for each review."""
    check(settings)
    runtime.configure(settings.device)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a review may have characters that the output's encoding lacks
    if not settings.texts and not settings.file and sys.stdin.isatty():
        converse(Classifier(settings.run), as_csv=settings.format == "csv")
        return
    texts = read(settings)
    classifier = Classifier(settings.run)
    predictions = classifier.predict(texts)
    if not predictions:
        raise InputError("expected reviews with words, got none: give them as arguments, by --file or standard input")
    report_skipped(set(range(1, len(texts) + 1)) - {prediction.number for prediction in predictions})
    if settings.format == "csv":
        write_csv(predictions, header=True)
    else:
        show(predictions, classifier.labels)


def check(settings: Settings) -> None:
    """Refuse what is no run folder, and reviews from two places, before anything is read."""
    run = settings.run
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
    if settings.texts and settings.file:
        raise InputError("expected reviews as arguments or in --file, got both: leave one of them out")


def read(settings: Settings) -> list[str]:
    """Return the arguments, or the lines of the file or of standard input."""
    if settings.texts:
        return list(settings.texts)
    try:
        content = settings.file.read_bytes() if settings.file else sys.stdin.buffer.read()
        return content.decode("utf-8-sig").removesuffix("\n").split("\n")  # splitlines() also splits at U+0085
    except (OSError, UnicodeDecodeError) as error:
        where = settings.file or "standard input"
        reason = error.strerror if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise InputError(f"expected UTF-8 text in {where}, got: {reason}") from error


def typed() -> Iterator[str]:
    """Yield what the user types at a prompt, until an empty line or the end of input."""
    with contextlib.suppress(ImportError):  # Windows
        import readline  # noqa: F401  (input() then uses it: a bare terminal cuts lines at 4,096 characters)
    print("Type a review and press Enter; an empty line ends.", file=sys.stderr)
    while True:
        try:
            text = input("review: " if sys.stdout.isatty() else "")
        except UnicodeDecodeError:
            print("skipped: not UTF-8", file=sys.stderr)
            continue
        except (EOFError, KeyboardInterrupt) as end:
            print(file=sys.stderr)  # what follows begins a line
            if isinstance(end, KeyboardInterrupt):
                raise
            return
        if not text.strip():
            return
        yield text


def converse(classifier: Classifier, as_csv: bool) -> None:
    """Predict each review as soon as it is typed."""
    header = True
    for number, text in enumerate(typed(), 1):
        predictions = [prediction._replace(number=number) for prediction in classifier.predict([text])]
        if not predictions:
            print("skipped: no words", file=sys.stderr)
        elif as_csv:
            write_csv(predictions, header)
            header = False
        else:
            show(predictions, classifier.labels)


def report_skipped(numbers: Collection[int]) -> None:
    """Name the reviews without words on standard error."""
    if numbers:
        first = ", ".join(map(str, sorted(numbers)[:LISTED]))
        others = f" and {len(numbers) - LISTED:,} more" if len(numbers) > LISTED else ""
        print(f"skipped review{'s'[: len(numbers) > 1]} {first}{others}: no words", file=sys.stderr)


def write_csv(predictions: Iterable[Prediction], header: bool) -> None:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    if header:
        rows.writerow(Prediction._fields)
    rows.writerows(p._replace(probability=round(p.probability, 6)) for p in predictions)
    sys.stdout.flush()


def show(predictions: Sequence[Prediction], labels: tuple[str, str]) -> None:
    """Print a line for each prediction, at most as wide as the terminal."""
    label_width = max(map(cell_len, labels))
    known = [f"{p.known_words} of {p.words} words known" for p in predictions]
    known_width = max(KNOWN_WIDTH, *map(len, known))
    text_width = max(LEAST_TEXT, shutil.get_terminal_size().columns - label_width - known_width - 12)
    for p, words in zip(predictions, known, strict=True):
        label, text = set_cell_size(p.label, label_width), on_one_line(p.text, text_width)
        print(f"{label}  {p.probability:.4f}  {words:>{known_width}}  {text}", flush=True)


def on_one_line(text: str, width: int) -> str:
    """Return a text without line breaks and terminal codes, cut to ``width`` columns of a terminal."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if cell_len(line) <= width else set_cell_size(line, width - 4).rstrip() + " ..."


if __name__ == "__main__":
    cli.run(main, SETTINGS)
