"""Plot of a nested cross-validation."""

from collections.abc import Sequence
from pathlib import Path

from k3torch.reports.plots import BLACK, BLUE, ORANGE, legend_below, plot_to
from matplotlib.ticker import MaxNLocator
import numpy as np


def plot_nested(path: Path, inner: Sequence[float], outer: Sequence[float], quantity: str, data: str) -> None:
    """Draw the errors of the model selected in each outer fold: on the inner folds, and on the outer test samples.

    Args:
        path: of the plot.
        inner: mean error on the inner folds, by which the model was selected; one for each outer fold.
        outer: error on the test samples of each outer fold.
        quantity: what they measure, with its unit: the label of the y-axis.
        data: name of the data set, for the title.
    """
    folds = np.arange(1, len(inner) + 1)
    with plot_to(path) as axes:
        axes.vlines(folds, inner, outer, color=BLACK, alpha=0.3)
        for values, mark, line, colour, name in (
            (inner, "o", "--", BLUE, "inner folds, used to select"),
            (outer, "D", ":", ORANGE, "outer fold, unseen"),
        ):
            mean = float(np.mean(values))
            axes.plot(folds, values, mark, color=colour, markersize=8, label=name)
            axes.axhline(mean, color=colour, linestyle=line, linewidth=2, zorder=0, label=f"their mean {mean:.2f}")
        axes.set(
            xlabel="outer fold",
            ylabel=quantity,
            title=f"{data}: error of the selected models",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_below(axes, columns=2)
