"""The folder that a run leaves behind: settings, figures, history, pictures, model."""

from collections.abc import Mapping, Sequence
import csv
from dataclasses import asdict, dataclass
from itertools import count
import json
import math
from pathlib import Path
import time
from types import TracebackType
from typing import Any, Self

from k3torch import __version__
from k3torch.errors import InputError
from k3torch.files import atomic_path


@dataclass(frozen=True)
class RunSettings:
    """What every script that writes a run folder lets a person choose about it; settings inherit from it."""

    out: Path | None = None
    """The run folder; by default runs/NAME-TIME."""
    force: bool = False
    """Write into the run folder even if it has files in it; those of an earlier run go."""


# What scripts leave in a run folder.
_WRITTEN = ("*.json", "*.csv", "*.png", "*.keras", "*.h5", "*.md", "tensorboard/*/events.*")


class RunFolder:
    """A folder whose ``metrics.json`` always says how the run ended.

    As a context manager it writes ``config.json`` first and ``metrics.json`` last, with ``status`` one of
    ``"running"``, ``"complete"``, ``"interrupted"`` or ``"failed"``, and ``history.csv`` of the rows known by then.
    Every file is written whole or not at all. Bad input noticed inside the block leaves no folder that was not there.

    Args:
        name: of the job, for the default folder's name.
        settings: the script's settings, a dataclass with RunSettings among its bases.

    Raises:
        InputError: (on entry) if the folder has files in it and ``settings.force`` is not set.
    """

    def __init__(self, name: str, settings: RunSettings):
        self.name = name
        self.settings = settings
        self.metrics: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        self.path = settings.out or Path("runs") / time.strftime(f"{name}-%Y%m%d-%H%M%S")
        self._made = False

    def __enter__(self) -> Self:
        check_free(self.settings)
        self._started = time.perf_counter()
        self._made = self.settings.out is None or not self.path.exists()
        try:
            self._make_folder()
        except OSError as error:
            raise InputError(
                f"expected to make the run folder {self.path}, got: {error.strerror}: set --out"
            ) from error
        if (self.path / "config.json").exists():  # of the run that --force replaces
            for stale in [file for pattern in _WRITTEN for file in self.path.glob(pattern)]:
                stale.unlink()
        config = {"name": self.name, "version": __version__, **asdict(self.settings)}
        self.write_json("config.json", config)
        self._write_metrics("running")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        if kind is not None and issubclass(kind, InputError) and self._made:
            for name in ("config.json", "metrics.json"):
                (self.path / name).unlink(missing_ok=True)
            if not any(self.path.iterdir()):
                self.path.rmdir()
            return
        if self.history:
            self.write_csv("history.csv", self.history)
        interrupted = kind is not None and issubclass(kind, KeyboardInterrupt)
        self._write_metrics("complete" if kind is None else "interrupted" if interrupted else "failed")

    def _make_folder(self) -> None:
        if self.settings.out is not None:
            self.path.mkdir(parents=True, exist_ok=True)
            return
        name = self.path.name
        for number in count(2):  # another run may have begun in this second
            try:
                self.path.mkdir(parents=True)
                return
            except FileExistsError:
                self.path = self.path.with_name(f"{name}-{number}")

    @property
    def seconds(self) -> float:
        """Seconds since the folder was opened."""
        return time.perf_counter() - self._started

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write ``content`` as JSON; numbers that JSON lacks (NaN, infinity) become null."""
        with atomic_path(self.path / name) as draft:
            draft.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write ``rows`` under the columns of all of them, in order of first sight."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with atomic_path(self.path / name) as draft, draft.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def save_model(self, model: Any, name: str = "model.keras") -> None:
        """Save a model through its own ``save(path)``, whole or not at all."""
        with atomic_path(self.path / name) as draft:
            model.save(draft)

    def _write_metrics(self, status: str) -> None:
        self.write_json("metrics.json", {"status": status, **self.metrics})


def check_free(settings: RunSettings) -> None:
    """Refuse a chosen folder that a run would overwrite; call it before the long work starts.

    Raises:
        InputError: if ``settings.out`` is a file, or has files in it and ``settings.force`` is not set.
    """
    out = settings.out
    if out is None or not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"expected a folder for --out, found the file {out}: choose another")
    if not settings.force and any(out.iterdir()):
        raise InputError(f"expected an empty folder for --out, found files in {out}: choose another or add --force")


def _plain(value: Any) -> Any:
    """Turn settings and figures into what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
