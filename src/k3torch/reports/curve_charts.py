"""Curves of a run's history as coordinates of an SVG, which shows the values of each epoch without a script."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
import math
from typing import Any

from k3torch.formats import format_number
from k3torch.reports.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY
from matplotlib.ticker import MaxNLocator
import numpy as np
from numpy.typing import NDArray

Rows = Sequence[Mapping[str, Any]]
Float = NDArray[np.float64]

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)
DASHES = ("", "6 3", "2 2")
NO_METRICS = {"epoch", "seconds", "learning_rate", "repeat", "fold", "outer fold", "inner fold"}
POINTS, BANDS = 1000, 250
"""The most points of a line, and the most epochs whose values are shown."""
LONG, SKIPPED = 50, 10
"""Of so many epochs, so many of the first do not count for the range of the y-axis."""
WIDTH, LEFT, RIGHT, TOP, PLOT, LINE = 400.0, 52.0, 12.0, 12.0, 190.0, 19.0
"""Sizes in units of the SVG, of which 400 are as wide as a telephone's screen."""


BOX = {
    "width": WIDTH, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP, "bottom": TOP + PLOT,
    "plot_width": WIDTH - LEFT - RIGHT, "plot_height": PLOT,
}  # fmt: skip
"""Coordinates that all charts have."""


@dataclass(frozen=True)
class Curve:
    """The mean over models of a metric in each epoch, (epochs,), and the lowest and highest value."""

    name: str
    mean: Float
    low: Float
    high: Float


@dataclass(frozen=True)
class Line:
    """A curve in a chart: ``points`` and ``band`` are lists of coordinates, ``y`` is its place in the legend."""

    name: str
    colour: str
    dash: str
    points: list[str]
    band: list[str]
    y: float


@dataclass(frozen=True)
class Band:
    """The part of a chart that shows the values of an epoch: its place, and a dot and a text for each curve."""

    epoch: int
    x: float
    left: float
    width: float
    values: list[tuple[str, float, float | None, str]]  # colour, y in the legend, y of the dot, text


@dataclass(frozen=True)
class Chart:
    """The curves of a metric; all numbers but those in texts are coordinates."""

    title: str
    summary: str
    clipped: bool
    height: float
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    best: tuple[float, int] | None
    lines: list[Line]
    bands: list[Band]


def charts_of(history: Rows, best_epoch: int | None = None) -> list[Chart]:
    """Return a chart for each metric of a history, with the curves of training and validation.

    Args:
        history: a mapping of each epoch of each model, with the key ``"epoch"``. A text among the values, such as the
            name of a candidate, divides the models; the others are averaged.
        best_epoch: the epoch to mark, or None.
    """
    history = [row for row in history if "epoch" in row]
    epochs = sorted({int(row["epoch"]) for row in history})
    found: dict[str, list[Curve]] = {}
    for metric, curve in _curves(history, epochs):
        found.setdefault(metric, []).append(curve)
    first_loss = sorted(found, key=lambda metric: metric != "loss")
    return [_chart(metric, np.array(epochs), found[metric], best_epoch) for metric in first_loss]


def _curves(history: Rows, epochs: list[int]) -> Iterator[tuple[str, Curve]]:
    place = {epoch: index for index, epoch in enumerate(epochs)}
    names = dict.fromkeys(name for row in history for name in row if name not in NO_METRICS)
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in history:
        groups.setdefault(" ".join(value for value in row.values() if isinstance(value, str)), []).append(row)
    for name in names:
        for group, rows in groups.items():
            values: list[list[float]] = [[] for _ in epochs]
            for row in rows:
                if isinstance(value := row.get(name), float | int | np.number) and math.isfinite(value):
                    values[place[int(row["epoch"])]].append(float(value))
            if any(values):
                mean, low, high = (
                    np.array([of(each) if each else math.nan for each in values]) for of in (np.mean, min, max)
                )
                metric, part = _split(name)
                yield metric, Curve(group or part, mean, low, high)


def _split(name: str) -> tuple[str, str]:
    """Return the title of the chart of a column, and the name of the curve."""
    for part in ("training", "validation"):
        if name.endswith(f" {part}"):  # of a variant: all variants are in a chart
            return part, name.removesuffix(f" {part}")
    return (name[4:], "validation") if name.startswith("val_") else (name, "training")


def _chart(title: str, epochs: NDArray[np.int64], curves: list[Curve], best_epoch: int | None) -> Chart:
    first, last = int(epochs[0]), int(epochs[-1])
    low, high, clipped = _range(curves, len(epochs))
    span = max(last - first, 1)

    def x(epoch: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * ((epoch - first) / span if last > first else 0.5), 1)

    def y(value: float) -> float:
        return round(TOP + PLOT * (high - value) / (high - low), 1)

    legend = TOP + PLOT + 72
    looks = [(COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]) for i in range(len(curves))]
    lines = []
    step = -(-len(epochs) // POINTS)
    kept = [*range(0, len(epochs) - 1, step), len(epochs) - 1]
    xs = [x(epochs[i]) for i in kept]
    for number, (curve, (colour, dash)) in enumerate(zip(curves, looks, strict=True)):
        points = _pieces(xs, [y(curve.mean[i]) for i in kept])
        band = []
        if (curve.high > curve.low).any():
            upper, lower = (_pieces(xs, [y(v[i]) for i in kept]) for v in (curve.high, curve.low))
            band = [f"{one} {_reversed(other)}" for one, other in zip(upper, lower, strict=True)]
        lines.append(Line(curve.name, colour, dash, points, band, legend + LINE * number))
    texts = [(curve, colour, line.y) for curve, (colour, _), line in zip(curves, looks, lines, strict=True)]
    step = -(-len(epochs) // BANDS)
    shown = [*range(0, len(epochs) - 1, step), len(epochs) - 1]
    centres = [x(epochs[i]) for i in shown]
    edges = [LEFT - 6, *((a + b) / 2 for a, b in pairwise(centres)), WIDTH - RIGHT + 6]
    bands = [
        Band(
            int(epochs[i]), centre, round(left, 1), round(right - left, 1),
            [
                (colour, place, y(curve.mean[i]) if low <= curve.mean[i] <= high else None, _text(curve, i))
                for curve, colour, place in texts
            ],
        )
        for i, centre, (left, right) in zip(shown, centres, pairwise(edges), strict=True)
    ]  # fmt: skip
    x_ticks = MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]).tick_values(first, max(last, first + 1))
    marked = best_epoch if best_epoch is not None and first <= best_epoch <= last else None
    return Chart(
        title,
        "; ".join(f"{curve.name}: {_text(curve, 0)} to {_text(curve, -1)}" for curve in curves),
        clipped,
        legend + LINE * len(curves) - 4,
        [(x(tick), f"{tick:.0f}") for tick in x_ticks if first <= tick <= last],
        [(y(tick), text) for tick, text in _ticks(low, high)],
        None if marked is None else (x(marked), marked),
        lines,
        bands,
    )


def _range(curves: list[Curve], epochs: int) -> tuple[float, float, bool]:
    """Return the range of the y-axis, and whether values of the first epochs are outside of it."""
    every, later = (
        np.concatenate([part[first:] for curve in curves for part in (curve.low, curve.high)]) for first in (0, SKIPPED)
    )
    low, high = float(np.nanmin(every)), float(np.nanmax(every))
    clipped = False
    if epochs >= LONG and np.isfinite(later).any():
        later_low, later_high = float(np.nanmin(later)), float(np.nanmax(later))
        if later_high > later_low and high - low > 2 * (later_high - later_low):
            low, high, clipped = later_low, later_high, True
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin, clipped


def _pieces(xs: list[float], ys: list[float]) -> list[str]:
    """Return the points of a line as text; where values are missing, it is in pieces."""
    pieces: list[list[str]] = [[]]
    for x, y in zip(xs, ys, strict=True):
        if math.isfinite(y):
            pieces[-1].append(f"{x},{min(max(y, -9999), 9999)}")
        elif pieces[-1]:
            pieces.append([])
    return [" ".join(piece) for piece in pieces if piece]


def _reversed(points: str) -> str:
    return " ".join(reversed(points.split()))


def _text(curve: Curve, index: int) -> str:
    mean, low, high = (float(values[index]) for values in (curve.mean, curve.low, curve.high))
    if math.isnan(mean):
        return "no value"
    return format_number(mean) + (f" ({format_number(low)} to {format_number(high)})" if high > low else "")


def _ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Return values of the y-axis, with as many decimals for each as the longest needs."""
    ticks = [float(tick) for tick in MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    if max(map(abs, ticks)) >= 1e6 or max(map(abs, ticks)) < 1e-3:
        return [(tick, f"{tick:.3g}") for tick in ticks if low <= tick <= high]
    decimals = max(len(f"{tick:.6f}".rstrip("0").partition(".")[2]) for tick in ticks)
    return [(tick, f"{tick:,.{decimals}f}") for tick in ticks if low <= tick <= high]
