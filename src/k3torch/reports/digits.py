"""Plots of a digit classifier's predictions: the confusion matrix, and the misclassified digits."""

from pathlib import Path

from k3torch.reports.plots import plot_to
import numpy as np
from numpy.typing import NDArray


def plot_confusion(path: Path, counts: NDArray[np.int64], data: str) -> None:
    """Draw a confusion matrix, shape (10, 10): rows are the true digits, columns the predicted ones.

    The colour shows the fraction of the row, so that rare and frequent digits can be compared; the numbers are counts.
    ``data`` names the data set in the title.
    """
    fractions = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with plot_to(path, width=7.0, height=6.4) as axes:
        axes.grid(visible=False)
        image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if fractions[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=11)
        axes.set(
            xlabel="predicted digit",
            ylabel="true digit",
            title=f"{data}: confusion matrix of {counts.sum():,} test digits",
        )
        axes.set(xticks=range(10), yticks=range(10))
        axes.figure.colorbar(image, label="fraction of the true digit", shrink=0.85)


def plot_misclassified(
    path: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    data: str,
    columns: int = 6,
) -> None:
    """Draw misclassified digits, shape (n, 28, 28), in a grid, each with its true and predicted digit below.

    ``data`` names the data set in the title.
    """
    rows = max(1, -(-len(images) // columns))
    with plot_to(path, width=7.0, height=0.6 + 1.45 * rows) as axes:
        axes.axis("off")
        for place, (image, label, prediction) in enumerate(zip(images, labels, predicted, strict=True)):
            row, column = divmod(place, columns)
            left, top = 1.0 * column, 1.3 * row
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=255, extent=(left, left + 0.9, top + 0.9, top))
            axes.text(
                left + 0.45, top + 1.06, f"{label}, predicted {prediction}", ha="center", va="center", fontsize=10
            )
        axes.set(
            xlim=(0, columns), ylim=(1.3 * rows, -0.1), title=f"{data}: misclassified test digits, most confident first"
        )
