"""Plot of a nested cross-validation."""

from collections.abc import Sequence
from pathlib import Path

from k3torch.reports.plots import BLACK, BLUE, ORANGE, plot_to
from matplotlib.ticker import MaxNLocator
import numpy as np


def plot_nested(path: Path, inner: Sequence[float], outer: Sequence[float]) -> None:
    """Draw the errors of the selected model in each outer fold: on the inner folds, and on the outer test samples.

    Args:
        path: of the PNG file.
        inner: mean error on the inner folds, which the model was selected by; one for each outer fold.
        outer: error on the test samples of each outer fold.
    """
    folds = np.arange(1, len(inner) + 1)
    with plot_to(path) as axes:
        axes.vlines(folds, inner, outer, color=BLACK, alpha=0.3)
        for values, mark, colour, name in (
            (inner, "o", BLUE, "inner folds, used to select"),
            (outer, "D", ORANGE, "outer fold, unseen"),
        ):
            mean = float(np.mean(values))
            axes.plot(folds, values, mark, color=colour, markersize=8, label=f"{name} (mean {mean:.2f})")
            axes.axhline(mean, color=colour, linestyle="--", linewidth=1)
        axes.set(
            xlabel="outer fold",
            ylabel="mean absolute error",
            title="Error of the selected models on inner and outer folds",
        )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        low, high = min(*inner, *outer), max(*inner, *outer)
        axes.set_ylim(low - 0.2 * (high - low), high + 0.5 * (high - low))  # room for the legend
        axes.legend(loc="upper center")
