"""The notebooks: both files of a pair agree, nothing failed, every number of the text is asserted, exercises exist."""

import ast
import importlib.util
from pathlib import Path
import re
import time

from k3torch.exercises import exercise
import pytest

jupytext = pytest.importorskip("jupytext")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

FOLDER = Path(__file__).parents[2] / "docs/notebooks"
SECONDS = 300  # in which all of them run on two cores

spec = importlib.util.spec_from_file_location("execute_notebooks", FOLDER / "execute.py")
execute = importlib.util.module_from_spec(spec)
spec.loader.exec_module(execute)
TEXTS = execute.texts([])
NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?![\w.]*\w)")


def cells_of(text, kind=None):
    return [cell for cell in execute.notebook_of(text).cells if kind in (None, cell.cell_type)]


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def stored(text):
    return nbformat.read(text.with_suffix(".ipynb"), as_version=4)


def test_there_is_one_notebook_for_each_experiment():
    assert [text.name[:3] for text in TEXTS] == [f"e{number}_" for number in range(1, 8)]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_the_notebook_has_the_cells_of_its_text(text):
    def contents(notebook):
        return [(cell.id, cell.cell_type, cell.source) for cell in notebook.cells]

    notebook = stored(text)
    nbformat.validate(notebook)
    assert contents(notebook) == contents(execute.notebook_of(text)), f"make notebooks ARGS={text.stem}"


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_stored_outputs_are_complete_small_and_without_errors(text):
    notebook = stored(text)
    kinds = [output.output_type for output in outputs_of(notebook)]
    assert "error" not in kinds
    assert "stderr" not in [output.get("name") for output in outputs_of(notebook)]
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    plots = [output.data["image/png"] for output in outputs_of(notebook) if "image/png" in output.get("data", {})]
    assert len(plots) >= 2
    assert text.with_suffix(".ipynb").stat().st_size < 600_000


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_a_notebook_begins_with_its_name_a_badge_and_the_installation(text):
    first, second = execute.notebook_of(text).cells[:2]
    assert re.match(rf"# {text.name[:2].upper()}: \w", first.source)
    link = f"https://colab.research.google.com/github/k3torch/k3torch/blob/main/docs/notebooks/{text.stem}.ipynb"
    assert f"colab-badge.svg)]({link})" in first.source
    assert second.source == cells_of(TEXTS[0])[1].source  # the same in all
    assert '"k3torch[reviews,digits] @ git+https://github.com/k3torch/k3torch"' in second.source


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_a_notebook_shows_compile_and_fit_what_to_look_for_and_exercises(text):
    code = "\n".join(cell.source for cell in cells_of(text, "code"))
    prose = "\n".join(cell.source for cell in cells_of(text, "markdown"))
    name = text.name[:2].upper()
    if name != "E5":  # which trains no network
        assert ".compile(" in code
        assert ".fit(" in code
    assert "**What to look for.**" in prose
    assert len(re.findall("^## ", prose, re.MULTILINE)) >= 5
    names = re.findall(rf'exercise\("({name}\.\d)"\)', code)
    assert names == [f"{name}.{number}" for number in range(1, len(names) + 1)]
    assert len(names) in (2, 3)
    assert code.count(".check(...)") == len(names)
    assert all(exercise(one) for one in names)


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text.stem)
def test_every_number_of_the_text_is_in_the_code_or_asserted_within_a_range(text):
    code = "\n".join(cell.source for cell in cells_of(text, "code"))
    literals, ranges = numbers_of(ast.parse(code))
    missing = []
    for cell in cells_of(text, "markdown"):
        before_the_exercises = cell.source.partition("## Exercises")[0]
        if re.match(r"\*\*\d\.\*\*", cell.source):
            continue  # an exercise
        for number in numbers_in(before_the_exercises):
            known = {number, number / 100, abs(number)} & literals
            if not known and not any(low <= n <= high for low, high in ranges for n in (number, number / 100)):
                missing.append(number)
    assert not missing, missing


def numbers_in(markdown):
    """Return the numbers of prose, "10,000" and "99%" among them, without code, links, names and list numbers."""
    prose = re.sub(r"`[^`]*`|\]\([^)]*\)|\b[EL]\d\b|16-16-1", " ", markdown)
    return [float(found.rstrip(",").replace(",", "")) for found in NUMBER.findall(prose)]


def numbers_of(tree):
    """Return the numbers in code, and the ranges in which its assert statements expect a value."""
    literals, ranges = set(), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            literals.add(float(node.value))
        if isinstance(node, ast.Assert):
            ranges += [found for part in ast.walk(node.test) if (found := range_of(part))]
    return literals, ranges


def range_of(node):
    """Return (0.8, 0.9) of ``0.8 < x < 0.9``, and of ``x.between(0.8, 0.9)``; None for other code."""
    if isinstance(node, ast.Compare) and len(node.comparators) == 2:
        ends = node.left, node.comparators[1]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "between":
        ends = node.args
    else:
        return None
    return tuple(end.value for end in ends) if all(isinstance(end, ast.Constant) for end in ends) else None


def test_numbers_are_found():
    assert numbers_in("`7` E1: 10,000 of 99%, -2.62 [a](b/3) and 0.5.") == [10000, 99, -2.62, 0.5]
    tree = ast.parse("x = 3\nassert 0.1 < x < 0.2\nassert y.between(4, 5).all()\nassert x == 7")
    assert numbers_of(tree) == ({3, 0.1, 0.2, 4, 5, 7}, [(0.1, 0.2), (4, 5)])


@pytest.fixture
def failing(tmp_path):
    text = tmp_path / "e9_failing.py"
    header = TEXTS[0].read_text(encoding="utf-8").partition("# %%")[0]
    text.write_text(f"{header}# %%\nprint('before')\nraise ValueError('two\\nlines')\n", encoding="utf-8")
    return text


def test_a_notebook_that_fails_is_not_stored_and_is_named_in_one_line(failing):
    assert execute.store(failing) == "e9_failing.py: ValueError: two"
    assert not failing.with_suffix(".ipynb").exists()


def test_a_notebook_that_does_not_exist(capsys):
    assert execute.main(["e1", "f9"]) == 2
    assert capsys.readouterr().err == "error: expected notebooks such as e1 or e2_prices, got f9\n"
    assert execute.texts(["e1"]) == TEXTS[:1]


@pytest.mark.slow
def test_all_notebooks_run_in_time(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parents[1] / "src"))
    for text in TEXTS:
        (tmp_path / text.name).write_bytes(text.read_bytes())
    monkeypatch.setattr(execute, "FOLDER", tmp_path)
    started = time.monotonic()
    assert execute.main([]) == 0
    assert time.monotonic() - started < SECONDS
    assert sorted(tmp_path.glob("*.ipynb")) == [tmp_path / f"{text.stem}.ipynb" for text in TEXTS]
