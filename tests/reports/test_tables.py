from k3torch.reports import tables


def test_figures_are_shortened_and_none_is_empty(capsys):
    tables.show("Title", ["name", "value", "other"], [("a", 0.123456, None), ("b", 7, "x")])
    said = capsys.readouterr().out
    assert "Title" in said
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in said.splitlines() if "│" in line]
    assert cells == [["a", "0.1235", ""], ["b", "7", "x"]]
