"""The site of make docs: it is built without a warning, loads nothing from elsewhere, and has every public name."""

import base64
import importlib.util
import os
from pathlib import Path
import re
import subprocess
import sys

import k3torch
import pytest

pytest.importorskip("mkdocs")
pytest.importorskip("material")
pytest.importorskip("mkdocstrings")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[2]
SPEC = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
hooks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)
SUBPACKAGES = [path.parent.name for path in hooks.PACKAGE.glob("*/__init__.pyi")]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


def test_every_public_name_is_in_the_reference(site):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (site / "api").glob("*.html")}
    assert set(pages) == {"k3torch", *SUBPACKAGES}
    for name in set(k3torch.__all__) - set(SUBPACKAGES):
        assert f'id="k3torch.{name}"' in pages["k3torch"]
    for package in SUBPACKAGES:
        names, modules = hooks.exported(package)
        missing = [name for name in [*names.values(), *(f"k3torch.{package}.{m}" for m in modules)]
                   if f'id="{name}"' not in pages[package]]  # fmt: skip
        assert not missing, ", ".join(missing)


def test_the_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|img|iframe)[^>]*src=\"?(?:https?:)?//[^>]*>", text) == [], path
        assert re.findall(r"<link[^>]*href=\"?(?:https?:)?//[^>]*>", text) == [], path


def test_a_link_to_a_script_leads_to_the_repository(site):
    text = (site / "lecture.html").read_text(encoding="utf-8")
    assert re.search(r"href=\"?https://github.com/k3torch/k3torch/blob/main/scripts/train_imdb.py", text)


def test_a_notebook_is_a_page_with_its_outputs(tmp_path):
    output = nbformat.v4.new_output
    cells = [
        nbformat.v4.new_markdown_cell("# Title\n\n[![Open](https://a.b/c.svg)](https://a.b)"),
        nbformat.v4.new_code_cell(
            "1 + 1",
            outputs=[
                output("stream", text="printed\n"),
                output("execute_result", data={"text/plain": "2"}),
                output("display_data", data={"image/png": base64.b64encode(b"plot").decode(), "text/plain": "Figure"}),
                output("display_data", data={"text/html": "<table>\n\n<tr></tr></table>", "text/plain": "table"}),
                output("stream", text=" \n"),
            ],
        ),
        nbformat.v4.new_code_cell(""),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "e1.ipynb")
    text, images = hooks.notebook_page(tmp_path / "e1.ipynb")
    ((name, content),) = images.items()
    assert content == b"plot"
    assert text.split("\n\n") == [
        "# Title",
        "[Open](https://a.b)",
        "```python\n1 + 1\n```",
        "```text\nprinted\n```",
        "```text\n2\n```",
        f"![output]({name})",
        '<div class="notebook-output"><table>\n<tr></tr></table></div>',
        "The notebook itself: [e1.ipynb](e1.ipynb).",
    ]


def test_the_navigation_has_notebooks_where_there_are_some(tmp_path, monkeypatch):
    class Config:
        nav = None

    monkeypatch.setattr(hooks, "NOTEBOOKS", tmp_path)
    for names in ([], ["e1.ipynb", "e2.ipynb"]):
        for name in names:
            (tmp_path / name).touch()
        config = Config()
        config.nav = ["a", "b", "c"]
        nav = hooks.on_config(config).nav
        notebooks = [entry["Notebooks"] for entry in nav if "Notebooks" in entry and isinstance(entry, dict)]
        assert notebooks == ([["notebooks/README.md", "notebooks/e1.md", "notebooks/e2.md"]] if names else [])
        assert "API reference" in nav[-1]
