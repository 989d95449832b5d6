"""Files of made-up reviews, in the formats that ``load_data`` of imdb reads."""

import csv

import numpy as np
import pytest


@pytest.fixture
def reviews():
    """40 reviews and their labels; each has a word that no other has."""
    return [(f"good film number{i}" if i % 2 else f"bad film number{i}", i % 2) for i in range(40)]


@pytest.fixture
def write_csv(tmp_path):
    """A function that writes rows to a CSV file and returns its path."""

    def write(rows, columns=("text", "label")):
        with (tmp_path / "reviews.csv").open("w", newline="") as file:
            csv.writer(file).writerows([columns, *rows])
        return tmp_path / "reviews.csv"

    return write


@pytest.fixture
def write_npz(tmp_path):
    """A function that writes 20 training and 10 test reviews as Keras does and returns the path of the file."""

    def write(**changed):
        random = np.random.RandomState(0)
        arrays = {}
        for subset, n in (("train", 20), ("test", 10)):
            x = np.empty(n, dtype=object)
            x[:] = [random.randint(1, 50, random.randint(3, 9)).tolist() for _ in range(n)]
            arrays |= {f"x_{subset}": x, f"y_{subset}": random.randint(0, 2, n)}
        np.savez(tmp_path / "reviews.npz", **(arrays | changed))
        return tmp_path / "reviews.npz"

    return write


@pytest.fixture
def aclimdb(tmp_path):
    """A folder with 12 training and 6 test reviews."""
    for subset, n in (("train", 6), ("test", 3)):
        for label in ("pos", "neg"):
            folder = tmp_path / "aclImdb" / subset / label
            folder.mkdir(parents=True)
            for i in range(n):
                (folder / f"{i}_1.txt").write_text(f"{label} words<br />{subset}")
    return tmp_path / "aclImdb"
