from k3torch.reports import tables


def test_floats_are_rounded_none_is_an_empty_cell_and_a_long_title_is_not_wrapped(capsys):
    title = "A title that is longer than the table below it"
    tables.show(title, ["name", "value", "other"], [("a", 0.123456, None), ("b", 7, "x")])
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == title
    assert [line.split() for line in lines if line.strip()][-2:] == [["a", "0.1235"], ["b", "7", "x"]]


def test_a_table_wider_than_the_terminal_is_wrapped_and_no_text_is_cut(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    tables.show("t", ["run", "status"], [("imdb-20261126-110401-second", "interrupted"), ("b", "x" * 30)])
    said = capsys.readouterr().out
    assert "…" not in said
    assert sum(line.count("x") for line in said.splitlines()) == 30


def test_results_are_tables_and_lines_with_an_empty_line_before_a_table(capsys):
    one = tables.ResultTable("T", ["a"], [("b",)])
    tables.show_results(["first", "second", one, "last"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["first", "second", "", "T"]
    assert lines[-1] == "last"
    assert lines[-2].strip() == ""
