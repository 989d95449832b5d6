"""Files of all formats as exact tables, and one line for each kind of wrong file."""

import builtins
import bz2
import contextlib
import datetime
import gzip
import io
import lzma
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data.table_files import read_frame, read_frame_and_cells
from k3torch.errors import InputError
import pandas as pd
import pytest

TEXT = "size,town,price\n1.5,Ulm,10\n2,,20\n"
CELLS = {"size": [1.5, 2.0], "town": ["Ulm", None], "price": [10.0, 20.0]}


def write(tmp_path, content, name="table.csv"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(frame):
    return {name: [None if pd.isna(cell) else cell for cell in frame[name]] for name in frame.columns}


def zipped_bytes(name, content):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(name, content)
    return archive.getvalue()


def zipped(**contents):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in contents.items():
            archive.writestr(f"{name}.csv", content)
    return target.getvalue()


def refused(path, message, **options):
    with pytest.raises(InputError, match=message) as caught:
        read_frame(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", TEXT),
        ("a.CSV", TEXT),
        ("a.txt", TEXT.replace(",", "|")),
        ("a.tsv", TEXT.replace(",", "\t").encode("utf-16")),
        ("a.csv", b"\xef\xbb\xbf" + TEXT.replace(",", ";").replace(".", ",").encode()),
        ("a.csv", "size,town,price,\n1.5,Ulm,10,\n2,,20,\n,,,\n"),  # as spreadsheets write it
        ("a.csv.gz", gzip.compress(TEXT.encode())),
        ("a.csv.bz2", bz2.compress(TEXT.encode())),
        ("a.csv.xz", lzma.compress(TEXT.encode())),
        ("a.zip", zipped(a=TEXT)),
    ],
)
def test_formats(tmp_path, name, content):
    frame = read_frame(write(tmp_path, content, name))
    assert cells(frame) == CELLS
    assert [str(dtype) for dtype in frame.dtypes] == ["float64", "object", "float64"]


def test_thousands_separators_and_a_passed_decimal_mark(tmp_path):
    path = write(tmp_path, "size;price\n1;98.000\n2;412.000\n")
    refused(path, "98.000 in data row 1, column 'price', which may have decimals or thousands: pass --decimal")
    assert read_frame(path, decimal=",")["price"].tolist() == [98000, 412000]
    assert read_frame(path, decimal=".")["price"].tolist() == [98, 412]


def test_cells_are_kept_as_the_file_has_them(tmp_path):
    path = write(tmp_path, "code;n;id;empty;;size\n00123;3;12345678901234567;;;1,50\n 7;4; NA;;;2\n;;;;;\n")
    frame, raw = read_frame_and_cells(path)
    assert frame["code"].tolist() == [123, 7]
    assert cells(raw) == {
        "code": ["00123", "7"], "n": ["3", "4"], "id": ["12345678901234567", "NA"], "empty": ["", ""],
        "size": ["1,50", "2"],
    }  # fmt: skip
    assert raw.to_csv(index=False) == ('code,n,id,empty,size\n00123,3,12345678901234567,,"1,50"\n7,4,NA,,2\n')


def test_cells_of_excel_and_parquet_keep_whole_numbers(tmp_path):
    pytest.importorskip("openpyxl")
    pyarrow = pytest.importorskip("pyarrow")
    rows = [["code", "n", "ok"], ["00123", 3, True], ["7", None, False]]
    frame, raw = read_frame_and_cells(workbook(tmp_path / "a.xlsx", first=rows))
    assert frame["code"].tolist() == [123, 7]
    assert raw.to_csv(index=False) == "code,n,ok\n00123,3,True\n7,,False\n"
    table = pyarrow.table({"code": ["00123", "7"], "n": [12345678901234567, None]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    frame, raw = read_frame_and_cells(tmp_path / "a.parquet")
    assert frame is raw
    assert raw.to_csv(index=False) == "code,n\n00123,12345678901234567\n7,\n"


def test_a_tab_is_the_separator_of_tsv(tmp_path):
    text = "a,b\tc\n1,5\t2\n"
    refused(write(tmp_path, text), "comma and tab fit")
    assert read_frame(write(tmp_path, text, "a.tsv")).columns.tolist() == ["a,b", "c"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"^expected a table in .*table\.csv, found an empty file$"),
        ("\n \n", "found one"),
        ("a,b\n", r"expected rows of two columns or more in .* shape \(0, 2\)$"),
        (",\n,\n", "found no cells"),
        ("1,2\n3,4\n", r"the first row of .*, found numbers \(1, 2\): add a row with names above$"),
        ("1,5;2\n3;4\n", r"found numbers \(1,5, 2\)"),
        ("5.1,3.5,setosa\n4.9,3,setosa\n", r"found numbers \(5\.1, 3\.5, setosa\)"),
        (",a,b\n0,1,2\n1,3,4\n", r"found none for column 1: name it .* to_csv\(index=False\)$"),
        ("a,b,a\n1,2,3\n", "expected each name once in the header of .*, found 'a' twice: rename one$"),
        ("a,b\n0,1,2\n1,3,4\n", "names in the header, 2, found 3 in line 2: name each column, the first too"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "another encoding or a binary file: save it as CSV in UTF-8$"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, content, message):
    refused(write(tmp_path, content), message)


def test_years_are_names(tmp_path):
    assert read_frame(write(tmp_path, "town,2019,2020\nUlm,1,2\n")).columns.tolist() == ["town", "2019", "2020"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv.gz", gzip.compress(TEXT.encode())[:-6], "expected to read .*gz, got: Compressed file ended before"),
        ("a.csv.gz", TEXT, "expected to read .*gz, got: Not a gzipped file"),
        ("a.csv.gz", gzip.compress(TEXT.encode())[:14] + b"xxxxxxxxxxxxxx", "expected to read .*gz, got: "),
        ("a.csv.bz2", TEXT, "expected to read .*bz2, got: "),
        ("a.csv.xz", TEXT, "expected to read .*xz, got: "),
        ("a.zip", zipped(a=TEXT)[:-30], "expected to read .*zip, got: File is not a zip file"),
        ("a.zip", zipped(a=TEXT, b=TEXT), "expected one table in .*zip, found 2 files: extract one of them$"),
        ("a.zip", zipped(), "expected one table in .*zip, found 0 files"),
        (
            "a.zip",
            zipped_bytes("b.zip", zipped(a=TEXT)),
            r"expected a table in .*a\.zip, found b\.zip, which is compressed again: extract it first$",
        ),
        (
            "a.zip",
            zipped_bytes("b.csv.gz", gzip.compress(TEXT.encode())),
            r"expected a table in .*a\.zip, found b\.csv\.gz, which is compressed again: extract it first$",
        ),
        (
            "a.zip.gz",
            gzip.compress(zipped(a=TEXT)),
            r"expected a table in .*a\.zip\.gz, found a\.zip, which is compressed again: extract it first$",
        ),
        ("a.csv.gz.xz", lzma.compress(gzip.compress(TEXT.encode())), r"found a\.csv\.gz, which is compressed again"),
        (
            "a.zip",
            zipped_bytes("b.json", b"{}"),
            r"that ends in .*, got b\.json in .*a\.zip: save it in such a format$",
        ),
        ("a.xlsx", b"PK\3\4", "expected an Excel file in .*xlsx, got: File is not a zip file"),
        ("a.xlsx", zipped(a=TEXT), "expected an Excel file in .*xlsx, got: "),
        ("a.parquet", TEXT, "expected a Parquet table in .*parquet, got: "),
        ("a.json", "{}", r"that ends in \.csv, \.tsv, \.txt, \.xlsx, \.parquet, got .*json: save it in such a format$"),
        ("a.json.gz", gzip.compress(b"{}"), r"that ends in .*, got a\.json in .*a\.json\.gz: save it"),
    ],
)
def test_damaged_and_other_files_are_one_line(tmp_path, name, content, message):
    if name.endswith(("xlsx", "parquet")):
        pytest.importorskip({"xlsx": "openpyxl", "parquet": "pyarrow"}[name.partition(".")[2]])
    refused(write(tmp_path, content, name), message)


def test_folders_and_missing_files_are_one_line(tmp_path):
    refused(tmp_path, "expected the path of a table .*, found a folder at")
    refused(tmp_path / "a.csv", r"found no file at .*a\.csv$")
    refused(tmp_path / "a.csv", "expected decimal as one of None, '.', ',', got 'x'", decimal="x")


def workbook(path, **sheets):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_excel(tmp_path):
    day = datetime.datetime(2020, 1, 31)
    rows = [[], ["size", "ok", "day", "town"], [1, True, day, " Ulm"], ["2.5", False, None, None], [None] * 4]
    frame = read_frame(workbook(tmp_path / "a.xlsx", first=rows, empty=[]))
    assert cells(frame) == {"size": [1.0, 2.5], "ok": [True, False], "day": [day, None], "town": ["Ulm", None]}


def test_several_sheets_with_data_are_one_line(tmp_path):
    path = workbook(tmp_path / "a.xlsx", first=[["a", "b"], [1, 2]], second=[["c", "d"], [1, 2]])
    refused(path, "expected one sheet with a table in .*, found 2: first, second: save one as CSV$")
    refused(workbook(tmp_path / "b.xlsx", first=[]), r"one sheet with a table in .*, found 0: save one as CSV$")


def test_parquet_keeps_types_and_named_indices(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"a": [1, 2], "ok": [True, False], "code": ["01", "1,5"]})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.set_index("code").to_parquet(tmp_path / "b.parquet")
    assert cells(read_frame(tmp_path / "a.parquet")) == {"a": [1, 2], "ok": [True, False], "code": ["01", "1,5"]}
    assert read_frame(tmp_path / "b.parquet").columns.tolist() == ["code", "a", "ok"]


@pytest.mark.parametrize(("name", "package"), [("a.xlsx", "openpyxl"), ("a.parquet", "pyarrow")])
def test_a_missing_reader_is_named(tmp_path, monkeypatch, name, package):
    original = builtins.__import__

    def without(module, *rest):
        if module.partition(".")[0] == package:
            raise ImportError(module)
        return original(module, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(
        write(tmp_path, "x", name), rf"expected the package {package}, .*, found none: pip install 'k3torch\[tables\]'$"
    )


NAMES = st.text("abcdefghäöü ", min_size=1, max_size=8).map(lambda text: f"n{text}".strip())
WORDS = st.text("abcdefghijkäöüß ;,|", min_size=1, max_size=12).map(lambda text: f"w{text}".strip())
NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 2))


@st.composite
def frames(draw):
    names = draw(st.lists(NAMES, min_size=2, max_size=5, unique=True))
    rows = draw(st.integers(1, 6))
    kinds = [draw(st.sampled_from([NUMBERS, WORDS])) for _ in names]
    return {name: draw(st.lists(kind, min_size=rows, max_size=rows)) for name, kind in zip(names, kinds, strict=True)}


@settings(max_examples=150, deadline=None)
@given(
    frames(),
    st.sampled_from(";\t|"),
    st.sampled_from(".,"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
def test_a_written_frame_reads_back_equal(tmp_path_factory, frame, separator, decimal, encoding):
    path = tmp_path_factory.mktemp("frames") / "a.csv"
    pd.DataFrame(frame).to_csv(path, sep=separator, decimal=decimal, encoding=encoding, index=False)
    # Random letters in Windows-1252 may look like another encoding, which is refused.
    with contextlib.suppress(InputError) if encoding == "cp1252" else contextlib.nullcontext():
        found = read_frame(path, separator=separator, decimal=decimal)
        assert {name: found[name].tolist() for name in found.columns} == frame
    with contextlib.suppress(InputError):  # where another setting fits too; it must never be taken for this one
        recognised = read_frame(path)
        assert {name: recognised[name].tolist() for name in recognised.columns} == frame
