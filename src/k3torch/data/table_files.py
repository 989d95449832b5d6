"""A user's file as a table of cells: CSV and other text, Excel and Parquet; what is not one table is refused."""

import bz2
from collections.abc import Sequence
import gzip
import io
import lzma
from pathlib import Path, PurePath
from typing import Any
import warnings
import zipfile
import zlib

from k3torch.data import table_text
from k3torch.errors import InputError, choice_problem, first_line, refuse
import pandas as pd

SUFFIXES = (".csv", ".tsv", ".txt", ".xlsx", ".parquet")
_DECOMPRESS = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
# A RuntimeError for an encrypted archive, a NotImplementedError for a method of compression that Python does not have.
_DAMAGED = (OSError, EOFError, ValueError, RuntimeError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)


def read_frame(path: Path, *, separator: str | None = None, decimal: str | None = None) -> pd.DataFrame:
    """Read a table with a header.

    Args:
        path: a file that ends in .csv, .tsv, .txt, .xlsx or .parquet, perhaps followed by .gz, .bz2 or .xz, or a .zip
            with one such file in it.
        separator: of the columns of a text file, one character or "tab"; None recognises comma, semicolon, tab and |.
        decimal: the decimal mark of a text file, "." or ","; None recognises it.

    Returns:
        One column for each column of the file, with its name. In one of a text file or of Excel, a cell is a float, a
        text, or missing (NaN, None) where it is empty; Excel has bools and dates too. A column of numbers has the
        dtype float64, others object. Columns of Parquet keep their dtype, and a named index is a column.

    Raises:
        InputError: if the file cannot be read or is not one table with a header; where separator or decimal mark
            cannot be recognised; if the package that reads this format is missing.
    """
    return read_frame_and_cells(path, separator=separator, decimal=decimal)[0]


def read_frame_and_cells(
    path: Path, *, separator: str | None = None, decimal: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a table as ``read_frame`` does, and return beside it a table of the cells as the file has them.

    In the second table the cells of a text file are texts, without spaces around them, ``""`` where they are empty;
    so ``00123`` stays as it is. Those of Excel are as openpyxl reads them, None where they are empty. Both tables have
    the same rows and columns. For Parquet they are the same.

    Raises:
        InputError: as ``read_frame``.
    """
    refuse([choice_problem("decimal", decimal, (None, ".", ","))])
    content, suffix = _content(Path(path))
    where = str(path)
    if not content:
        raise InputError(f"expected a table in {where}, found an empty file")
    if suffix == ".parquet":
        frame = _checked_header(_parquet(content, where), where)
        return frame, frame
    if suffix == ".xlsx":
        rows, separator = _excel_rows(content, where), None
    else:
        separator = separator or ("\t" if suffix == ".tsv" else None)
        rows, separator = table_text.read_rows(table_text.decode(content, where), where, separator)
    return _frames(rows, where, separator, decimal)


def _content(path: Path) -> tuple[bytes, str]:
    """Return the decompressed content of a file, and the suffix that says its format."""
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file"
        raise InputError(f"expected the path of a table ({', '.join(SUFFIXES)}), found {found} at {path}")
    name = PurePath(path.name.lower())
    try:
        content = path.read_bytes()
        members = _members(content) if name.suffix == ".zip" else [(content, name)]
        if len(members) == 1 and name.suffix == ".zip":
            content, name = members[0]
        elif name.suffix in _DECOMPRESS:
            content, name = _DECOMPRESS[name.suffix](content), PurePath(name.stem)
    except _DAMAGED as error:
        raise InputError(f"expected to read {path}, got: {first_line(error)}") from error
    if len(members) != 1:
        raise InputError(f"expected one table in {path}, found {len(members)} files: extract one of them")
    if name.suffix in (".zip", *_DECOMPRESS):
        raise InputError(f"expected a table in {path}, found {name}, which is compressed again: extract it first")
    if name.suffix not in SUFFIXES:
        found = f"{path}" if path.suffix.lower() == name.suffix else f"{name} in {path}"
        raise InputError(f"expected a table that ends in {', '.join(SUFFIXES)}, got {found}: save it in such a format")
    return content, name.suffix


def _members(archive: bytes) -> list[tuple[bytes, PurePath]]:
    """Return the content and the name of each file in a zip archive; macOS adds files of its own."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        names = [name for name in files.namelist() if not name.endswith("/") and not name.startswith("__MACOSX")]
        return [(files.read(name), PurePath(name.lower())) for name in names]


def _parquet(content: bytes, where: str) -> pd.DataFrame:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise _missing_reader("pyarrow", where) from error
    try:
        frame: pd.DataFrame = pyarrow.parquet.read_table(io.BytesIO(content)).to_pandas(
            integer_object_nulls=True  # else a missing value makes floats of whole numbers
        )
    except Exception as error:  # of any kind: the file may contain anything
        raise InputError(f"expected a Parquet table in {where}, got: {first_line(error)}") from error
    return frame if frame.index.names == [None] else frame.reset_index()


def _excel_rows(content: bytes, where: str) -> list[list[Any]]:
    """Return the cells of the only sheet that has any, without the empty rows above and below."""
    try:
        import openpyxl
    except ImportError as error:
        raise _missing_reader("openpyxl", where) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they concern formatting
            book = openpyxl.load_workbook(io.BytesIO(content), data_only=True)
            sheets = {
                sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)] for sheet in book.worksheets
            }
    except Exception as error:  # of any kind: the file may contain anything
        raise InputError(f"expected an Excel file in {where}, got: {first_line(error)}") from error
    filled = {name: rows for name, rows in sheets.items() if any(map(_has_cell, rows))}
    if len(filled) != 1:
        listed = f": {', '.join(filled)}" if filled else ""
        raise InputError(f"expected one sheet with a table in {where}, found {len(filled)}{listed}: save one as CSV")
    rows = next(iter(filled.values()))
    first = next(i for i, row in enumerate(rows) if _has_cell(row))
    return rows[first:]


def _missing_reader(package: str, where: str) -> InputError:
    return InputError(f"expected the package {package}, which reads {where}, found none: pip install 'k3torch[tables]'")


def _has_cell(row: Sequence[Any]) -> bool:
    return any(cell is not None and str(cell).strip() for cell in row)


def _frames(
    rows: list[list[Any]], where: str, separator: str | None, decimal: str | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return a column for each name in the first row, with numbers where the cells are such texts, and as they are."""
    while rows and not _has_cell(rows[-1]):  # spreadsheets write empty rows below the table
        rows.pop()
    if not rows:
        raise InputError(f"expected a table in {where}, found no cells")
    names = ["" if name is None else str(name).strip() for name in rows[0]]
    # Rows that end in a separator, and cells with a format only, give columns without a name and without content.
    used = [i for i, name in enumerate(names) if name or any(_has_cell(row[i : i + 1]) for row in rows[1:])]
    names, body = [names[i] for i in used], [[row[i] for i in used] for row in rows[1:]]
    mark = decimal or table_text.decimal_mark(names, body, where, separator)
    columns = [pd.Series([_value(row[i], mark) for row in body], dtype=object) for i in range(len(names))]
    typed = [column.astype("float64") if _are_numbers(column) else column for column in columns]
    _check_header(names, [_are_numbers(column.iloc[:1]) for column in columns], where)
    frame = pd.DataFrame(dict(enumerate(typed))).set_axis(names, axis=1)
    return _checked_header(frame, where), pd.DataFrame(body, columns=names, dtype=object)


def _value(cell: Any, decimal: str) -> Any:
    if isinstance(cell, str):
        text = cell.strip()
        found = table_text.number(text, decimal)
        return (text or None) if found is None else found
    return float(cell) if isinstance(cell, int) and not isinstance(cell, bool) else cell


def _are_numbers(column: pd.Series) -> bool:
    present = column.dropna()
    return len(present) > 0 and all(isinstance(cell, float) for cell in present)


def _check_header(names: list[str], has_numbers: list[bool], where: str) -> None:
    """Refuse a first row that is a row of data: where the columns have numbers, it has numbers too, not all whole."""
    numbers = [table_text.any_number(name) for name in names]
    above = [value for value, numeric in zip(numbers, has_numbers, strict=True) if numeric]
    fraction = any(value is not None and value % 1 for value in above)
    if None not in numbers or (fraction and None not in above):
        raise InputError(
            f"expected the names of the columns in the first row of {where}, found numbers ({', '.join(names[:3])}): "
            "add a row with names above"
        )


def _checked_header(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the table with texts as names; refuse one without rows or names, or with a name twice."""
    names = [str(name) for name in frame.columns]
    if "" in names:
        raise InputError(
            f"expected a name for each column of {where}, found none for column {names.index('') + 1}: name it in the "
            "first row or delete it; pandas leaves row numbers out with to_csv(index=False)"
        )
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InputError(f"expected each name once in the header of {where}, found {twice[0]!r} twice: rename one")
    if len(frame) == 0 or len(names) < 2:
        raise InputError(f"expected rows of two columns or more in {where}, found a table of shape {frame.shape}")
    return frame.set_axis(names, axis=1)
