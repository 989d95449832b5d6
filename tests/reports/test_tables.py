from k3torch.reports import tables


def test_floats_are_rounded_none_is_an_empty_cell_and_a_long_title_is_not_wrapped(capsys):
    title = "A title that is longer than the table below it"
    tables.show(title, ["name", "value", "other"], [("a", 0.123456, None), ("b", 7, "x")])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == title
    assert [line.split() for line in lines if line.strip()][-2:] == [["a", "0.1235"], ["b", "7", "x"]]
