"""Plot of the ladder: time and memory of each rung."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from k3torch.reports.plots import BLUE, plot_to


def plot_ladder(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw a bar of the seconds per epoch for each rung, labelled with its seconds and its memory.

    Args:
        path: of the PNG file.
        rows: of the ladder's table, one for each rung, with "rung", "name", "seconds" and "peak memory MB".
    """
    names = [f"{row['rung']}  {row['name']}" for row in rows]
    seconds = [row["seconds"] for row in rows]
    with plot_to(path, width=8.5, height=0.9 + 0.55 * len(rows)) as axes:
        bars = axes.barh(names, seconds, color=BLUE)
        labels = [f" {row['seconds']:.3f} s,  {row['peak memory MB']:.0f} MB" for row in rows]
        axes.bar_label(bars, labels, padding=3)
        axes.set(xlabel="seconds per epoch (median), including validation", title="The same training on every rung")
        axes.set_xlim(0, max(seconds) * 1.3)
        axes.grid(axis="y", visible=False)
        axes.invert_yaxis()
