"""minimal_imdb.py: one view of code, and a network that learns."""

import re

from tests.scripts.conftest import SCRIPTS


def test_it_is_short_and_shows_each_step():
    code = (SCRIPTS / "minimal_imdb.py").read_text("utf-8")
    assert len(code.splitlines()) <= 60
    steps = [
        code.index(step)
        for step in ("load_data(", "BagDataset(", "FastModel(", ".compile(", ".fit(", ".evaluate(", ".predict(")
    ]
    assert steps == sorted(steps)


def test_it_learns_which_word_tells_the_label(call, review_table):
    code, printed, _ = call("minimal_imdb.py", "--source", review_table)
    assert code == 0
    loss, accuracy = re.search(r"^test loss ([\d.]+), accuracy ([\d.]+)$", printed, re.MULTILINE).groups()
    assert float(loss) < 0.7
    assert float(accuracy) > 0.5
    lines = re.findall(r"^probability of (\w+) ([\d.]+), label (\w+)$", printed, re.MULTILINE)
    assert len(lines) == 3
    assert {name for name, _, _ in lines} < {"positive", "1", "pos"}
    assert all(0 <= float(probability) <= 1 for _, probability, _ in lines)


def test_a_source_that_does_not_exist(call, tmp_path):
    code, printed, errors = call("minimal_imdb.py", "--source", tmp_path / "none.csv")
    assert (code, printed) == (2, "")
    assert re.fullmatch(r"error: expected .*none\.csv.*\n", errors)
