"""Run folders as a list: how each run ended, with which settings, and with which metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from k3torch.claims import is_claimed
from k3torch.errors import InputError, is_number
from k3torch.files import reason_of
from k3torch.options import typed

STATUSES = ("running", "killed", "interrupted", "failed", "complete")
_NO_SETTINGS = {"name", "version", "out", "force", "resume", "format", "open"}
_NO_METRICS = ("seconds", "peak_memory")  # how names of metrics begin that say nothing about the model
_FIRST = ("test", "mean", "outer", "validation")  # how names of metrics begin, the most telling first


@dataclass(frozen=True)
class Run:
    """What a run folder says about its run.

    Attributes:
        path: of the folder.
        name: of the job, such as "imdb".
        status: one of ``STATUSES``; a run that neither ended nor is running was killed.
        begun: when it was begun, in seconds since 1970.
        settings: option to value, as JSON has it.
        metrics: name to number, those of the model.
        seconds: how long the run took, or None if it did not end.
    """

    path: Path
    name: str
    status: str
    begun: float
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]
    seconds: float | None


def read_run(folder: Path) -> Run:
    """Return what a run folder says.

    Raises:
        InputError: for a folder without a run, or with a damaged one.
    """
    try:
        config, found = (_mapping(folder / name) for name in ("config.json", "metrics.json"))
        name, status = config["name"], found["status"]
        if not isinstance(name, str):
            raise ValueError("the name in config.json is no text")
        begun = (folder / "config.json").stat().st_mtime
        if status not in STATUSES:
            raise ValueError(f"the status {status!r} in metrics.json")
        if status == "running" and not is_claimed(folder):
            status = "killed"
    except (OSError, ValueError, KeyError, RecursionError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else reason_of(error)
        raise InputError(f"expected a run folder, with config.json and metrics.json, got {folder}: {reason}") from error
    numbers = {key: float(value) for key, value in found.items() if is_number(value)}
    return Run(
        folder,
        name,
        status,
        begun,
        {key: value for key, value in config.items() if key not in _NO_SETTINGS},
        {key: value for key, value in numbers.items() if not key.startswith(_NO_METRICS) and key != "seed"},
        numbers.get("seconds_total"),
    )


def find_runs(folder: Path) -> tuple[list[Run], list[str]]:
    """Return the runs in the folders in ``folder``, the earliest first, and a line for each damaged one.

    A folder without config.json is none of a run.

    Raises:
        InputError: if ``folder`` cannot be read.
    """
    try:
        inside = sorted(path for path in folder.iterdir() if (path / "config.json").is_file())
    except OSError as error:
        raise InputError(f"expected a folder with run folders, got {folder}: {error.strerror}") from error
    runs, problems = [], []
    for path in inside:
        try:
            runs.append(read_run(path))
        except InputError as error:
            problems.append(str(error))
    return sorted(runs, key=lambda run: run.begun), problems


def differing(runs: Sequence[Run]) -> list[str]:
    """Return the names of the settings in which runs differ."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    return [name for name in names if any(run.settings.get(name) != runs[0].settings.get(name) for run in runs)]


def as_typed(value: Any) -> str:
    """Return a setting as on the command line; a mapping or a list of other lists as JSON."""
    if isinstance(value, dict):
        return json.dumps(value)
    return typed(tuple(value) if isinstance(value, list) else value)


def metric_names(runs: Sequence[Run], most: int | None = None) -> list[str]:
    """Return the names of the metrics of runs, the most telling first, and at most so many."""
    names = list(dict.fromkeys(name for run in runs for name in run.metrics))
    rank = {name: next((i for i, begin in enumerate(_FIRST) if name.startswith(begin)), len(_FIRST)) for name in names}
    return sorted(names, key=rank.__getitem__)[:most]


def _mapping(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict):
        raise ValueError(f"other content in {path.name}")
    return content
