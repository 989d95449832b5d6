"""Where the values of a parameter are on the x-axis of the plot of a search."""

from k3torch.validation.search_plot import _places
from matplotlib.figure import Figure


def test_texts_get_places_in_their_order_and_numbers_are_themselves():
    axes = Figure().subplots()
    assert _places(["relu", "tanh", "relu", None], axes) == [0, 1, 0, 2]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["relu", "tanh", "None"]
    assert _places([0.1, 0.2], Figure().subplots()) == [0.1, 0.2]
