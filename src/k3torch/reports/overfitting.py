"""Plot of many variants of a network."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from k3torch.reports.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, plot_to
from matplotlib.ticker import MaxNLocator
import numpy as np


def plot_variants(path: Path, curves: Mapping[str, Sequence[float]], quantity: str, title: str) -> None:
    """Draw a curve over epochs for each variant; the legend is sorted by the last values, largest first.

    ``x-adam`` has the colour and marker of ``x``, dashed, since the network is the same.
    """
    families = list(dict.fromkeys(name.removesuffix("-adam") for name in curves))
    colours = dict(zip(families, cycle((BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)), strict=False))
    marks = dict(zip(families, cycle("os^Dvx+*"), strict=False))  # 8, coprime to 7 colours: 56 different pairs
    with plot_to(path, width=9.0, height=5.0) as axes:
        for name in sorted(curves, key=lambda name: -curves[name][-1]):
            family = name.removesuffix("-adam")
            axes.plot(
                np.arange(1, len(curves[name]) + 1),
                curves[name],
                "-" if name == family else "--",
                color=colours[family],
                marker=marks[family],
                markersize=5,
                markerfacecolor=colours[family] if name == family else "white",
                label=name,
            )
        axes.set(xlabel="epoch", ylabel=quantity, title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
