"""The curves of several runs in one plot: a part for each metric, a colour for each run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from k3torch.errors import InputError, first_line
from k3torch.reports.curve_charts import NO_METRICS
from k3torch.reports.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, epoch_axis, figure_to
import pandas

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, BLACK)
_MOST_EPOCHS, _LARGEST = 2**31, 1e300  # what can be drawn
MOST = 6
"""The most metrics that ``plot_runs`` draws."""

Curves = Mapping[str, "pandas.Series[float]"]


def read_curves(folder: Path) -> Curves:
    """Return the curves in the history of a run folder: name to values by epoch; none without a history.

    Where an epoch has several rows, of several models, a curve has their mean.

    Raises:
        InputError: for a history that is damaged.
    """
    path = folder / "history.csv"
    if not path.exists():
        return {}
    try:
        table = pandas.read_csv(path)
        numbers = table.select_dtypes("number")
        if "epoch" not in numbers:
            raise ValueError("no column epoch of numbers")
        if not (numbers["epoch"].abs() < _MOST_EPOCHS).all():
            raise ValueError("other values in the column epoch")
        means = numbers.groupby("epoch").mean()
        means = means.where(means.abs() < _LARGEST)
    except (OSError, ValueError) as error:
        raise InputError(f"expected the history of a run in {path}, got: {first_line(error)}") from error
    return {name: means[name] for name in means.columns if name not in NO_METRICS}


def common_metrics(runs: Mapping[str, Curves]) -> list[str]:
    """Return the metrics that all runs have a curve of, without ``val_``."""
    names = [list(dict.fromkeys(name.removeprefix("val_") for name in curves)) for curves in runs.values()]
    return [name for name in names[0] if all(name in others for others in names)] if names else []


def plot_runs(path: Path, runs: Mapping[str, Curves], title: str) -> None:
    """Draw each metric that all runs have, training dashed and validation solid, up to ``MOST`` metrics.

    Args:
        path: of the plot.
        runs: name of each run, for the legend, to its curves.
        title: of the plot.
    """
    metrics = common_metrics(runs)[:MOST]
    columns = min(2, len(metrics))
    rows = -(-len(metrics) // columns)
    with figure_to(path, 5.5 * columns, 3.6 * rows + 0.3 * len(runs), rows, columns) as (figure, panels):
        last = max(int(curve.index.max()) for curves in runs.values() for curve in curves.values())
        for axes in panels[len(metrics) :]:
            axes.set_visible(False)
        for axes, metric in zip(panels, metrics, strict=False):
            for number, ((run, curves), colour) in enumerate(zip(runs.items(), _COLOURS, strict=False)):
                width = 1.5 + 1.5 * (len(runs) - 1 - number)  # equal curves are seen below each other
                for name, line, part in ((metric, "--", "training"), (f"val_{metric}", "-", "validation")):
                    if name in curves:
                        curve = curves[name]
                        mark = "o" if len(curve) == 1 else None
                        look: dict[str, Any] = {"color": colour, "marker": mark, "linewidth": width}
                        look["label"] = f"{_drawable(run)}: {part}"
                        axes.plot(curve.index, curve, line, **look)
            axes.set(ylabel=metric)
            axes.grid(alpha=0.25)
            epoch_axis(axes, 1, last)
        figure.suptitle(_drawable(title))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)


def _drawable(text: str) -> str:
    """Return a text with escapes for bytes of a file's name that are no UTF-8, which no font can draw."""
    return text.encode("utf-8", "backslashreplace").decode()
