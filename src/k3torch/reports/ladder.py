"""Plot of the ladder: time, threads and memory of each rung."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from k3torch.reports.plots import BLUE, plot_to
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter


def plot_ladder(path: Path, rows: Sequence[Mapping[str, Any]], data: str = "") -> None:
    """Draw a bar of the seconds per epoch for each rung on a logarithmic axis, labelled with seconds and memory.

    Args:
        path: of the plot.
        rows: of the ladder's table, one for each rung, with "rung", "name", "seconds", "threads" and "peak memory MB".
        data: name of the data set, for the title.
    """
    names = [f"{row['rung']}  {row['name']}" for row in rows]
    seconds = [row["seconds"] for row in rows]
    low, high = min(seconds) / 3, max(seconds)
    with plot_to(path, width=9.0, height=1.1 + 0.55 * len(rows)) as axes:
        bars = axes.barh(names, seconds, color=BLUE)
        axes.bar_label(bars, [_label(row) for row in rows], padding=4)
        axes.set_xscale("log")
        axes.set_xlim(low, high * (high / low) ** 0.5)  # room for the labels
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel="seconds per epoch (median), validation included, logarithmic scale")
        axes.set_title("The same training on every rung" + (f": {data}" if data else ""))
        axes.grid(axis="y", visible=False)
        axes.invert_yaxis()


def _label(row: Mapping[str, Any]) -> str:
    threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
    return f"{row['seconds']:.3f} s, {threads}, {row['peak memory MB']:.0f} MB"
