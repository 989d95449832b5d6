"""A plot of the layers of a model as a graph, drawn by Graphviz."""

import importlib.util
from pathlib import Path
import shutil

from k3torch.errors import InputError
import keras


def draw_graph(model: keras.Model, path: Path) -> Path:
    """Write the graph of ``model`` to ``path`` (.png, .svg or .pdf), with each layer's shapes and activation.

    Returns:
        ``path``.

    Raises:
        InputError: if the package pydot or Graphviz's program ``dot`` is missing; ``model.summary()`` needs neither.
    """
    missing = [
        f"{what} ({how})"
        for what, how, found in (
            ("package pydot", "pip install 'k3torch[graph]'", importlib.util.find_spec("pydot")),
            ("program dot of Graphviz", "install the package graphviz of your system", shutil.which("dot")),
        )
        if found is None
    ]
    if missing:
        raise InputError(f"expected pydot and Graphviz to draw the graph, found no {' and no '.join(missing)}")
    keras.utils.plot_model(model, str(path), show_shapes=True, show_layer_activations=True)
    return path
