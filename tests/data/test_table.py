"""A CSV file as arrays: numbers unchanged, text one-hot, and one line for each kind of wrong file."""

from k3torch.data.table import read_table
from k3torch.errors import InputError
import pytest


def _file(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    return path


def test_numbers_are_unchanged_and_text_is_one_hot(tmp_path):
    x, y, names = read_table(_file(tmp_path, "size,town,price\n1.5,b,10\n2,a,20\n3,b,30\n"), "price")
    assert names == ["size", "town_a", "town_b"]
    assert x.tolist() == [[1.5, 0, 1], [2, 1, 0], [3, 0, 1]]
    assert y.tolist() == [10, 20, 30]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a CSV file with a header, cannot read"),
        ("size,price\n", r"expected samples of two columns or more .* shape \(0, 2\)"),
        ("price\n1\n2\n", r"expected samples of two columns or more .* shape \(2, 1\)"),
        ("size,prize\n1,2\n", "did you mean 'prize'"),
        ("size,b\n1,2\n", "expected a column 'price' in .*, found none: it has size, b"),
        ("size,price\n1,2\n,3\n", "found none in data row 2, column 'size': fill in the value or delete the row"),
        ("size,town,price\n1,a,2\n2,,3\n", "found none in data row 2, column 'town'"),
        ("size,price\n1,2\n2,inf\n", "found inf in data row 2, column 'price'"),
        ("size,price\n1,-1e300\n2,3\n", r"numbers up to 3e\+38, found -1e\+300 in data row 1, column 'price'"),
        ("size,price\n1,2\n2,dear\n", "expected numbers in column 'price' .* found 'dear' in data row 2$"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        read_table(_file(tmp_path, text), "price")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*nothing\.csv .*No such file"):
        read_table(tmp_path / "nothing.csv", "price")
