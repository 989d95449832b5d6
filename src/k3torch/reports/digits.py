"""Pictures of how digits were read: the confusion matrix, and the digits that were misread."""

from pathlib import Path

from k3torch.reports.plots import plot_to
import numpy as np
from numpy.typing import NDArray


def plot_confusion(path: Path, counts: NDArray[np.int64]) -> None:
    """Draw a confusion matrix, shape (10, 10): rows the true digits, columns what they were read as.

    Shades show the share of the row, so that a rare digit counts as much as a frequent one; the numbers are counts.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    with plot_to(path, width=7.0, height=6.4) as axes:
        axes.grid(visible=False)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            if count:
                ink = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=11)
        axes.set(xlabel="read as", ylabel="true digit", title="How the test digits were read")
        axes.set(xticks=range(10), yticks=range(10))
        axes.figure.colorbar(image, label="share of the true digit", shrink=0.85)


def plot_misread(
    path: Path, images: NDArray[np.uint8], labels: NDArray[np.int64], read_as: NDArray[np.int64], columns: int = 6
) -> None:
    """Draw digits, shape (n, 28, 28), in a grid; under each the true digit and what it was read as."""
    rows = max(1, -(-len(images) // columns))
    with plot_to(path, width=7.0, height=0.6 + 1.45 * rows) as axes:
        axes.axis("off")
        for place, (image, label, read) in enumerate(zip(images, labels, read_as, strict=True)):
            row, column = divmod(place, columns)
            left, top = 1.0 * column, 1.3 * row
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=255, extent=(left, left + 0.9, top + 0.9, top))
            axes.text(left + 0.45, top + 1.06, f"{label}, read as {read}", ha="center", va="center", fontsize=10)
        axes.set(xlim=(0, columns), ylim=(1.3 * rows, -0.1), title="Misread test digits, the surest mistakes first")
