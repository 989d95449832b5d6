"""The explanatory plots: each draws the arrays that it is given; ``demos`` computes them."""

from collections.abc import Mapping
from pathlib import Path

from k3torch.reports.plots import BLACK, BLUE, GREEN, ORANGE, RED, figure_to, legend_below, plot_to
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
ROLES = ("training", "validation", "test")
ROLE_COLOURS = ("#CDE7F7", ORANGE, GREEN)
"""Light, medium and dark, so that the roles can be told apart in grey too."""


def plot_losses(path: Path, probabilities: Float, cross_entropy: Float, squared_error: Float) -> None:
    """Draw both losses of a sample of label 1 over the predicted probability; all arrays are (n,)."""
    with plot_to(path) as axes:
        axes.plot(probabilities, cross_entropy, color=RED, linewidth=2.5, label="cross-entropy: unbounded")
        axes.plot(probabilities, squared_error, "--", color=BLUE, linewidth=2.5, label="squared error: at most 1")
        axes.set(xlabel="predicted probability of label 1", ylabel="loss", ylim=(0, 5), xlim=(0, 1))
        axes.set_title("Loss of a prediction for label 1")
        legend_below(axes)


def plot_momentum(path: Path, curve: tuple[Float, Float], descents: Mapping[str, tuple[Float, Float]]) -> None:
    """Draw gradient descents on the curve of a loss, a panel each; ``curve`` and each descent are (weights, losses)."""
    with figure_to(path, 5.0 * len(descents), 4.6, columns=len(descents)) as (_, axes):
        for panel, colour, (name, (weights, losses)) in zip(axes, (ORANGE, GREEN), descents.items(), strict=True):
            panel.plot(*curve, color=BLACK, linewidth=1.2, label="loss")
            panel.plot(weights, losses, "o-", color=colour, markersize=4, linewidth=0.8, label="after each step")
            panel.plot(weights[0], losses[0], "s", color=BLUE, markersize=10, label="start")
            panel.plot(weights[-1], losses[-1], "X", color=RED, markersize=13, label=f"end: loss {losses[-1]:.2f}")
            panel.set(xlabel="weight", ylabel="loss", title=name)
            panel.grid(alpha=0.25)
            panel.legend(loc="upper center")  # the curve is low there


def plot_polynomials(
    path: Path,
    samples: tuple[Float, Float],
    truth: tuple[Float, Float],
    curves: Mapping[str, Float],
    errors: Mapping[str, tuple[float, float]],
) -> None:
    """Draw fits to the same samples, a panel each; ``errors`` are those on the samples and against the truth."""
    with figure_to(path, 4.2 * len(curves), 4.6, columns=len(curves)) as (figure, axes):
        for panel, (name, curve) in zip(axes, curves.items(), strict=True):
            panel.plot(*truth, "--", color=ORANGE, linewidth=2, label="cosine")
            panel.plot(truth[0], curve, color=BLUE, linewidth=2, label="fit")
            panel.plot(*samples, "o", color=BLACK, markersize=5, label="noisy samples")
            sample_error, true_error = errors[name]
            panel.set_title(f"{name}\nerror on samples {sample_error:.2f}, against cosine {true_error:.2f}")
            panel.set(xlabel="x", ylabel="y", ylim=(-2.2, 5.2))
            panel.grid(alpha=0.25)
        handles, labels = axes[0].get_legend_handles_labels()  # the same in all panels
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)


def plot_folds(path: Path, schemes: Mapping[str, NDArray[np.int64]]) -> None:
    """Draw ways to split the samples, a panel each: (rounds, parts) of indices into ``ROLES``."""
    heights = [len(roles) for roles in schemes.values()]
    size = (8.0, 0.9 * len(schemes) + 0.42 * sum(heights))
    ratios = [height + 0.6 for height in heights]
    with figure_to(path, *size, rows=len(schemes), height_ratios=ratios) as (figure, axes):
        for panel, (name, roles) in zip(axes, schemes.items(), strict=True):
            rounds = len(roles)
            panel.pcolormesh(
                roles[::-1], cmap=ListedColormap(ROLE_COLOURS), vmin=0, vmax=2, edgecolors="white", linewidth=2
            )
            panel.set_title(name, loc="left", fontsize=11)
            panel.set_yticks(np.arange(rounds) + 0.5, [f"round {i}" for i in range(rounds, 0, -1)])
            panel.set_xticks([])
            panel.tick_params(length=0)
            panel.spines[:].set_visible(False)
            for (row, part), role in np.ndenumerate(roles):
                panel.text(part + 0.5, rounds - row - 0.5, ROLES[role], ha="center", va="center", fontsize=9)
        axes[-1].set_xlabel("samples, first to last")
        figure.legend(
            handles=[Patch(color=colour, label=role) for colour, role in zip(ROLE_COLOURS, ROLES, strict=True)],
            loc="outside lower center",
            ncols=3,
            frameon=False,
        )


def plot_dropout(path: Path, stages: Mapping[str, Float]) -> None:
    """Draw a layer's outputs at several stages, each (samples, units), as an image; zeros are white."""
    top = max(float(values.max()) for values in stages.values())
    with figure_to(path, 10.5, 7.6, rows=2, columns=-(-len(stages) // 2)) as (figure, axes):
        for panel, (name, values) in zip(axes, stages.items(), strict=False):
            samples, units = values.shape
            extent = (0.5, units + 0.5, samples + 0.5, 0.5)
            image = panel.imshow(
                np.ma.masked_equal(values, 0.0),
                cmap="cividis",
                vmin=0,
                vmax=top,
                aspect="auto",
                interpolation="none",
                extent=extent,
            )
            panel.set_title(f"{name}\nmean {values.mean():.2f}, {np.mean(values == 0):.0%} zeros", fontsize=11)
            panel.set(xlabel="unit", ylabel="sample")
            panel.spines[:].set_visible(True)
        figure.colorbar(image, ax=list(axes), label="output (white: 0)", shrink=0.8)
