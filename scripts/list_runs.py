"""List runs with their status, settings and metrics.

    k3torch runs
    k3torch runs elsewhere/runs

Of the settings, those in which runs of one command differ are shown, as many as the terminal has room for. A run that
neither ended nor is running was killed. Commands that have the option --resume go on with a run that was killed or
interrupted, or has failed: `k3torch train-imdb --resume RUN`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from k3torch import cli
from k3torch.options import option, shown_as
import tyro


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    folder: tyro.conf.Positional[Annotated[Path, shown_as("FOLDER")]] = Path("runs")
    """The folder with the run folders in it."""
    metrics: int = 2
    """Largest number of metrics to show; test metrics come first."""
    settings: Annotated[int | None, shown_as("INT", "as many as fit")] = None
    """Largest number of settings to show, of those in which runs of one command differ."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)

import itertools
import sys

from k3torch.errors import InputError
from k3torch.formats import counted
from k3torch.reports import tables
from k3torch.reports.runs import Run, as_typed, differing, find_runs, metric_names


def main(settings: Settings) -> None:
    """Print a table for each kind of run."""
    cli.check_counts(settings, "metrics", "settings")
    runs, problems = find_runs(settings.folder)
    for problem in problems:
        print(f"left out: {problem}", file=sys.stderr)
    if not runs:
        raise InputError(f"expected run folders in {settings.folder}, found none: give the folder that contains them")
    by_name = sorted(runs, key=lambda run: run.name)  # the order by time within a name stays
    for name, group in itertools.groupby(by_name, key=lambda run: run.name):
        show(name, list(group), settings)


def show(name: str, runs: list[Run], settings: Settings) -> None:
    varied = differing(runs)
    metrics, shown = fitting(runs, metric_names(runs, settings.metrics), varied[: settings.settings])
    tables.show(f"{name}: {counted(len(runs), 'run')}", *table(runs, metrics, shown))
    if others := [each for each in varied if each not in shown]:
        print(cli.wrapped(f"They differ in {', '.join(map(option, others))} too: k3torch compare shows the values.\n"))


def fitting(runs: list[Run], metrics: list[str], settings: list[str]) -> tuple[list[str], list[str]]:
    """Return the metrics and settings that the terminal has room for: one metric, then settings, then other metrics."""
    kept_metrics: list[str] = []
    kept_settings: list[str] = []
    for names, kept in ((metrics[:1], kept_metrics), (settings, kept_settings), (metrics[1:], kept_metrics)):
        for name in names:
            kept.append(name)
            if not tables.fits(*table(runs, kept_metrics, kept_settings)):
                kept.pop()
    return kept_metrics, kept_settings


def table(runs: list[Run], metrics: list[str], settings: list[str]) -> tuple[list[str], list[tuple[object, ...]]]:
    """Return the headings and rows of a table with these columns."""
    rows: list[tuple[object, ...]] = [
        (
            run.path.name,
            run.status,
            *(run.metrics.get(metric) for metric in metrics),
            *(as_typed(run.settings[each]) if each in run.settings else None for each in settings),
        )
        for run in runs
    ]
    return ["run", "status", *(each.replace("_", " ") for each in (*metrics, *settings))], rows


if __name__ == "__main__":
    cli.run(main, SETTINGS)
