"""minimal_boston.py: one view of code, and the error that its help and the documentation name."""

import re

from tests.scripts.conftest import SCRIPTS


def test_it_is_short_and_shows_each_step():
    code = (SCRIPTS / "minimal_boston.py").read_text("utf-8")
    assert len(code.splitlines()) <= 60
    steps = [
        code.index(step)
        for step in (
            "load_data(",
            "array_loader(s",
            "FastSequential(",
            ".compile(",
            "model.fit(",
            ".evaluate(",
            ".predict(",
        )
    ]
    assert steps == sorted(steps)


def test_the_error_is_far_below_that_of_the_median(call):
    code, printed, _ = call("minimal_boston.py")
    assert code == 0
    error = float(re.search(r"^test: mean absolute error ([\d.]+) \(1000 USD\)$", printed, re.MULTILINE).group(1))
    assert 2.3 < error < 3.7  # the median of the training prices: 6.0
    predictions = re.findall(r"^predicted ([\d.]+), price ([\d.]+)$", printed, re.MULTILINE)
    assert [price for _, price in predictions] == ["7.2", "18.8", "19.0"]


def test_a_number_of_epochs_that_cannot_be_used(call):
    expected = "error: expected --epochs as a whole number of 1 or more, got 0\n"
    assert call("minimal_boston.py", "--epochs", "0") == (2, "", expected)
