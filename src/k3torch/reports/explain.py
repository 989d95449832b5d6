"""The explanatory plots: each draws the arrays that it is given; ``demos`` computes them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from k3torch.files import atomic_path
from k3torch.reports.plots import BLACK, BLUE, GREEN, ORANGE, RED, SKY, plot_to
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
ROLES = ("training", "validation", "test")


@contextmanager
def panels(path: Path, rows: int, columns: int, width: float, height: float) -> Iterator[Sequence[Axes]]:
    """Yield the axes of a grid, row by row; without an exception, write a PNG to ``path``. Sizes in inches, 150 dpi."""
    figure, grid = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False)
    try:
        axes = list(grid.flat)
        for panel in axes:
            panel.spines[["top", "right"]].set_visible(False)
        yield axes
        with atomic_path(path) as draft:
            figure.savefig(draft, dpi=150)
    finally:
        plt.close(figure)


def plot_losses(path: Path, probabilities: Float, cross_entropy: Float, squared_error: Float) -> None:
    """Draw both losses of a sample of label 1 over the predicted probability; all arrays are (n,)."""
    with plot_to(path) as axes:
        axes.plot(probabilities, cross_entropy, color=RED, linewidth=2.5, label="cross-entropy: unbounded")
        axes.plot(probabilities, squared_error, "--", color=BLUE, linewidth=2.5, label="squared error: at most 1")
        axes.set(xlabel="predicted probability of label 1", ylabel="loss", ylim=(0, 5), xlim=(0, 1))
        axes.set_title("Loss of a prediction for label 1")
        axes.legend()


def plot_momentum(path: Path, curve: tuple[Float, Float], descents: Mapping[str, tuple[Float, Float]]) -> None:
    """Draw gradient descents on the curve of a loss, a panel each; ``curve`` and each descent are (weights, losses)."""
    with panels(path, 1, len(descents), width=5.0 * len(descents), height=4.6) as axes:
        for panel, colour, (name, (weights, losses)) in zip(axes, (ORANGE, GREEN), descents.items(), strict=True):
            panel.plot(*curve, color=BLACK, linewidth=1.2)
            panel.plot(weights, losses, "o-", color=colour, markersize=4, linewidth=0.8, label="after each step")
            panel.plot(weights[0], losses[0], "s", color=BLUE, markersize=10, label="start")
            panel.plot(weights[-1], losses[-1], "X", color=RED, markersize=13, label=f"end: loss {losses[-1]:.2f}")
            panel.set(xlabel="weight", ylabel="loss", title=name)
            panel.grid(alpha=0.25)
            panel.legend(loc="upper center")


def plot_polynomials(
    path: Path,
    samples: tuple[Float, Float],
    truth: tuple[Float, Float],
    curves: Mapping[str, Float],
    errors: Mapping[str, tuple[float, float]],
) -> None:
    """Draw fits to the same samples, a panel each; ``errors`` are those on the samples and against the truth."""
    with panels(path, 1, len(curves), width=4.2 * len(curves), height=4.6) as axes:
        for panel, (name, curve) in zip(axes, curves.items(), strict=True):
            panel.plot(*truth, "--", color=ORANGE, linewidth=2, label="cosine")
            panel.plot(truth[0], curve, color=BLUE, linewidth=2, label="fit")
            panel.plot(*samples, "o", color=BLACK, markersize=5, label="noisy samples")
            sample_error, true_error = errors[name]
            panel.set_title(f"{name}\nerror on samples {sample_error:.2f}, against cosine {true_error:.2f}")
            panel.set(xlabel="x", ylabel="y", ylim=(-2.2, 5.2))
            panel.grid(alpha=0.25)
        axes[0].legend(loc="upper center")  # it holds for all panels; the first has room for it


def plot_folds(path: Path, schemes: Mapping[str, NDArray[np.int64]]) -> None:
    """Draw ways to split the samples, a panel each: (rounds, parts) of indices into ``ROLES``."""
    heights = [len(roles) for roles in schemes.values()]
    figure, grid = plt.subplots(
        len(schemes), 1, figsize=(8.0, 0.9 * len(schemes) + 0.42 * sum(heights)), layout="constrained",
        height_ratios=[height + 0.6 for height in heights], squeeze=False,
    )  # fmt: skip
    colours = (SKY, ORANGE, GREEN)
    try:
        for panel, (name, roles) in zip(grid.flat, schemes.items(), strict=True):
            rounds = len(roles)
            panel.pcolormesh(roles[::-1], cmap=ListedColormap(colours), vmin=0, vmax=2, edgecolors="white", linewidth=2)
            panel.set_title(name, loc="left", fontsize=11)
            panel.set_yticks(np.arange(rounds) + 0.5, [f"round {i}" for i in range(rounds, 0, -1)])
            panel.set_xticks([])
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
            for (row, part), role in np.ndenumerate(roles):
                panel.text(part + 0.5, rounds - row - 0.5, ROLES[role][:5], ha="center", va="center", fontsize=9)
        grid[-1, 0].set_xlabel("samples, first to last")
        figure.legend(
            handles=[Patch(color=colour, label=role) for colour, role in zip(colours, ROLES, strict=True)],
            loc="outside upper right",
            ncols=3,
            frameon=False,
        )
        with atomic_path(path) as draft:
            figure.savefig(draft, dpi=150)
    finally:
        plt.close(figure)


def plot_dropout(path: Path, stages: Mapping[str, Float]) -> None:
    """Draw a layer's outputs at several stages, each (samples, features), as a table of values; zeros are white."""
    top = max(float(values.max()) for values in stages.values())
    with panels(path, 2, -(-len(stages) // 2), width=10.5, height=7.6) as axes:
        for panel, (name, values) in zip(axes, stages.items(), strict=False):
            panel.imshow(np.ma.masked_equal(values, 0.0), cmap="Blues", vmin=0, vmax=top, aspect="auto")
            for (row, column), value in np.ndenumerate(values):
                ink = "white" if value > 0.6 * top else "black"
                panel.text(column, row, f"{value:.1f}" if value else "0", ha="center", va="center", color=ink)
            panel.set_title(f"{name}\nmean {values.mean():.2f}", fontsize=11)
            panel.set(xlabel="feature", ylabel="sample")
            panel.set_xticks(range(values.shape[1]), [str(i + 1) for i in range(values.shape[1])])
            panel.set_yticks(range(values.shape[0]), [str(i + 1) for i in range(values.shape[0])])
            panel.spines[:].set_visible(True)
