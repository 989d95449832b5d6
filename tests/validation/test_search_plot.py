"""Where the values of a parameter are on the x-axis of the plot of a search."""

from k3torch.validation.search_plot import _places
from matplotlib.figure import Figure
import numpy as np
import pytest


def places(values, means=None):
    axes = Figure().subplots()
    return _places(values, np.arange(len(values)) if means is None else np.array(means), axes), axes


def test_numbers_are_themselves_on_an_axis_that_is_logarithmic_over_a_decade():
    found, axes = places([0.1, 0.2])
    assert found == [0.1, 0.2]
    assert axes.get_xscale() == "linear"
    assert places([1e-3, 7e-3])[1].get_xscale() == "log"
    found, axes = places([1e-3, 9e-3])
    axes.set_xlim(9e-4, 1.1e-2)
    axes.figure.canvas.draw()
    shown = [label.get_text() for label in axes.get_xticklabels() if 9e-4 < label.get_position()[0] < 1.1e-2]
    assert shown == ["0.001", "0.002", "0.005", "0.01"]
    assert places([0, 7e-3])[1].get_xscale() == "linear"


def test_texts_get_places_in_their_order():
    found, axes = places(["relu", "tanh", None, (4, 2)])
    assert found == [0, 1, 2, 3]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["relu", "tanh", "None", "(4, 2)"]
    assert axes.get_xlim() == (-0.5, 3.5)


def test_candidates_with_the_same_text_are_side_by_side_by_their_means():
    found, _ = places(["a", "b", "a", "a"], means=[3.0, 1.0, 1.0, 2.0])
    assert found == pytest.approx([0.3, 1, -0.3, 0])
