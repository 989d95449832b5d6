"""The cells of a text file: its encoding, separator and decimal mark, recognised where only one of them fits.

What two settings would read differently is refused, with the option that decides it.
"""

from collections.abc import Iterable, Iterator, Sequence
import csv
import io
from itertools import islice
import re
from typing import Literal

from k3torch.errors import InputError, first_line

Row = list[str]

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
LONGEST = 10**8  # characters of a cell
_TOO_LONG = "field larger than field limit"  # how the csv module says so
_SPELLED = {"tab": "\t", "\\t": "\t"}  # a shell passes no tab
_SAMPLE = 100  # rows that the separator is recognised from
_NOT_ASCII = re.compile(rb"[^\s,;|\"]*[\x80-\xff][^\s,;|\"]*")  # a word that tells encodings apart
_WORDS = 2000  # as many of them are enough
_NOISE = 0.8  # charset-normalizer's threshold, 0.2 for running text; other alphabets read as Windows-1252 have more
_BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


class CsvReader(Iterator[Row]):
    """The rows of a text file, without empty lines, with cells of up to ``LONGEST`` characters.

    The csv module has one limit for the whole program, which is set only while a row is read.

    Args:
        lines: of the file, with their line breaks.
        separator: one character.
        quoting: of the csv module.
        skipinitialspace: whether spaces after a separator are left out.

    Raises:
        csv.Error: while iterating, for quotes that are wrong, and for a longer cell.
    """

    def __init__(
        self,
        lines: Iterable[str],
        separator: str,
        *,
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL,
        skipinitialspace: bool = False,
    ):
        self._reader = csv.reader(
            lines, delimiter=separator, quoting=quoting, skipinitialspace=skipinitialspace, strict=True
        )

    @property
    def line(self) -> int:
        """The number of lines that have been read."""
        return self._reader.line_num

    def __next__(self) -> Row:
        """Return the next row that has a cell."""
        limit = csv.field_size_limit(LONGEST)
        try:
            return next(row for row in self._reader if row)
        finally:
            csv.field_size_limit(limit)


def marked_encoding(start: bytes) -> str | None:
    """Return the encoding that the byte order mark at the start of a file names, or None without one."""
    return next((codec for mark, codec in _BYTE_ORDER_MARKS.items() if start.startswith(mark)), None)


def decode(content: bytes, where: str) -> str:
    """Return the text of a file in UTF-8 or UTF-16, with or without a byte order mark, or in Windows-1252 (Latin-1).

    Only the words with other letters than ASCII tell whether a file is Windows-1252, and in a short table there are
    few; other encodings would be guesses, and are refused.

    Raises:
        InputError: for a binary file and another encoding.
    """
    marked = marked_encoding(content)
    try:
        text = content.decode(marked or "utf-8")
    except UnicodeDecodeError:
        text = None
    if marked is None and (text is None or "\0" in text):
        text = _recognised(content)
    if text is None or "\0" in text:
        raise InputError(
            f"expected a table as text in UTF-8, UTF-16 or Windows-1252 in {where}, found another encoding or a binary "
            "file: save it as CSV in UTF-8"
        )
    return text


def _recognised(content: bytes) -> str | None:
    """Return the text if charset-normalizer finds it to be UTF-16 or Windows-1252, else None."""
    from charset_normalizer import from_bytes  # few files need it

    if b"\0" in content:
        match = from_bytes(content, cp_isolation=["utf_16_le", "utf_16_be"]).best()
        return None if match is None else str(match)
    words = b" ".join(sorted(set(_NOT_ASCII.findall(content)))[:_WORDS])
    if from_bytes(words, cp_isolation=["cp1252"], threshold=_NOISE).best() is None:
        return None
    try:
        return content.decode("cp1252")
    except UnicodeDecodeError:
        return None


def read_rows(text: str, where: str, separator: str | None = None) -> tuple[list[Row], str]:
    """Return the rows of cells, without the spaces around them, and the separator. Empty lines are left out.

    Args:
        text: the file's.
        where: its name in messages.
        separator: one character, or "tab"; None recognises it.

    Raises:
        InputError: if no separator fits, or several do; for rows of another length than the first, open quotes, and
            cells of more than ``LONGEST`` characters.
    """
    first, _, rest = text.partition("\n")
    if declared := re.fullmatch(r"sep=(.)\s*", first.strip("\ufeff")):  # Excel reads and writes this line
        text, separator = rest, separator or declared[1]
    if separator is not None:
        separator = _SPELLED.get(separator, separator)
        if len(separator) != 1 or separator in '"\r\n':
            raise InputError(f"expected the separator as one character or tab, got {separator!r}")
    separator = separator or _separator(text, where)
    rows: list[Row] = []
    reader = _reader(text, separator)
    try:
        for row in reader:
            if len(row) != len(rows[0] if rows else row):
                raise _unequal(rows[0], row, reader.line, where)
            rows.append([cell.strip() for cell in row])
    except csv.Error as error:
        if _TOO_LONG in str(error):
            raise InputError(
                f"expected cells of up to {LONGEST:,} characters in {where}, found a longer one in line "
                f"{reader.line}: shorten it, or close the quote before it"
            ) from error
        raise InputError(
            f"expected quotes that close, and none inside a cell, in {where}, found another use before the end of line "
            f"{reader.line} ({first_line(error)}): double a quote inside a quoted cell"
        ) from error
    return rows, separator


def _reader(text: str, separator: str) -> CsvReader:
    return CsvReader(io.StringIO(text, newline=""), separator, skipinitialspace=True)


def _separator(text: str, where: str) -> str:
    """Return the only separator that gives all rows as many cells as the header, two or more.

    csv.Sniffer chooses where several fit, and then reads decimal commas as separators.
    """
    lengths = {separator: _row_lengths(text, separator) for separator in SEPARATORS}
    fitting = [separator for separator, cells in lengths.items() if len(set(cells)) == 1 and cells[0] > 1]
    if len(fitting) > 1:
        names = " and ".join(SEPARATORS[separator] for separator in fitting)
        raise InputError(f"expected one separator in {where}, found that {names} fit: pass --separator")
    if fitting:
        return fitting[0]
    header = text.lstrip().partition("\n")[0]
    most = max(SEPARATORS, key=header.count)
    if most not in header:
        raise InputError(
            f"expected two columns or more in {where}, found one: separate them by a comma, a semicolon, a tab or |, "
            "or pass --separator"
        )
    return most  # the rows differ in length, or quotes are wrong, which is refused when they are read


def _row_lengths(text: str, separator: str) -> list[int]:
    """Return the number of cells of each of the first rows, or none where quotes show that this is not a separator."""
    try:
        return [len(row) for row in islice(_reader(text, separator), _SAMPLE)]
    except csv.Error:
        return []


def _unequal(header: Row, row: Row, line: int, where: str) -> InputError:
    names, cells = len(header), len(row)
    if abs(names - cells) == 1:
        hint = "name each column, the first too, quote a cell that contains the separator, or pass --separator"
    else:
        hint = "quote a cell that contains the separator, or pass --separator"
    return InputError(
        f"expected as many cells in each row of {where} as names in the header, {names}, found {cells} in line {line}: "
        f"{hint}"
    )


def _number_pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    grouped = rf"[1-9]\d{{0,2}}(?P<mark>[{thousands}])\d{{3}}(?:(?P=mark)\d{{3}})*(?:{decimal}\d*)?"
    plain = rf"(?:\d+(?:{decimal}\d*)?|{decimal}\d+)(?:e[+-]?\d+)?"
    return re.compile(rf"[+-]?(?:{grouped}|{plain}|inf(?:inity)?)", re.ASCII | re.IGNORECASE)


_SPACES = " '’\u00a0\u202f"  # they separate thousands whatever the decimal mark
_PATTERNS = {".": _number_pattern(r"\.", "," + _SPACES), ",": _number_pattern(",", "." + _SPACES)}
_REMOVED = {mark: str.maketrans("", "", "".join({",", "."} - {mark}) + _SPACES) for mark in _PATTERNS}


def number(cell: str, decimal: str) -> float | None:
    """Return the number in a cell, with or without thousands separators, or None if it is not one.

    Args:
        cell: such as ``1234.5``, ``1,234.5``, ``1 234.5`` or ``1e-3`` with a decimal point.
        decimal: "." or ",".
    """
    cell = cell.replace("\u2212", "-")  # the minus sign of typesetting
    if not _PATTERNS[decimal].fullmatch(cell):
        return None
    return float(cell.translate(_REMOVED[decimal]).replace(",", "."))


def any_number(cell: str) -> float | None:
    """Return the number in a cell, with a decimal point or else a comma, or None."""
    return next((value for mark in (".", ",") if (value := number(cell, mark)) is not None), None)


def decimal_mark(names: Sequence[str], rows: Iterable[Sequence[object]], where: str, separator: str | None) -> str:
    """Return the decimal mark, "." or ",", that all numbers have.

    A cell such as ``1,234`` can be read in both ways, and the others decide. Where none does, only a point in a
    file separated by commas is clear.

    Raises:
        InputError: if cells contradict each other, or none decides; it names them.
    """
    found: dict[str, str] = {}
    for row_number, row in enumerate(rows, start=1):
        for name, cell in zip(names, row, strict=False):
            if isinstance(cell, str) and ("," in cell or "." in cell) and (kind := _kind(cell)):
                found.setdefault(kind, f"{cell} in data row {row_number}, column {name!r}")
    sure = [mark for mark in (".", ",") if mark in found]
    if len(sure) == 1:
        return sure[0]
    if len(sure) == 2:
        raise InputError(
            f"expected one decimal mark in {where}, found {found['.']}, and {found[',']}: pass --decimal . "
            "or --decimal ,"
        )
    if not found or (separator == "," and set(found) == {"1.234"}):
        return "."
    raise InputError(
        f"expected numbers that show their decimal mark in {where}, found {' and '.join(found.values())}, which may "
        "have decimals or thousands: pass --decimal . or --decimal ,"
    )


def _kind(cell: str) -> str | None:
    """Return the decimal mark that a number has for certain, "1.234" or "1,234" if either is possible, or None."""
    point, comma = number(cell, "."), number(cell, ",")
    if point is None or comma is None:
        return "," if comma is not None else "." if point is not None else None
    return None if point == comma else "1.234" if "." in cell else "1,234"
