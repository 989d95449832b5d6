"""Runs the snippets of docs/export.md: texts to an ONNX model without k3torch, and the search of scikit-learn."""

from pathlib import Path
import re
import runpy

from k3torch.data.text import Vocabulary
from k3torch.models.builders import imdb_classifier
from k3torch.serving.export import export_run
from k3torch.serving.formats import FORMATS, missing
import numpy as np
import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
ONNX, RUNTIMES, SEARCH = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def test_the_lines_encode_texts_as_k3torch_does(tmp_path, monkeypatch):
    (tmp_path / "code.py").write_text(ONNX.split("session =")[0].replace("import onnxruntime\n", ""))
    vocabulary = Vocabulary(("a", "film", "wonderful", "isn't", "élan"))
    vocabulary.save(tmp_path / "vocabulary.json", 9, ("negative", "positive"))
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(tmp_path / "code.py"))
    from k3torch.data.text import tokenize

    for text in ("A wonderful film.", "Isn\u2019t it<br />ÉLAN_a? 7", "", "a_b 'film'"):
        assert names["encode"](text) == vocabulary.encode(tokenize(text)).tolist()
    np.testing.assert_array_equal(names["padded"](["a film", "b"]), [[1, 4, 5], [1, 2, 0]])


@pytest.mark.slow
def test_the_onnx_lines_predict(tmp_path, monkeypatch):
    if missing((*FORMATS["onnx"].needs, *FORMATS["onnx"].runtime)):
        pytest.skip("no ONNX")
    Vocabulary(("wonderful", "dull")).save(tmp_path / "vocabulary.json", 6, ("negative", "positive"))
    model = imdb_classifier(6, units=())
    model.set_weights([np.array([[0.0, 0, 0, 0, 2, -2]]).T, np.zeros(1)])
    model.save(tmp_path / "model.keras")
    export_run(tmp_path, "onnx")
    monkeypatch.chdir(tmp_path / "export-onnx")
    (tmp_path / "code.py").write_text(ONNX)
    found = runpy.run_path(str(tmp_path / "code.py"))["probabilities"]
    np.testing.assert_allclose(found[:, 0], 1 / (1 + np.exp([-2, 2])), rtol=1e-5)


@pytest.mark.slow
def test_the_search_runs(tmp_path, capsys):
    (tmp_path / "code.py").write_text(SEARCH)
    runpy.run_path(str(tmp_path / "code.py"))
    error = float(capsys.readouterr().out.split()[-1])
    assert 40 < error < 55


def test_the_table_has_all_formats():
    for name, kind in FORMATS.items():
        assert re.search(rf"^\| `{name}` \| `{re.escape(kind.file)}`", TEXT, re.MULTILINE)
        assert not RUNTIMES or kind.file in TEXT
