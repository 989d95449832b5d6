"""Plot of variants of a network."""

from collections.abc import Collection, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from k3torch.reports.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, epoch_axis, plot_to
import numpy as np


def plot_variants(
    path: Path,
    curves: Mapping[str, Sequence[float]],
    quantity: str,
    title: str,
    *,
    names: Collection[str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> None:
    """Draw the curves of variants over epochs; the legend is sorted by the last values, largest first.

    Colours, markers and the range of the y-axis are those of all ``curves``, so that plots of some of them can be
    compared.

    Args:
        path: of the plot.
        curves: name of each variant to its values, from epoch 1. ``x-adam`` has the colour and marker of ``x``,
            dashed, since the network is the same.
        quantity: what they show, with its unit: the label of the y-axis.
        title: of the plot, with the data set.
        names: of the variants to draw, or None for all.
        labels: name to the text in the legend, for names that are not their own text.
    """
    drawn = curves if names is None else names
    looks = _looks(curves)
    with plot_to(path, width=9.0, height=max(5.0, 1.0 + 0.25 * len(drawn))) as axes:  # room for the legend
        for name in sorted(drawn, key=lambda name: -curves[name][-1]):
            epochs = np.arange(1, len(curves[name]) + 1)
            axes.plot(epochs, curves[name], label=(labels or {}).get(name, name), markersize=5, **looks[name])
        axes.set(ylabel=quantity, title=title, ylim=_limits(curves))
        epoch_axis(axes, 1, max(len(curves[name]) for name in drawn))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)


def _looks(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the colour, marker and line style of each variant."""
    families = list(dict.fromkeys(name.removesuffix("-adam") for name in names))
    # 7 colours and 8 markers have no common divisor: 56 pairs.
    colours = dict(zip(families, cycle((BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)), strict=False))
    marks = dict(zip(families, cycle("os^Dvx+*"), strict=False))
    return {
        name: {
            "color": colours[family],
            "marker": marks[family],
            "linestyle": "-" if name == family else "--",
            "markerfacecolor": colours[family] if name == family else "white",
        }
        for name in names
        for family in [name.removesuffix("-adam")]
    }


def _limits(curves: Mapping[str, Sequence[float]]) -> tuple[float, float] | None:
    """Return a range that holds all curves, or None if they have no two different values."""
    values = np.concatenate([np.asarray(curve, dtype="float64") for curve in curves.values()])
    values = values[np.isfinite(values)]
    if not values.size or values.min() == values.max():
        return None
    margin = 0.05 * (values.max() - values.min())
    return float(values.min() - margin), float(values.max() + margin)
