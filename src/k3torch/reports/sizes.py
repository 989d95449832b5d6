"""Cross-validation over a grid of sizes: its table, and its plot of time against size."""

from collections.abc import Callable, Mapping, Sequence
import math
from pathlib import Path
import statistics
from typing import NamedTuple

from k3torch.reports.benchmark import Job, Round, median, ratios, short
from k3torch.reports.plots import BLUE, GREEN, ORANGE, PURPLE, RED, SKY, figure_to, legend_below
from matplotlib.axes import Axes

STYLES = list(zip((BLUE, SKY, ORANGE, GREEN, PURPLE, RED), "osD^vX", strict=True))


class Size(NamedTuple):
    """Samples, a network of Dense(width) twice and Dense(1), and its cross-validation."""

    samples: int
    features: int
    width: int
    batch: int
    folds: int
    epochs: int

    @property
    def weights(self) -> int:
        """Weights of one model, biases included."""
        return (self.features + 1) * self.width + (self.width + 1) * self.width + self.width + 1

    @property
    def training_samples(self) -> int:
        """Training samples of one model."""
        return self.samples - self.samples // self.folds

    @property
    def updates(self) -> int:
        """Updates in one epoch of all models."""
        return self.folds * math.ceil(self.training_samples / self.batch)

    @property
    def work(self) -> int:
        """Weights times the samples on which they are trained, in all epochs of all models."""
        return self.weights * self.training_samples * self.epochs * self.folds


GRID = (
    Size(404, 13, 64, 1, 4, 20),
    Size(404, 13, 64, 16, 4, 100),
    Size(5_000, 13, 64, 32, 5, 20),
    Size(20_000, 8, 64, 128, 5, 10),
    Size(20_000, 100, 256, 128, 5, 4),
    Size(20_000, 100, 1024, 256, 5, 2),
    Size(5_000, 784, 128, 64, 5, 4),
    Size(2_000, 2_000, 512, 64, 5, 4),
)
"""The sizes of the benchmark; lines of its tables, from line 1 on."""

CAPTION = (
    "sizes: samples, features, width, batch size, folds, epochs of a cross-validation. k3torch cached has the compiled "
    "code of an earlier run, k3torch cold an empty cache folder; JAX is written by hand and compiles each time; Keras "
    "is fit, timed for two epochs and scaled up. Imports are not counted, except that of torch's compiler, which "
    "happens inside the job."
)

Results = Mapping[int, Sequence[Round]]  # of lines: "seconds" of the whole job, "steady seconds" of a later epoch


def size_tables(job: Job, results: Results) -> dict[str, list[dict[str, str]]]:
    """Return tables by title, with a row per line and a column per contender.

    Medians over rounds of the seconds of the whole job, and of the microseconds of a later epoch per update of one
    model; the ratio of each to the base of the job in the same round, with the lowest and the highest.
    """
    base = job.base({name for rounds in results.values() for name in rounds[0]})
    found = {}
    for time, title, scale in (
        ("seconds", "seconds of the whole job", _unscaled),
        ("steady seconds", "microseconds per update after start-up", _per_update),
    ):
        has = {name: any(median(r, name, time) is not None for r in results.values()) for name in job.contenders}
        measured = [name for name in job.contenders if has[name]]
        if measured:
            found[title] = [_values(job, line, rounds, measured, time, scale) for line, rounds in results.items()]
        if has[base] and (others := [name for name in measured if name != base]):
            rows = [_ratios(job, line, rounds, others, base, time) for line, rounds in results.items()]
            found[f"{title}, divided by {job.contenders[base]}'s"] = rows
    return found


def plot_sizes(path: Path, job: Job, results: Results, title: str) -> None:
    """Draw the seconds of the whole job and the microseconds per update against size, a line for each contender.

    Args:
        path: of the plot.
        job: names the contenders.
        results: of the rounds, for each line of ``GRID``.
        title: of the plot.
    """
    with figure_to(path, 11.0, 5.0, columns=2) as (figure, (whole, steady)):
        figure.suptitle(title)
        _draw(whole, job, results, "seconds", lambda size: size.work, _unscaled)
        whole.set(xlabel="weights × training samples × epochs × folds", ylabel="seconds of the whole job")
        _draw(steady, job, results, "steady seconds", lambda size: size.weights * size.batch, _per_update)
        steady.set(xlabel="weights × batch size", ylabel="microseconds per update, after start-up")
        for axes in (whole, steady):
            (left, low), (right, high) = axes.dataLim.min, axes.dataLim.max
            axes.set(xscale="log", yscale="log", xlim=_decades(left, right), ylim=_decades(low, high))
            axes.grid(alpha=0.25)
            for label in (*axes.get_xticklabels(which="both"), *axes.get_yticklabels(which="both")):
                label.set_parse_math(True)  # powers of ten
        whole.plot([], [], " ", label="numbers: lines of the table")
        for line in steady.lines:
            line.set_label(None)  # in the legend once
        legend_below(whole, columns=5)


def _decades(low: float, high: float) -> tuple[float, float] | None:
    """Return powers of ten around the values, so that an axis has labels; None without values."""
    if not 0 < low <= high < math.inf:
        return None
    return 10.0 ** math.floor(math.log10(low)), 10.0 ** (math.floor(math.log10(high)) + 1)


def _unscaled(_: Size) -> float:
    return 1.0


def _per_update(size: Size) -> float:
    return 1e6 / size.updates


def _values(
    job: Job, line: int, rounds: Sequence[Round], names: Sequence[str], time: str, scale: Callable[[Size], float]
) -> dict[str, str]:
    size = GRID[line - 1]
    values = {job.contenders[name]: median(rounds, name, time) for name in names}
    return {"line: size": f"{line}: {' '.join(map(str, size))}"} | {
        label: "" if value is None else short(value * scale(size)) for label, value in values.items()
    }


def _ratios(job: Job, line: int, rounds: Sequence[Round], names: Sequence[str], base: str, time: str) -> dict[str, str]:
    row = {"line": str(line)}
    for name in names:
        found = ratios(rounds, name, base, time)
        row[job.contenders[name]] = ""
        if found:
            middle, low, high = map(_two_decimals, (statistics.median(found), min(found), max(found)))
            row[job.contenders[name]] = f"{middle} ({low} to {high})"
    return row


def _two_decimals(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _draw(
    axes: Axes,
    job: Job,
    results: Results,
    time: str,
    x_of: Callable[[Size], float],
    scale: Callable[[Size], float],
) -> None:
    """Draw a line per contender, and the number of each line of ``GRID`` above the highest of its points."""
    highest: dict[int, float] = {}
    x = {line: x_of(GRID[line - 1]) for line in sorted(results, key=lambda line: x_of(GRID[line - 1]))}
    for (name, label), (colour, marker) in zip(job.contenders.items(), STYLES, strict=False):
        found = {line: median(results[line], name, time) for line in x}
        points = {line: value * scale(GRID[line - 1]) for line, value in found.items() if value is not None}
        if points:
            axes.plot([x[n] for n in points], list(points.values()), marker=marker, color=colour, label=label)
        highest |= {line: max(value, highest.get(line, value)) for line, value in points.items()}
    for line, value in highest.items():
        axes.annotate(str(line), (x[line], value), (0, 6), textcoords="offset points", ha="center", fontsize=8)
