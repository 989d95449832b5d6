"""Compare the settings, metrics and curves of runs.

    k3torch compare runs/imdb-TIME runs/imdb-OTHER
    k3torch compare runs/imdb-TIME runs/imdb-OTHER --plot both.svg

The settings are those that differ, and all curves are in one plot. It is written beside the first run, as
NAME-vs-NAME.png, and replaced when the same runs are compared again.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from k3torch import cli
from k3torch.options import shown_as
import tyro


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    runs: tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="RUN RUN ...", help_behavior_hint="")]]
    """Two run folders or more, up to 7."""
    plot: Annotated[Path | None, shown_as("PATH", "NAME-vs-NAME.png beside the first run")] = None
    """Where to write the plot: a new file that ends with .png, .svg or .pdf."""


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)

from k3torch.errors import InputError
from k3torch.reports import tables
from k3torch.reports.run_curves import common_metrics, plot_runs, read_curves
from k3torch.reports.runs import Run, as_typed, differing, metric_names, read_run

MOST = 7  # the colours of the plot
SUFFIXES = (".png", ".svg", ".pdf")


def main(settings: Settings) -> None:
    """Print two tables and write the plot."""
    check(settings)
    runs = [read_run(path) for path in settings.runs]
    labels = distinct_names(settings.runs)
    show(runs, labels)
    curves = {label: read_curves(run.path) for label, run in zip(labels, runs, strict=True)}
    if not common_metrics(curves):
        print("no plot: the runs have no curves of the same metric in history.csv")
        return
    path = (
        settings.plot or runs[0].path.resolve().parent / f"{'-vs-'.join(run.path.resolve().name for run in runs)}.png"
    )
    plot_runs(path, curves, f"Runs of {' and '.join(dict.fromkeys(run.name for run in runs))}")
    print(f"plot written to {path}")


def check(settings: Settings) -> None:
    """Refuse what cannot be compared, before anything is read."""
    folders = {path.resolve() for path in settings.runs}
    if not 2 <= len(settings.runs) <= MOST or len(folders) < len(settings.runs):
        raise InputError(
            f"expected 2 to {MOST} run folders, each once, got {' '.join(map(str, settings.runs)) or 'none'}"
        )
    if settings.plot is not None:
        if settings.plot.suffix not in SUFFIXES:
            raise InputError(f"expected --plot as a name that ends with {', '.join(SUFFIXES)}, got {settings.plot}")
        if settings.plot.exists():
            raise InputError(f"expected --plot as the name of a new file, got {settings.plot}, which exists")


def distinct_names(paths: tuple[Path, ...]) -> list[str]:
    """Return the names of the folders, or the paths where two names are equal."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def show(runs: list[Run], labels: list[str]) -> None:
    same_job = len({run.name for run in runs}) == 1
    settings = differing(runs)
    rows: list[tuple[str | None, ...]] = [] if same_job else [("command", *(run.name for run in runs))]
    rows += [
        (name, *(as_typed(run.settings[name]) if name in run.settings else None for run in runs)) for name in settings
    ]
    if rows:
        tables.show("Settings that differ", ["", *labels], rows)
    else:
        print("The settings are the same.\n")
    tables.show(
        "Metrics",
        ["", *labels],
        [
            ("status", *(run.status for run in runs)),
            *((name.replace("_", " "), *(run.metrics.get(name) for run in runs)) for name in metric_names(runs)),
            ("seconds", *(None if run.seconds is None else f"{run.seconds:.1f}" for run in runs)),
        ],
    )


if __name__ == "__main__":
    cli.run(main, SETTINGS)
