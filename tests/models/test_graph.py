"""The plot of a model's graph, and the summary that needs no Graphviz."""

import shutil

from k3torch.errors import InputError
from k3torch.models import graph
from k3torch.models.builders import boston_regressor
import pytest


def test_summary_names_layers_shapes_and_parameters():
    lines = []
    boston_regressor().summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "Dense" in text
    assert "Total params: 5,121" in text  # 14 * 64 + 65 * 64 + 65


@pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")
def test_the_graph_is_drawn(tmp_path):
    pytest.importorskip("pydot")
    path = graph.draw_graph(boston_regressor(), tmp_path / "graph.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "64" in graph.draw_graph(boston_regressor(), tmp_path / "graph.svg").read_text()


def test_missing_programs_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(graph.shutil, "which", lambda program: None)
    with pytest.raises(
        InputError,
        match=r"pydot and Graphviz to draw the graph, found no .*program dot of Graphviz \(install the package",
    ):
        graph.draw_graph(boston_regressor(), tmp_path / "graph.png")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(graph.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(graph.shutil, "which", lambda program: "/usr/bin/dot")
    with pytest.raises(InputError, match=r"found no package pydot \(pip install 'k3torch\[graph\]'\)$"):
        graph.draw_graph(boston_regressor(), tmp_path / "graph.png")
    assert list(tmp_path.iterdir()) == []
