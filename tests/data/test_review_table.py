"""Tables of reviews in the formats of users: exactly the rows that they contain, or exactly one line."""

import csv

from k3torch.data.review_labels import ReviewFormat
from k3torch.data.review_table import ReviewTable
from k3torch.errors import InputError
import pytest

STANDARD = "texts in column 'text', labels in 'label'"
LONG = "x" * 200_000
GOOD = {
    "plain.csv": (b"text,label\ngreat film,1\nbad film,0\n", STANDARD, [("great film", "1"), ("bad film", "0")]),
    "kaggle.csv": (
        b'review,sentiment\r\n"One of, the ""other"" reviewers.<br />Great",positive\r\nBad,negative\r\n',
        "texts in column 'review', labels in 'sentiment'",
        [('One of, the "other" reviewers.<br />Great', "positive"), ("Bad", "negative")],
    ),
    "excel.csv": (
        "\ufeffID;Review Text;Class\n1;caf\u00e9, good;Pos\n2;\"two\nlines\";Neg\n\n".encode(),
        "texts in column 'Review Text', labels in 'Class'",
        [("caf\u00e9, good", "Pos"), ("two\nlines", "Neg")],
    ),
    "unicode.txt": ("Text\tLabel\r\ncaf\u00e9\t1\r\nbad\t0\r\n".encode("utf-16"),
                    "texts in column 'Text', labels in 'Label'", [("caf\u00e9", "1"), ("bad", "0")]),
    "pandas.tsv": (
        b'\ttext\tlabel\n0\t"a\ttab"\t1.0\n1\tbad\t0.0\n', STANDARD, [("a\ttab", "1.0"), ("bad", "0.0")],
    ),
    "quotes.tsv": (  # quotes that quote nothing
        b'id\tsentiment\treview\n"1_8"\t1\t"With \\"The\\" film"\n"2_3"\t0\tBad "film\n',
        "texts in column 'review', labels in 'sentiment'",
        [('"With \\"The\\" film"', "1"), ('Bad "film', "0")],
    ),
    "others.csv": (  # text and label leave no doubt, whatever else there is
        b"rating,text,review,label,sentiment\n5,great,a,1,x\n1,bad,b,0,y\n", STANDARD, [("great", "1"), ("bad", "0")],
    ),
    "short.csv": (b"text,label,note\ngreat,1\nbad,0,x\n", STANDARD, [("great", "1"), ("bad", "0")]),
    "separators.csv": (
        b'"text;a,b";label;"x,y"\ngreat;1;\nbad;0;\n', None, [("great", "1"), ("bad", "0")],
    ),
    "long.csv": (f"text,label\n{LONG},1\nbad,0\n".encode(), STANDARD, [(LONG, "1"), ("bad", "0")]),
    "utf-32.csv": ("text,label\ngreat,1\nbad,0\n".encode("utf-32"), STANDARD, [("great", "1"), ("bad", "0")]),
    "blank.csv": (b"\n\ntext,label\n\ngreat,1\nbad,0\n", STANDARD, [("great", "1"), ("bad", "0")]),
    "old.csv": (b"text,label\rgreat,1\rbad,0\r", STANDARD, [("great", "1"), ("bad", "0")]),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_rows_of_the_formats_that_users_have(tmp_path, name):
    limit = csv.field_size_limit()
    content, description, rows = GOOD[name]
    (tmp_path / name).write_bytes(content)
    chosen = ReviewFormat("text;a,b", None) if name == "separators.csv" else ReviewFormat()
    table = ReviewTable(tmp_path / name, chosen)
    assert {part: list(found) for part, found in table.parts().items()} == {"all": rows}
    assert table.description == (description or "texts in column 'text;a,b', labels in 'label'")
    assert table.labels.names == ("negative", "positive")
    assert [table.labels.target(label) for _, label in rows] == [1, 0]
    assert csv.field_size_limit() == limit


NAMED = {
    "both": (("B", "C"), "a,B,C\nx,great,1\ny,bad,0\n"),
    "text": (("review", None), "review,text,label\ngreat,x,1\nbad,y,0\n"),
    "label": ((None, "stars"), "review,stars,sentiment\ngreat,1,x\nbad,0,y\n"),
    "swapped": (("label", "text"), "text,label\n1,great\n0,bad\n"),
    "spaces": (("my text", "my label"), " my text , my label\ngreat,1\nbad,0\n"),
}


@pytest.mark.parametrize("case", NAMED)
def test_columns_that_the_caller_names(tmp_path, case):
    columns, content = NAMED[case]
    (tmp_path / "a.csv").write_text(content)
    assert list(ReviewTable(tmp_path / "a.csv", ReviewFormat(*columns)).parts()["all"]) == [
        ("great", "1"),
        ("bad", "0"),
    ]


def test_rows_with_other_values_are_passed_over(tmp_path):
    (tmp_path / "a.csv").write_text("text,label,source\na,1,x\nb,9,y\nc,0,x\n")
    table = ReviewTable(tmp_path / "a.csv", ReviewFormat(), only={"source": "x"})
    assert list(table.parts()["all"]) == [("a", "1"), ("c", "0")]


NONE = "expected text_column to name one column, got none"
BAD = {
    "no names": (
        b"Great film,1\nBad,0\n",
        (),
        f"{NONE}; expected label_column to name one column, got none: the columns of {{path}} are 'Great film', '1'",
    ),
    "ambiguous": (
        b"text,review,sentiment\na,b,1\n",
        (),
        f"{NONE}: the columns of {{path}} are 'text', 'review', 'sentiment'",
    ),
    "two labels": (
        b"review,class,sentiment\na,b,1\n",
        (),
        "expected label_column to name one column, got none: the columns of {path} are 'review', 'class', 'sentiment'",
    ),
    "twice": (
        b"text,label,label\na,1,1\n",
        (),
        "expected label_column to name one column, got none: the columns of {path} are 'text', 'label', 'label'",
    ),
    "typing error": (
        b"text,stars\na,1\n",
        (None, "star"),
        "expected label_column to name one column, got 'star', "
        "did you mean 'stars'?: the columns of {path} are 'text', 'stars'",
    ),
    "the same": (
        b"text,label\na,1\n",
        ("text", "text"),
        "expected two columns, got 'text' as text_column and as label_column",
    ),
    "empty": (b"", (), f"{NONE}; expected label_column to name one column, got none: the columns of {{path}} are none"),
    "no rows": (b"text,label\n", (), "expected rows with a label in column 'label' of {path}, found none"),
    "no labels": (b"text,label\na,\nb, \n", (), "expected rows with a label in column 'label' of {path}, found none"),
    "stars": (
        b"review;rating\na;5\nb;1\nc;3\n",
        (),
        "expected labels as two of those in column 'rating' of {path}, "
        "the negative one first, got none: it has '1', '3', '5'",
    ),
    "latin": (
        b"text,label\ncaf\xe9,1\n",
        (),
        "expected a table in UTF-8 at {path}, got other bytes: save it in UTF-8 (in Excel as CSV UTF-8)",
    ),
    "half utf-16": (
        "text,label\na,1".encode("utf-16")[:-1],
        (),
        "expected a table in UTF-8 at {path}, got other bytes: save it in UTF-8 (in Excel as CSV UTF-8)",
    ),
    "open quote": (
        b'text,label\n"never closed,1\n',
        (),
        "expected cells separated by commas in {path}, got a row with: unexpected end of data",
    ),
    "comma": (
        b"text;label\na;b;1\n",
        (),
        "expected 2 cells in row 1 of {path}, found 3: quote texts that contain a semicolon or a line break",
    ),
    "line break": (
        b"text\tlabel\na\t1\nb\nc\t0\n",
        (),
        "expected 2 cells in row 2 of {path}, found 1: quote texts that contain a tab or a line break",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_other_files_are_refused_in_one_line(tmp_path, case):
    content, columns, message = BAD[case]
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(InputError) as error:
        ReviewTable(tmp_path / "a.csv", ReviewFormat(*columns))
    assert str(error.value) == message.format(path=tmp_path / "a.csv")
