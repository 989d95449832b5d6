"""Tables of made-up reviews, for scripts that read a file."""

from collections.abc import Callable
import csv
from pathlib import Path
import random


def write_reviews(folder: Path, count: int, words: Callable[[random.Random, int], list[str]]) -> Path:
    """Write reviews.csv with the columns text and label: ``count`` reviews, whose labels are 0 and 1 in turn.

    Args:
        folder: that exists.
        count: of the reviews.
        words: of a review, given a generator and the number of the review.
    """
    draw, path = random.Random(0), folder / "reviews.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for i in range(count):
            rows.writerow([" ".join(words(draw, i)), i % 2])
    return path


def with_order(vocabulary: int, length: int) -> Callable[[random.Random, int], list[str]]:
    """Return words of a review: "not good" is negative and "good not" is positive; no single word tells the label."""

    def words(draw: random.Random, i: int) -> list[str]:
        found = draw.choices([f"word{j}" for j in range(vocabulary)], k=length)
        found.insert(draw.randrange(length), "good not" if i % 2 else "not good")
        return found

    return words
