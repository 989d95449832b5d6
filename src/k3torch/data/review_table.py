"""Reviews in a table: a text file with a column of texts and one of labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
import csv
from pathlib import Path
import re
import reprlib
from typing import Literal

from k3torch.data.review_labels import ReviewFormat, find_labels
from k3torch.data.table_text import SEPARATORS, CsvReader, marked_encoding
from k3torch.errors import InputError, did_you_mean

SUFFIXES = (".csv", ".tsv", ".txt")
_SEPARATORS = {mark: SEPARATORS[mark] for mark in (",", ";", "\t")}
_TEXT_NAMES = ("text", "review", "comment", "sentence", "content", "body", "reviewtext", "reviewbody")
_LABEL_NAMES = ("label", "sentiment", "class", "target", "polarity", "category", "rating", "stars", "score")


class ReviewTable:
    """The rows of a file in UTF-8, or in UTF-16 as Excel writes it, separated by commas, semicolons or tabs.

    Reads the file once, so that a file with a mistake is refused before anything is made of its texts.

    Args:
        path: the file; its first line has the names of the columns.
        chosen: which columns and labels to use.
        only: values by column; rows with others are passed over.

    Attributes:
        labels: what the labels mean.
        description: which columns are used, in words.

    Raises:
        InputError: for a file in another format, columns that cannot be told, and labels that cannot be told.
    """

    def __init__(self, path: Path, chosen: ReviewFormat, only: Mapping[str, str] | None = None):
        self._path, self._only = path, only or {}
        self._quoting: Literal[0, 3] = csv.QUOTE_MINIMAL
        try:
            self._encoding = _encoding(path)
            self._separator, self._header = self._first_line()
            self._text, self._label = _columns(self._header, chosen, path)
            found = self._label_values()
        except UnicodeError as error:
            raise InputError(
                f"expected a table in UTF-8 at {path}, got other bytes: save it in UTF-8 (in Excel as CSV UTF-8)"
            ) from error
        except csv.Error as error:
            name = _SEPARATORS[self._separator]
            raise InputError(f"expected cells separated by {name}s in {path}, got a row with: {error}") from error
        text, label = self._header[self._text], self._header[self._label]
        if not found:
            raise InputError(f"expected rows with a label in column {label!r} of {path}, found none")
        self.labels = find_labels(found, chosen.labels, f"column {label!r} of {path}")
        self.description = f"texts in column {text!r}, labels in {label!r}"

    def parts(self) -> dict[str, Iterable[tuple[str, str]]]:
        """Return the text and the label of each row, under the name "all": a table has no test set of its own."""
        return {"all": self._rows()}

    def _first_line(self) -> tuple[str, list[str]]:
        """Return the separator that cuts the first line into most cells, and the cells."""
        cells: dict[str, list[str]] = {}
        for separator in _SEPARATORS:
            with self._path.open(newline="", encoding=self._encoding) as file:
                try:
                    cells[separator] = next(CsvReader(file, separator), [])
                except csv.Error:  # with this separator the quotes are wrong
                    cells[separator] = []
        separator = max(cells, key=lambda separator: len(cells[separator]))
        return separator, cells[separator]

    def _label_values(self) -> set[str]:
        try:
            return {label for _, label in self._rows() if label.strip()}
        except csv.Error:
            if self._separator != "\t":
                raise
            self._quoting = csv.QUOTE_NONE  # many files separated by tabs have quotes that quote nothing
            return {label for _, label in self._rows() if label.strip()}

    def _rows(self) -> Iterator[tuple[str, str]]:
        only = [(self._header.index(name), value) for name, value in self._only.items()]
        with self._path.open(newline="", encoding=self._encoding) as file:
            lines = CsvReader(file, self._separator, quoting=self._quoting)
            next(lines)
            for number, cells in enumerate(lines, 1):
                if not max(self._text, self._label) < len(cells) <= len(self._header):
                    raise InputError(
                        f"expected {len(self._header)} cells in row {number} of {self._path}, found {len(cells)}: "
                        f"quote texts that contain a {_SEPARATORS[self._separator]} or a line break"
                    )
                if all(cells[column] == value for column, value in only):
                    yield cells[self._text], cells[self._label]


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        return marked_encoding(file.read(4)) or "utf-8"  # Excel writes a byte order mark


def _columns(header: Sequence[str], chosen: ReviewFormat, path: Path) -> tuple[int, int]:
    """Return the numbers of the columns of texts and of labels."""
    plain = [re.sub(r"[\W_]", "", name).casefold() for name in header]
    standard = {"text", "label"} <= set(plain)  # other names beside these two leave no doubt
    texts = _candidates(header, plain, chosen.text_column, ("text",) if standard else _TEXT_NAMES)
    labels = _candidates(header, plain, chosen.label_column, ("label",) if standard else _LABEL_NAMES)
    if chosen.text_column is None:
        texts = [column for column in texts if header[column] != chosen.label_column]
    if chosen.label_column is None:
        labels = [column for column in labels if header[column] != chosen.text_column]
    names = {"text_column": (chosen.text_column, texts), "label_column": (chosen.label_column, labels)}
    problems = [
        f"{name} to name one column, got {'none' if given is None else repr(given) + did_you_mean(given, header)}"
        for name, (given, candidates) in names.items()
        if len(candidates) != 1
    ]
    if problems:
        has = ", ".join(map(reprlib.repr, header)) or "none"
        raise InputError(f"expected {'; expected '.join(problems)}: the columns of {path} are {has}")
    if texts == labels:
        raise InputError(f"expected two columns, got {header[texts[0]]!r} as text_column and as label_column")
    return texts[0], labels[0]


def _candidates(header: Sequence[str], plain: Sequence[str], given: str | None, known: Sequence[str]) -> list[int]:
    if given is not None:
        return [column for column, name in enumerate(header) if name.strip() == given.strip()]
    return [column for column, name in enumerate(plain) if name in known]
