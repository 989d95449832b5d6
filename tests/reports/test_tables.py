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


def test_headings_are_wrapped_between_words_where_that_keeps_cells_whole(capsys, monkeypatch):
    columns, rows = ["run", "validation accuracy"], [("imdb-20261126-110401", 0.5)]
    widths = {width: [] for width in (46, 45, 37, 36)}
    for width, lines in widths.items():
        monkeypatch.setenv("COLUMNS", str(width))
        lines.append(tables.fits(columns, rows))
        tables.show("t", columns, rows)
        lines += [line.split() for line in capsys.readouterr().out.splitlines() if line.strip() and "─" not in line][1:]
    row = ["imdb-20261126-110401", "0.5"]
    assert widths == {
        46: [True, ["run", "validation", "accuracy"], row],
        45: [True, ["validation"], ["run", "accuracy"], row],
        37: [True, ["validation"], ["run", "accuracy"], row],
        36: [False, *widths[36][1:]],
    }


def test_brackets_are_no_styles(capsys):
    tables.show("[red]", ["[bold]name", "[/x]"], [("[green]", ":smile:")])
    assert capsys.readouterr().out.split() == ["[red]", "[bold]name", "[/x]", "─" * 22, "[green]", ":smile:"]


def test_control_characters_do_not_reach_the_terminal(capsys):
    """Names of folders may have them."""
    tables.show("a\x1b[31m", ["b\x07"], [("c\nd\x9b0m",)])
    said = capsys.readouterr().out
    assert said.split() == ["a\ufffd[31m", "b\ufffd", "─" * 8, "c\ufffdd\ufffd0m"]


def test_results_are_tables_and_lines_with_an_empty_line_before_a_table(capsys):
    one = tables.ResultTable("T", ["a"], [("b",)])
    tables.show_results(["first", "second", one, "last"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == ["first", "second", "", "T"]
    assert lines[-1] == "last"
    assert lines[-2].strip() == ""
