"""Encodings, separators and decimal marks: exact cells, or one line that says what to pass."""

import csv

from k3torch.data import table_text
from k3torch.data.table_text import CsvReader, decimal_mark, decode, number, read_rows
from k3torch.errors import InputError
import pytest

GERMAN = "Größe;Stadt;Preis\n70,5;Tübingen;1000\n90;Würzburg;2000\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
def test_encodings_are_recognised(encoding):
    assert decode(GERMAN.encode(encoding), "a.csv") == GERMAN


@pytest.mark.parametrize(
    "text",
    [
        "a;b\n1;é\n",
        "Preis €;m²\n1;45°\n",
        "taille,ville\n1,Orléans\n2,Besançon\n",
        "a;b\n" + "MÜNCHEN;1\nKÖLN;2\n" * 50,
    ],
)
def test_windows_1252(text):
    assert decode(text.encode("cp1252"), "a.csv") == text


CYRILLIC = "город;цена\nМосква;1\nКазань;2\n"


@pytest.mark.parametrize(
    "content",
    [
        CYRILLIC.encode("cp1251"),
        CYRILLIC.encode("koi8-r"),
        bytes(range(1, 256)),
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
        b"\xff\xfea",
        b"a,b\n\0\0\0\x01\0\0\0\x02",
    ],
)
def test_other_encodings_and_binary_files_are_refused(content):
    with pytest.raises(
        InputError, match=r"Windows-1252 in a\.csv, found another encoding or a binary file: save it as CSV"
    ):
        decode(content, "a.csv")


@pytest.mark.parametrize(
    ("text", "rows", "separator"),
    [
        ("a,b\n1,2\n", [["a", "b"], ["1", "2"]], ","),
        ("a;b\n1,5;2,5\n", [["a", "b"], ["1,5", "2,5"]], ";"),
        ("a\tb\n1,5\t2;5\n", [["a", "b"], ["1,5", "2;5"]], "\t"),
        ("a|b\r\n\r\n 1 | x y\r\n", [["a", "b"], ["1", "x y"]], "|"),
        ('"a;b", "c"\n"x ""y""\nz",2\n', [["a;b", "c"], ['x "y"\nz', "2"]], ","),
        ("sep=;\na,b;c\n1,5;2\n", [["a,b", "c"], ["1,5", "2"]], ";"),
    ],
)
def test_separators_are_recognised(text, rows, separator):
    assert read_rows(text, "a.csv") == (rows, separator)


@pytest.mark.parametrize(
    ("separator", "text"), [("tab", "a b\tc\n1,2\t3\n"), ("\\t", "a b\tc\n1,2\t3\n"), (":", "a b:c\n1,2:3\n")]
)
def test_a_separator_is_passed(separator, text):
    assert read_rows(text, "a.csv", separator)[0] == [["a b", "c"], ["1,2", "3"]]


@pytest.mark.parametrize(
    ("text", "separator", "message"),
    [
        ("a,b;c\n1,5;2\n", None, "expected one separator in a.csv, found that comma and semicolon fit: pass --sep"),
        ("a b\n1 2\n", None, "expected two columns or more in a.csv, found one: separate them by a comma, a semicolon"),
        ("", None, "expected two columns or more in a.csv, found one"),
        ("a,b\n0,1,2\n1,3,4\n", None, "names in the header, 2, found 3 in line 2: name each column, the first too"),
        ("a,b,c\n0,1\n1,3\n", None, "as names in the header, 3, found 2 in line 2: name each column"),
        ("a,b\n0,1\n1,3,4,5\n", None, "as names in the header, 2, found 4 in line 3: quote a cell that contains"),
        ('a,b\n1,"2\n3,4\n', None, "expected quotes that close, .* before the end of line 3"),
        ("a,b\n1,2\n", "ab", "expected the separator as one character or tab, got 'ab'"),
        ("a,b\n1,2\n", '"', "expected the separator as one character or tab, got '\"'"),
    ],
)
def test_what_is_no_table_is_one_line(text, separator, message):
    with pytest.raises(InputError, match=message) as caught:
        read_rows(text, "a.csv", separator)
    assert "\n" not in str(caught.value)


def test_a_long_cell_is_a_cell(monkeypatch):
    limit = csv.field_size_limit()
    long = "x" * 200_000
    assert read_rows(f"a,b\n{long},1\n", "a.csv") == ([["a", "b"], [long, "1"]], ",")
    monkeypatch.setattr(table_text, "LONGEST", 9)
    with pytest.raises(InputError) as caught:
        read_rows(f"a,b\n1,2\n{long},1\n", "a.csv")
    assert str(caught.value) == (
        "expected cells of up to 9 characters in a.csv, found a longer one in line 3: shorten it, or close the quote "
        "before it"
    )
    assert csv.field_size_limit() == limit


def test_the_limit_of_the_csv_module_stays_as_it_is():
    limit = csv.field_size_limit()
    long = "x" * 200_000
    reader = CsvReader(["\n", f"{long},b\n", "\n", "c,d\n"], ",")
    assert next(reader) == [long, "b"]
    assert (csv.field_size_limit(), reader.line) == (limit, 2)
    assert list(reader) == [["c", "d"]]
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(
    ("cell", "point", "comma"),
    [
        ("1234", 1234.0, 1234.0),
        ("1.5", 1.5, None),
        ("1,5", None, 1.5),
        ("1,234", 1234.0, 1.234),
        ("1.234", 1.234, 1234.0),
        ("1,234,567.5", 1234567.5, None),
        ("1.234.567,5", None, 1234567.5),
        ("1 234", 1234.0, 1234.0),
        ("1\u00a0234,5", None, 1234.5),
        ("1'234.50", 1234.5, None),
        ("0,512", None, 0.512),
        (".5", 0.5, None),
        ("-2e-3", -0.002, -0.002),
        ("\u22122", -2.0, -2.0),
        ("inf", float("inf"), float("inf")),
        ("-Infinity", -float("inf"), -float("inf")),
        *(
            (text, None, None)
            for text in ("", "x", "1_000", "nan", "1,23,4", "1.2.3", "12-3", "0x1", "٣", "1 2", "45%")
        ),
    ],
)
def test_numbers_by_decimal_mark(cell, point, comma):
    assert (number(cell, "."), number(cell, ",")) == (point, comma)


@pytest.mark.parametrize(
    ("cells", "separator", "mark"),
    [
        (["1", "x"], ";", "."),
        (["1.5", "1,234"], ";", "."),
        (["1,5", "98.000"], ";", ","),
        (["98.000", "1.234,5"], ";", ","),
        (["98.000"], ",", "."),
    ],
)
def test_one_clear_cell_decides(cells, separator, mark):
    assert decimal_mark(["a"], [[cell] for cell in cells], "a.csv", separator) == mark


@pytest.mark.parametrize(
    ("cells", "separator", "message"),
    [
        (
            ["x", "98.000"],
            ";",
            r"found 98\.000 in data row 2, column 'a', which may have decimals or thousands: pass --d",
        ),
        (["1,234"], ",", "found 1,234 in data row 1, column 'a', which may have decimals or thousands"),
        (["1.234", "1,234"], ",", "found 1.234 in data row 1, column 'a' and 1,234 in data row 2, column 'a', which"),
        (["1,5", "1.5"], ";", "found 1.5 in data row 2, column 'a', and 1,5 in data row 1, column 'a': pass --decimal"),
    ],
)
def test_what_is_ambiguous_is_asked_for(cells, separator, message):
    with pytest.raises(InputError, match=message):
        decimal_mark(["a"], [[cell] for cell in cells], "a.csv", separator)
