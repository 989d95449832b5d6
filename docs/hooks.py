"""Hooks of MkDocs: pages of the API reference and of the notebooks, and links to files outside of this folder."""

import ast
import base64
from collections.abc import Iterator
import hashlib
from pathlib import Path
import re
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "src" / "k3torch"
NOTEBOOKS = DOCS / "notebooks"
REMOTE_IMAGE = re.compile(r"!\[([^\]]*)\]\(https?:[^)]*\)")  # a badge: its text is shown instead
WIDE = {"architecture.md", "benchmarks.md"}  # pages without a table of contents beside them
OUTSIDE = re.compile(r"\]\((\.\./[^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add what is found in the project to the navigation."""
    nav: list[Any] = config.nav or []
    if notebooks():
        nav.insert(2, {"Notebooks": ["notebooks/README.md", *(f"notebooks/{path.stem}.md" for path in notebooks())]})
    nav.append({"API reference": ["api/k3torch.md", *(f"api/{name}.md" for name in packages())]})
    config.nav = nav
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add pages that are made of docstrings and notebooks."""
    for name in ("", *packages()):
        uri = f"api/{name or 'k3torch'}.md"
        files.append(File.generated(config, uri, content=reference(name)))
    for path in notebooks():
        text, images = notebook_page(path)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in images.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Make room on wide pages, and turn links to files outside of docs into links to the repository.

    Such a link is ../scripts/train_imdb.py. One to a file that does not exist stays as it is, and the build refuses it.
    """
    if page.file.src_uri in WIDE:
        page.meta["hide"] = ["toc"]

    def link(match: re.Match[str]) -> str:
        path = (DOCS / page.file.src_uri).parent.joinpath(match.group(1)).resolve()
        outside = path.is_relative_to(ROOT) and not path.is_relative_to(DOCS) and path.exists()
        address = f"{config.extra['repository']}/blob/main/{path.relative_to(ROOT).as_posix()}" if outside else ""
        return f"]({address}" if outside else match.group()

    return OUTSIDE.sub(link, markdown)


def packages() -> list[str]:
    """Return the names of the subpackages, those that users need first."""
    order = ["data", "models", "training", "validation", "stack", "reports"]
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.pyi")}
    return [*(name for name in order if name in found), *sorted(found - set(order))]


def exported(package: str) -> tuple[dict[str, str], list[str]]:
    """Return the public names of a package with where they are from, and its modules, as in ``__init__.pyi``.

    "" is k3torch itself. A function with the name of its module is found under the package's own name.
    """
    stub = ast.parse((PACKAGE / package / "__init__.pyi").read_text(encoding="utf-8"))
    title = f"k3torch.{package}".rstrip(".")
    names: dict[str, str] = {}
    modules: list[str] = []
    for line in stub.body:
        if isinstance(line, ast.ImportFrom) and line.module:
            for alias in line.names:
                module = "" if alias.name == line.module else f"{line.module}."
                names[alias.asname or alias.name] = f"{title}.{module}{alias.name}"
        elif isinstance(line, ast.ImportFrom):
            modules += [alias.name for alias in line.names]
    return names, modules


def reference(package: str) -> str:
    """Return the page of a package: its public names, then what is public in each of its modules."""
    names, modules = exported(package)
    if not package:
        lines = ["# k3torch", "", "The names of `import k3torch`.", ""]
        return "\n".join([*lines, *(f"::: k3torch.{name}\n    options: {{heading_level: 2}}\n" for name in names)])
    title = f"k3torch.{package}"
    tree = ast.parse((PACKAGE / package / "__init__.py").read_text(encoding="utf-8"))
    lines = [f"# {title}", "", ast.get_docstring(tree) or "", ""]
    if names:
        links = ", ".join(f"[`{name}`][{target}]" for name, target in names.items())
        lines += [f"Names of `{title}`: {links}.", ""]
    alone = [target for target in names.values() if target.count(".") == 2]  # their modules are hidden by them
    for path in [*alone, *(f"{title}.{module}" for module in modules)]:
        lines += [f"::: {path}", "    options: {heading_level: 2, show_root_full_path: true}", ""]
    return "\n".join(lines)


def notebooks() -> list[Path]:
    """Return the notebooks in their order."""
    return sorted(NOTEBOOKS.glob("*.ipynb"))


def notebook_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook with its outputs as Markdown, and its images by file name."""
    import nbformat

    images: dict[str, bytes] = {}
    parts = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(REMOTE_IMAGE.sub(r"\1", cell.source))
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(f"```python\n{cell.source}\n```")
            parts += (shown for output in cell.outputs for shown in _outputs(output, images))
    parts.append(f"The notebook itself: [{path.name}]({path.name}).")
    return "\n\n".join(parts), images


def _outputs(output: Any, images: dict[str, bytes]) -> Iterator[str]:
    data = output.get("data", {})
    if "image/png" in data:
        content = base64.b64decode(data["image/png"])
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.png"
        images[name] = content
        yield f"![output]({name})"
    elif "text/html" in data:
        html = re.sub(r"\n\s*\n", "\n", "".join(data["text/html"]))  # an empty line would end the block
        yield f'<div class="notebook-output">{html}</div>'
    else:
        text = "".join(data.get("text/plain", output.get("text", "")))
        if text.strip():
            yield f"```text\n{text.rstrip()}\n```"
