"""Execute the notebooks of this folder and store their outputs.

    make notebooks
    make notebooks ARGS="e1 e6"

A notebook is a pair of files: the text, e1_reviews.py, is what you edit, and e1_reviews.ipynb is made from it, with the
outputs of a fresh run. Two notebooks run at a time. One that fails leaves its .ipynb as it was.
"""

from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import sys
import time

import jupytext
from k3torch.errors import first_line
from k3torch.files import atomic_path
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
import nbformat
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent
SECONDS = 300  # for one cell


def texts(prefixes: list[str]) -> list[Path]:
    """Return the texts of the notebooks whose names begin with one of the prefixes; without prefixes, all."""
    return [path for path in sorted(FOLDER.glob("e[0-9]*.py")) if path.name.startswith(tuple(prefixes or [""]))]


def notebook_of(text: Path) -> NotebookNode:
    """Return the notebook of a text, without outputs. The same text gives the same notebook."""
    notebook: NotebookNode = jupytext.read(text)
    notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"], "jupytext": notebook.metadata["jupytext"]}
    for number, cell in enumerate(notebook.cells, start=1):
        cell["id"] = f"cell-{number}"  # jupytext draws ids at random
    return notebook


def execute(text: Path) -> NotebookNode:
    """Return the notebook of a text with the outputs of a fresh kernel.

    Raises:
        CellExecutionError: if a cell raises.
    """
    notebook = notebook_of(text)
    resources = {"metadata": {"path": str(FOLDER)}}
    quiet = ["--log-level=ERROR"]  # or the kernel warns of its own connection to this process
    client = NotebookClient(
        notebook,
        timeout=SECONDS,
        resources=resources,
        extra_arguments=quiet,
        record_timing=False,
        coalesce_streams=True,
    )
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1"})  # one core for each of the two
    notebook.metadata.pop("language_info", None)  # the version of this machine's Python
    return notebook


def store(text: Path) -> str | None:
    """Execute a notebook and write it; return what went wrong, in one line, or None."""
    started = time.monotonic()
    try:
        notebook = execute(text)
    except CellExecutionError as error:
        return f"{text.name}: {error.ename}: {first_line(ValueError(error.evalue))}"
    except (CellTimeoutError, DeadKernelError) as error:
        return f"{text.name}: {first_line(error)}"
    with atomic_path(text.with_suffix(".ipynb")) as draft:
        nbformat.write(notebook, draft)
    print(f"{text.stem}: {time.monotonic() - started:.0f} s", flush=True)
    return None


def main(prefixes: list[str]) -> int:
    """Execute the notebooks, two at a time; return the exit code."""
    unknown = [prefix for prefix in prefixes if not texts([prefix])]
    if unknown:
        print(f"error: expected notebooks such as e1 or e2_prices, got {' '.join(unknown)}", file=sys.stderr)
        return 2
    with ThreadPoolExecutor(2) as pool:
        problems = [problem for problem in pool.map(store, texts(prefixes)) if problem]
    print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
