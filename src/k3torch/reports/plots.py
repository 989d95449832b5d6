"""Plots of training, in colours that colour-blind readers can distinguish (Okabe and Ito, 2008)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")  # writes files, and needs no display

from k3torch.files import atomic_path
from matplotlib.axes import Axes
import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator
import numpy as np
from numpy.typing import ArrayLike

BLUE, ORANGE, GREEN, PURPLE, RED, SKY, YELLOW, BLACK = COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442", "#000000"
)  # fmt: skip


@contextmanager
def plot_to(path: Path, width: float = 7.0, height: float = 4.5) -> Iterator[Axes]:
    """Yield axes to draw on; without an exception, write a PNG to ``path``. Sizes in inches, at 150 dpi."""
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    try:
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        yield axes
        with atomic_path(path) as draft:
            figure.savefig(draft, dpi=150)
    finally:
        plt.close(figure)


def plot_learning_curves(
    path: Path, training: Sequence[float], validation: Sequence[float], quantity: str, best_epoch: int | None = None
) -> None:
    """Draw a metric per epoch, from epoch 1, on training samples (dots) and validation samples (line)."""
    epochs = np.arange(1, len(training) + 1)
    with plot_to(path) as axes:
        axes.plot(epochs, training, "o", color=BLUE, label="training")
        axes.plot(epochs, validation, ".-", color=ORANGE, linewidth=2, markersize=8, label="validation")
        if best_epoch is not None:
            axes.axvline(best_epoch, color=BLACK, linestyle=":", label=f"best epoch: {best_epoch}")
        axes.set(xlabel="epoch", ylabel=quantity, title=f"Training and validation {quantity}")
        axes.set_xlim(0.5, max(len(training), 2) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()


def plot_band(path: Path, curves: ArrayLike, quantity: str, first_epoch: int = 1, title: str = "") -> None:
    """Draw the mean over ``curves``, shape (runs, epochs), with a band from the lowest to the highest value."""
    runs = np.atleast_2d(np.asarray(curves))
    epochs = np.arange(first_epoch, first_epoch + runs.shape[1])
    with plot_to(path) as axes:
        axes.fill_between(epochs, runs.min(0), runs.max(0), color=SKY, alpha=0.35, label="lowest to highest fold")
        axes.plot(epochs, runs.mean(0), color=BLUE, linewidth=2, label="mean over folds")
        axes.set(xlabel="epoch", ylabel=quantity, title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()


def plot_curves(path: Path, curves: Mapping[str, Sequence[float]], quantity: str, title: str = "") -> None:
    """Draw several named curves per epoch, from epoch 1, each with its own colour and marker."""
    marks = "os^Dvx+*"
    with plot_to(path) as axes:
        for i, (name, values) in enumerate(curves.items()):
            style: dict[str, Any] = {
                "color": COLOURS[i % len(COLOURS)],
                "marker": marks[i % len(marks)],
                "markersize": 4,
            }
            axes.plot(np.arange(1, len(values) + 1), values, label=name, **style)
        axes.set(xlabel="epoch", ylabel=quantity, title=title)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
