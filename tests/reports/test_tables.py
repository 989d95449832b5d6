from k3torch.reports import tables


def test_floats_are_rounded_none_is_an_empty_cell_and_a_long_title_is_not_wrapped(capsys):
    title = "A title that is longer than the table below it"
    tables.show(title, ["name", "value", "other"], [("a", 0.123456, None), ("b", 7, "x")])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == title
    assert [line.split() for line in lines if line.strip()][-2:] == [["a", "0.1235"], ["b", "7", "x"]]


def test_large_numbers_have_all_their_digits():
    values = (0.00123456, 999.94, 1234.5, 258_123.4, -1e6, float("nan"), 1e20)
    assert [tables.number(v) for v in values] == ["0.001235", "999.9", "1,234", "258,123", "-1,000,000", "nan", "1e+20"]
