"""Runs the snippet of docs/lecture.md and compares what it prints."""

from pathlib import Path
import re

LECTURE = (Path(__file__).parents[2] / "docs" / "lecture.md").read_text(encoding="utf-8")


def test_the_snippet_prints_what_the_text_shows(capsys):
    ((code, shown),) = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", LECTURE, re.DOTALL)
    exec(compile(code, "docs/lecture.md", "exec"), {})
    assert capsys.readouterr().out == shown
