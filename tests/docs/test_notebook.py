"""What a user of a notebook sees: the README's cross-validation as a table, with one progress bar and no clutter."""

from pathlib import Path
import re

import pytest

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SNIPPET = re.search(
    r"```python\n(.*?cross_validate.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The outputs of four cells: the README's snippet, ``result``, a bad argument, and a plot after k3torch's own."""
    path = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
    wrong = "folds = 1\nk3torch.cross_validate(build_model, x, y, folds=folds)"
    plot = "from k3torch.reports import plots\nimport matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
    sources = [path + SNIPPET.group(1), "result", wrong, plot]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    notebook.cells[2].metadata["tags"] = ["raises-exception"]
    folder = tmp_path_factory.mktemp("notebook")
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return [cell.outputs for cell in notebook.cells]


def test_the_result_is_a_table_of_the_scores(cells):
    (output,) = cells[1]
    html, text = output.data["text/html"], output.data["text/plain"]
    scores = re.findall(r"<td>([\d.]+)</td>", html)
    assert len(scores) == 5  # four folds and their mean
    assert float(scores[4]) == pytest.approx(sum(map(float, scores[:4])) / 4, abs=2e-3)
    assert text.startswith("CrossValidation: 4 folds, 1 repeat, 20 epochs")
    assert len(text.splitlines()) <= 10


def test_training_leaves_one_bar_in_its_last_state_and_the_printed_lines(cells):
    bars = [output for output in cells[0] if output.output_type == "display_data"]
    printed = [output for output in cells[0] if output.output_type == "stream"]
    assert len(bars) == 1
    assert "20/20" in bars[0].data["text/plain"]
    assert {output.name for output in printed} == {"stdout"}
    assert "mae: mean 2.4" in "".join(output.text for output in printed)


def test_a_bad_argument_is_one_line_and_the_line_of_the_cell(cells):
    (output,) = cells[2]
    assert output.ename == "InputError"
    message, called = output.traceback
    assert re.fullmatch(r"InputError: expected .*folds.*1.*", message)
    assert called == "  line 2: k3torch.cross_validate(build_model, x, y, folds=folds)"


def test_plots_are_shown_after_k3torch_has_loaded_its_own(cells):
    assert [output for output in cells[3] if "image/png" in output.get("data", {})]
