from k3torch.reports import plots
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
import pytest


def test_plots_are_written_and_figures_closed(tmp_path):
    plots.plot_learning_curves(tmp_path / "a.png", [0.5, 0.3], [0.6, 0.4], "loss", best_epoch=2)
    plots.plot_band(tmp_path / "b.png", np.random.RandomState(0).rand(4, 9), "MAE", first_epoch=11)
    plots.plot_curves(tmp_path / "c.png", {"a": [1, 2], "b": [2, 1, 0]}, "loss")
    for name in "abc":
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.size == (1050, 675)
            assert len(set(image.convert("L").tobytes())) > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]
    assert plt.get_fignums() == []


def test_an_exception_while_drawing_leaves_no_file(tmp_path):
    with pytest.raises(ZeroDivisionError), plots.plot_to(tmp_path / "a.png"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    assert plt.get_fignums() == []


def test_curves_are_drawn_from_epoch_1_and_the_band_spans_the_runs(tmp_path, drawn):
    plots.plot_learning_curves(tmp_path / "a.png", [0.5, 0.3], [0.6, 0.4], "loss", best_epoch=2)
    plots.plot_band(tmp_path / "b.png", [[1.0, 2.0], [3.0, 6.0]], "MAE", first_epoch=11)
    curves, band = (figure.axes[0] for figure in drawn)
    assert curves.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.3]]
    assert curves.lines[1].get_xydata().tolist() == [[1, 0.6], [2, 0.4]]
    assert (curves.get_xlabel(), curves.get_ylabel()) == ("epoch", "loss")
    assert band.lines[0].get_xydata().tolist() == [[11, 2], [12, 4]]
    corners = band.collections[0].get_paths()[0].vertices
    assert corners[:, 1].min() == 1
    assert corners[:, 1].max() == 6
