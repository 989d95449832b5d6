"""Runs the README's Python snippets as they stand, and checks the links and targets that it names."""

from pathlib import Path
import re

import pytest
from tests import forked

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", README, re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def run(code, folder):
    """Run code on this tree in a process without Keras, whose backend the code alone determines."""
    here = f"import os, sys; os.chdir({str(folder)!r}); sys.path.insert(0, {str(ROOT / 'src')!r}); "
    code = f"{here}os.environ.pop('KERAS_BACKEND', None)\n{code}"
    return forked.run_code(code)


def same_output(printed, shown):
    """Compare word for word, and numbers to two units of the last digit shown: CPUs round sums differently."""

    def split(text):
        return NUMBER.sub("#", " ".join(text.split())), NUMBER.findall(text)

    (words, numbers), (shown_words, shown_numbers) = split(printed), split(shown)
    return words == shown_words and all(map(close, numbers, shown_numbers))


def close(number, shown):
    decimals = len(shown.partition(".")[2])
    return number == shown if decimals == 0 else abs(float(number) - float(shown)) < 2.5 * 10**-decimals


def test_every_python_snippet_has_its_output():
    assert len(SNIPPETS) == README.count("```python") == 2


@pytest.mark.parametrize(("code", "shown"), SNIPPETS, ids=["cross-validation", "sparse bags"])
def test_a_snippet_prints_what_the_readme_shows(code, shown, tmp_path):
    done = run(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert same_output(done.stdout, shown), done.stdout


@pytest.mark.parametrize(
    ("printed", "same"),
    [
        ("loss 0.684 (4, 20)", True),
        ("loss  0.686\n(4, 20)", True),
        ("loss 0.687 (4, 20)", False),
        ("loss 0.684 (4, 21)", False),
        ("mae 0.684 (4, 20)", False),
        ("loss 0.684 (4, 20) 1", False),
    ],
)
def test_numbers_may_differ_by_rounding_and_nothing_else_may(printed, same):
    assert same_output(printed, "loss 0.684\n(4, 20)\n") is same


def test_links_lead_to_files():
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert links
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


def test_the_table_names_every_make_target_and_no_other():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    rows = re.findall(r"^\| (`.*?) \|", README.partition("| target |")[2], re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert named == targets - {"help", "setup", "dist", "mutants"}
