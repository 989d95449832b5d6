"""A picture of a model's graph, where Graphviz is there to draw it."""

import importlib.util
from pathlib import Path
import shutil

from k3torch.errors import InputError
import keras


def draw_graph(model: keras.Model, path: Path) -> Path:
    """Write the graph of ``model`` to ``path`` (.png, .svg or .pdf), with each layer's shapes and activation.

    Raises:
        InputError: where the package pydot or Graphviz's program ``dot`` is missing; ``model.summary()`` needs neither.
    """
    missing = [
        f"{what} ({how})"
        for what, how, there in (
            ("the package pydot", "pip install 'k3torch[graph]'", importlib.util.find_spec("pydot")),
            ("Graphviz's program dot", "install the package graphviz of your system", shutil.which("dot")),
        )
        if there is None
    ]
    if missing:
        raise InputError(f"expected what draws a graph, found no {' and no '.join(missing)}")
    keras.utils.plot_model(model, str(path), show_shapes=True, show_layer_activations=True)
    return path
