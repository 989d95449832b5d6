"""The pages of docs: Python blocks print what is shown, commands and their options exist, links lead to files."""

import importlib.util
from pathlib import Path
import re
import shlex

from k3torch import __main__, cli
import pytest
from tests.docs.test_readme import same_output

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in [*PAGES, ROOT / "README.md"]}
MAKE_ONLY = {"help", "setup", "test", "check", "docs", "dist", "mutants"}
SNIPPETS = [
    pytest.param(code, shown, id=f"{name} {number}")
    for name in ("index.md", "faq.md")
    for number, (code, shown) in enumerate(
        re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", TEXTS[name], re.DOTALL), start=1
    )
]


def commands(text):
    """Return the commands in code: the name and the arguments of each ``make NAME ARGS="..."`` or ``k3torch NAME``."""
    code = [*re.findall(r"```sh\n(.*?)```", text, re.DOTALL), *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text)]
    found = []
    for line in (line.partition(" #")[0].strip() for block in code for line in block.splitlines()):
        if match := re.fullmatch(r"make ([a-z-]+)(?: ARGS=(.*))?", line):
            arguments = shlex.split(match.group(2) or "")
            found.append((match.group(1), shlex.split(arguments[0]) if arguments else []))
        elif match := re.fullmatch(r"(?:\.venv/bin/)?k3torch ([a-z][a-z-]+)((?: .*)?)", line):
            found.append((match.group(1), shlex.split(match.group(2))))
    return found


def test_every_python_block_has_its_output():
    assert len(SNIPPETS) == sum(TEXTS[name].count("```python") for name in ("index.md", "faq.md")) == 3
    others = {name for name, text in TEXTS.items() if "```python" in text}
    assert others == {"index.md", "faq.md", "README.md", "lecture.md", "export.md", "ladder.md"}  # tested elsewhere


@pytest.mark.parametrize(("code", "shown"), SNIPPETS)
def test_a_block_prints_what_the_page_shows(code, shown, capsys):
    exec(compile(code, "docs", "exec"), {})
    printed = capsys.readouterr().out
    assert same_output(printed, shown), printed


def options_of(name):
    """Return the options of a command, from the settings of its script."""
    path = cli.SCRIPTS / __main__.COMMANDS[name]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return {*cli._options(script.Settings), "--help"}


def test_commands_and_their_options_exist():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    used = [(page, name, arguments) for page, text in TEXTS.items() for name, arguments in commands(text)]
    assert len(used) >= 50
    assert [(page, name) for page, name, _ in used if name not in targets | set(__main__.COMMANDS)] == []
    given = {}
    for _, name, arguments in used:
        given.setdefault(name, set()).update(word.split("=")[0] for word in arguments if word.startswith("--"))
    unknown = {name: words - options_of(name) for name, words in given.items() if name not in MAKE_ONLY and words}
    assert {name: words for name, words in unknown.items() if words} == {}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("`make runs`", [("runs", [])]),
        ('`make compare ARGS="a b --plot c"`', [("compare", ["a", "b", "--plot", "c"])]),
        ("`make bench ARGS=--help`", [("bench", ["--help"])]),
        ('```sh\nk3torch predict-reviews RUN "two words"\n```', [("predict-reviews", ["RUN", "two words"])]),
        ("`k3torch NAME`, make sense, `make`", []),
    ],
)
def test_commands_are_found(text, found):
    assert commands(text) == found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(path):
    for link, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", TEXTS[path.name]):
        target = path.parent / link if link else path
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {slug(heading) for heading in headings}, f"{link}#{anchor}"


def slug(heading):
    """Return the anchor of a heading, as GitHub and MkDocs make it."""
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())
