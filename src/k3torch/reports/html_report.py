"""The report of a run: one HTML file with results, curves, plots and settings, which opens without network.

All texts are escaped by the template, and the page's content security policy allows no script, so names and settings
of the user's cannot become code.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
import json
import os
from pathlib import Path
import sys
import time
from typing import Any
from urllib.parse import quote
import webbrowser

from k3torch import __version__, options
from k3torch.reports.curve_charts import BOX, charts_of
from k3torch.reports.tables import ResultTable, cell

NAME = "report.html"
EMBEDDED = {".png": "image/png", ".svg": "image/svg+xml"}
_LONGEST = 300  # characters of a metric that is a list


@dataclass(frozen=True)
class Content:
    """What is in a report.

    Attributes:
        name: of the job, such as "imdb".
        folder: the run folder; plots are read from it.
        status: how the run ended, as in ``metrics.json``.
        seconds: how long it took.
        settings: the script's settings, a dataclass.
        metrics: as in ``metrics.json``; ``"best_epoch"`` is marked in the curves.
        history: a mapping for each epoch of each model, as in ``history.csv``.
        results: tables and lines, as on the terminal; a line that begins with "warning:" is marked.
        plots: names of plots in the folder, in their order.
        files: names of all files in the folder.
    """

    name: str
    folder: Path
    status: str
    seconds: float
    settings: Any
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    results: Sequence[ResultTable | str]
    plots: Sequence[str]
    files: Sequence[str]


def write_report(path: Path, content: Content) -> None:
    """Write the report of a run to ``path``, in UTF-8.

    Raises:
        OSError: if a plot cannot be read or the file cannot be written.
    """
    import jinja2  # takes 0.03 s; torch brings it

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("k3torch.reports", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    best = content.metrics.get("best_epoch")
    charts = charts_of(content.history, best if isinstance(best, int) else None)
    settings = list(_settings(content.settings))
    text = environment.get_template("report.html").render(
        title=f"{content.name}: {content.folder.resolve().name}",
        status=content.status,
        about=f"{time.strftime('%Y-%m-%d %H:%M')}, {content.seconds:.1f} s, k3torch {__version__}",
        results=content.results,
        charts=charts,
        ranges=any(line.band for chart in charts for line in chart.lines),
        box=BOX,
        plots=[_plot(content.folder, name) for name in content.plots if (content.folder / name).is_file()],
        settings=settings,
        changed=[setting for setting in settings if setting["changed"]],
        metrics=list(_flat(content.metrics)),
        files=[
            {"name": name, "link": quote(os.fsencode(name))}
            for name in content.files
            if (content.folder / name).is_file()
        ],
    )
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def open_report(path: Path) -> None:
    """Open a report in the user's browser; where there is none, one line on standard error says so."""
    try:
        opened = webbrowser.open(path.resolve().as_uri())
    except webbrowser.Error:
        opened = False
    if not opened:
        print(f"no browser was found to open {path}", file=sys.stderr)


def _settings(settings: Any) -> Iterator[dict[str, Any]]:
    """Yield each option with its value and its default, those of groups among them."""
    values = options.flat(settings)
    defaults = dict(_defaults(settings))
    for name in (name for name in values if name not in options.OF_THE_CALL):
        value, default = values[name], defaults.get(name, MISSING)
        yield {
            "option": options.option(name),
            "value": options.typed(value),
            "default": "none" if default is MISSING else options.typed(default),
            "changed": value != default,
        }


def _defaults(settings: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(settings):
        if is_dataclass(field.default):
            yield from options.flat(field.default).items()
        else:
            yield field.name, field.default


def _plot(folder: Path, name: str) -> dict[str, str]:
    kind = EMBEDDED.get(Path(name).suffix)
    data = base64.b64encode((folder / name).read_bytes()).decode() if kind else ""
    return {"name": name, "link": quote(os.fsencode(name)), "data": data and f"data:{kind};base64,{data}"}


def _flat(metrics: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield metrics by name, those in mappings with the names of all mappings before theirs."""
    for key, value in metrics.items():
        name = f"{before}{key}"
        if hasattr(value, "tolist"):  # NumPy scalars and arrays
            value = value.tolist()
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}, ")
        elif isinstance(value, list | tuple):
            text = json.dumps(value, default=str)
            yield name, text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
        else:
            yield name, value
