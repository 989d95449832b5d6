"""figures.py: every plot is written, is not blank, and shows what its function computed."""

import importlib.util
import json
from pathlib import Path

from k3torch.options import Output
from k3torch.reports import explain
import matplotlib.pyplot as plt
import numpy as np
import pytest

spec = importlib.util.spec_from_file_location("figures", Path(__file__).parents[2] / "scripts/figures.py")
figures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(figures)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("figures") / "run"
    figures.main(figures.Settings(Output(out)))
    return out


@pytest.mark.parametrize("name", ["losses", "momentum", "polynomials", "folds", "dropout"])
def test_each_plot_is_drawn(run, name):
    pixels = plt.imread(run / f"{name}.png")
    assert min(pixels.shape[:2]) >= 600  # legible at half size
    assert pixels[..., :3].std() > 0.1


def test_plots_have_the_chosen_format_and_are_listed(tmp_path, capsys):
    figures.main(figures.Settings(Output(tmp_path / "run", format="svg")))
    names = [f"{name}.svg" for name in ("dropout", "folds", "losses", "momentum", "polynomials")]
    assert [line.strip() for line in capsys.readouterr().out.splitlines()[1:]] == names
    assert not list((tmp_path / "run").glob("*.png"))
    svg = (tmp_path / "run/folds.svg").read_text()
    assert svg.count(">validation</text>") == 1 + 1 + 3 + 5  # cells and the legend


def test_no_figure_is_left_open(run):
    assert plt.get_fignums() == []


def test_metrics_hold_what_the_plots_show(run):
    metrics = json.loads((run / "metrics.json").read_text())
    sgd = "SGD, learning rate 0.01, momentum"
    before, dropped, scaled, prediction = metrics["dropout_means"].values()
    assert before == prediction == pytest.approx(scaled, rel=0.01)
    assert dropped == pytest.approx(before / 2, rel=0.01)
    assert metrics[f"{sgd} 0.9"]["loss"] < metrics[f"{sgd} 0"]["loss"] - 2
    assert metrics["losses_at_0.001"]["cross_entropy"] == pytest.approx(-np.log(0.001), rel=1e-5)
    assert metrics["polynomials"]["true_error"]["4"] < metrics["polynomials"]["true_error"]["15"]


@pytest.fixture
def drawn(monkeypatch):
    """Keep figures open, so that a test can look at what is on them."""
    kept = []
    monkeypatch.setattr(plt, "close", lambda figure=None: kept.append(figure))
    yield kept
    monkeypatch.undo()
    plt.close("all")


@pytest.mark.parametrize("draw", [figures.losses, figures.momentum, figures.polynomials, figures.dropout])
def test_axes_are_labelled(draw, drawn, run, tmp_path):
    folder = figures.RunFolder("figures", figures.Settings(Output(tmp_path / "run")))
    with folder:
        draw(folder)
    for axes in drawn[0].axes:
        if axes.get_label() == "<colorbar>":
            assert axes.get_ylabel()
            continue
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert axes.get_title()


def test_no_text_of_the_plot_of_folds_overlaps(drawn, tmp_path):
    folder = figures.RunFolder("figures", figures.Settings(Output(tmp_path / "run")))
    with folder:
        figures.folds(folder)
    figure = drawn[0]
    renderer = figure.canvas.get_renderer()
    texts = [text for axes in figure.axes for text in [*axes.texts, axes.title, axes._left_title]]
    boxes = [text.get_window_extent(renderer) for text in texts if text.get_text()]
    assert len(boxes) == 5 + 5 + 9 + 25 + 4
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_roles_have_a_colour_each():
    assert explain.ROLES == ("training", "validation", "test")
    assert (figures.VALIDATION, figures.TEST) == (1, 2)
