"""List runs with their status, settings and metrics.

    k3torch runs
    k3torch runs elsewhere/runs

Of the settings, those in which runs of one command differ are shown. A run that neither ended nor is running was
killed. train-imdb and train-digits go on with one that was killed or interrupted, or has failed: `k3torch train-imdb
--resume RUN`.
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
    """The most metrics to show; test metrics come first."""
    settings: int = 3
    """The most settings to show, of those in which runs of one command differ."""


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
    metrics, varied = metric_names(runs, settings.metrics), differing(runs)
    shown, others = varied[: settings.settings], varied[settings.settings :]
    tables.show(
        f"{name}: {counted(len(runs), 'run')}",
        ["run", "status", *(each.replace("_", " ") for each in metrics), *(each.replace("_", " ") for each in shown)],
        [
            (
                run.path.name,
                run.status,
                *(run.metrics.get(metric) for metric in metrics),
                *(as_typed(run.settings[each]) if each in run.settings else None for each in shown),
            )
            for run in runs
        ],
    )
    if others:
        print(cli.wrapped(f"They differ in {', '.join(map(option, others))} too: k3torch compare shows the values.\n"))


if __name__ == "__main__":
    cli.run(main, SETTINGS)
