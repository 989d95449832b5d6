"""Plots of training, in colours that colour-blind readers can distinguish (Okabe and Ito, 2008).

Curves also differ in marker or line style, so that they can be told apart in grey. Legends are beside the axes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import os
from pathlib import Path
import sys
from typing import Any

import matplotlib

if "MPLBACKEND" not in os.environ and "matplotlib.pyplot" not in sys.modules:
    matplotlib.use("Agg")  # writes files, and needs no display; a notebook has chosen a backend that shows its plots

from k3torch.files import atomic_path
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator
import numpy as np
from numpy.typing import ArrayLike

BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000"
)  # fmt: skip

# Text stays text, which a reader can search and copy; the same plot is the same file, without a date or random names.
STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "k3torch", "text.parse_math": False
}  # fmt: skip
UNDATED: dict[str, dict[str, None]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
NUMBERED = 100
"""The most scores that ``plot_scores`` labels with their folds."""


@contextmanager
def figure_to(
    path: Path, width: float, height: float, rows: int = 1, columns: int = 1, **layout: Any
) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Yield a figure and its axes, row by row; without an exception, write it to ``path``.

    The suffix of ``path`` is the format: .png with 150 dpi, .svg or .pdf. Sizes are in inches; ``layout`` are further
    arguments of ``plt.subplots``. Text between two $ is drawn as it is: it is a name in the user's data, no formula.
    """
    size = {"figsize": (width, height), "layout": "constrained"}
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, squeeze=False, **size, **layout)
        try:
            for axes in grid.flat:
                axes.spines[["top", "right"]].set_visible(False)
            yield figure, list(grid.flat)
            with atomic_path(path) as draft:
                figure.savefig(draft, dpi=150, metadata=UNDATED.get(path.suffix))
        finally:
            plt.close(figure)


@contextmanager
def plot_to(path: Path, width: float = 7.0, height: float = 4.5) -> Iterator[Axes]:
    """Yield axes with a grid to draw on; without an exception, write them to ``path``, as ``figure_to`` does."""
    with figure_to(path, width, height) as (_, (axes,)):
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        yield axes


def legend_below(axes: Axes, columns: int = 3) -> None:
    """Add a legend of the whole figure below the axes, where it covers nothing."""
    axes.figure.legend(loc="outside lower center", ncols=columns, frameon=False)


def epoch_axis(axes: Axes, first: int, last: int) -> None:
    """Label the x-axis with whole epochs from ``first`` to ``last``."""
    axes.set(xlabel="epoch", xlim=(first - 0.5, max(last, first + 1) + 0.5))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def mark_best_epoch(axes: Axes, epoch: int | None) -> None:
    """Draw a dotted line at an epoch, if there is one."""
    if epoch is not None:
        axes.axvline(epoch, color=BLACK, linestyle=":", label=f"best epoch: {epoch}")


def plot_learning_curves(
    path: Path,
    training: Sequence[float],
    validation: Sequence[float],
    quantity: str,
    best_epoch: int | None = None,
    title: str | None = None,
) -> None:
    """Draw a metric per epoch, from epoch 1, on training samples (dots) and validation samples (line)."""
    epochs = np.arange(1, len(training) + 1)
    with plot_to(path) as axes:
        axes.plot(epochs, training, "o", color=BLUE, label="training")
        axes.plot(epochs, validation, ".-", color=ORANGE, linewidth=2, markersize=8, label="validation")
        mark_best_epoch(axes, best_epoch)
        axes.set(ylabel=quantity, title=f"Training and validation {quantity}" if title is None else title)
        epoch_axis(axes, 1, len(training))
        legend_below(axes)


def plot_band(
    path: Path,
    curves: ArrayLike,
    quantity: str,
    first_epoch: int = 1,
    title: str = "",
    best_epoch: int | None = None,
) -> None:
    """Draw the mean over ``curves``, shape (models, epochs), with a band from the lowest to the highest value.

    Args:
        path: of the plot.
        curves: one row for each model.
        quantity: what they show, with its unit: the label of the y-axis.
        first_epoch: the epoch of the first column.
        title: of the plot, with the data set.
        best_epoch: the epoch to mark, or None.
    """
    models = np.atleast_2d(np.asarray(curves))
    count = "1 model" if len(models) == 1 else f"{len(models)} models"
    epochs = np.arange(first_epoch, first_epoch + models.shape[1])
    with plot_to(path) as axes:
        axes.plot(epochs, models.mean(0), color=BLUE, linewidth=2, label=f"mean of {count}")
        axes.fill_between(epochs, models.min(0), models.max(0), color=SKY, alpha=0.35, label="lowest to highest")
        mark_best_epoch(axes, best_epoch)
        axes.set(ylabel=quantity, title=title)
        epoch_axis(axes, first_epoch, int(epochs[-1]))
        legend_below(axes)


def plot_scores(
    path: Path,
    scores: ArrayLike,
    quantity: str,
    *,
    data: str,
    epoch: int,
    interval: tuple[float, float] | None = None,
) -> None:
    """Draw the score of each fold as a point with the fold's number, repeat by repeat, and the mean over all.

    Args:
        path: of the plot.
        scores: shape (repeats, folds). Those that are not finite are left out.
        quantity: what they measure, with its unit: the label of the y-axis.
        data: name of the data set, for the title.
        epoch: the epoch after which the models had these scores, for the title.
        interval: 95% confidence interval of the mean, (low, high), or None.
    """
    table = np.atleast_2d(np.asarray(scores, dtype="float64"))
    (repeats, folds), mean = table.shape, float(table.mean())
    x = np.arange(1, repeats + 1)[:, None] + (np.arange(folds) - (folds - 1) / 2) * 0.8 / folds
    count = "1 model" if table.size == 1 else f"{table.size} models"
    with plot_to(path, width=max(7.0, 1.0 + 0.15 * min(table.size, NUMBERED))) as axes:
        numbered = table.size <= NUMBERED
        label = "fold, with its number" if numbered else "fold"
        axes.plot(x.ravel(), table.ravel(), "o", color=BLUE, markersize=5, label=label)
        for (repeat, fold), score in np.ndenumerate(table):
            if numbered and np.isfinite(score):
                offset, side = (5, "bottom") if score >= mean else (-5, "top")  # away from the line of the mean
                axes.annotate(
                    str(fold + 1), (x[repeat, fold], score), (0, offset),
                    textcoords="offset points", ha="center", va=side, fontsize=8,
                )  # fmt: skip
        axes.axhline(mean, color=RED, linestyle="--", zorder=0, label=f"mean {_short(mean)}")
        if interval is not None and np.isfinite(interval).all():
            low, high = interval
            text = f"95% confidence interval {_short(low)} to {_short(high)}"
            axes.axhspan(low, high, color=ORANGE, alpha=0.2, linewidth=0, zorder=0, label=text)
        axes.set(xlabel="repeat", ylabel=quantity, title=f"{data}: scores of {count} after epoch {epoch}")
        axes.set(xlim=(0.5, repeats + 0.5), xticks=range(1, repeats + 1))
        axes.set_xticks(np.arange(1, repeats) + 0.5, minor=True)  # between the repeats
        axes.tick_params(axis="x", which="minor", length=0)
        axes.grid(axis="x", visible=False)
        axes.grid(axis="x", which="minor", alpha=0.5)
        axes.margins(y=0.1)
        legend_below(axes, columns=2)  # the interval of large numbers is long


def _short(value: float) -> str:
    size = abs(value)
    return f"{value:,.0f}" if size >= 10_000 else f"{value:.2f}" if size >= 1 else f"{value:.3g}"
