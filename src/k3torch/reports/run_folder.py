"""The folder that a run leaves behind: settings, metrics, history, plots, model, and a manifest of these files."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import csv
from itertools import count
import json
import math
from pathlib import Path
import time
from types import TracebackType
from typing import Any, Self

from k3torch import __version__, interrupts, options
from k3torch.errors import InputError
from k3torch.files import atomic_path
from k3torch.reports.manifest import BOOKKEEPING, Manifest


class RunFolder:
    """A folder whose ``metrics.json`` always says how the run ended.

    As a context manager it writes ``config.json`` first and ``metrics.json`` last, with ``status`` one of
    ``"running"``, ``"complete"``, ``"interrupted"`` or ``"failed"``, and ``history.csv`` of the epochs known by then.
    Every file is written whole or not at all.

    All files of the run are listed in ``manifest.json``, so that a later run with ``--force`` replaces them and no
    others. Its own methods register what they write; whoever else writes asks ``file`` or ``plot`` for the path.

    An InputError inside the block means that the run was refused. If it replaced an earlier run, or has written no
    results yet, its files are deleted, and the folder is as it was before. In all other cases the files of the earlier
    run are deleted at the end of the block.

    Args:
        name: of the job, for the default folder's name.
        settings: the script's settings, a dataclass with the group ``output``.

    Raises:
        InputError: (on entry) if the folder contains files and ``settings.output.force`` is not set, or if it cannot
            be written to.
    """

    def __init__(self, name: str, settings: options.HasOutput):
        self.name = name
        self.settings = settings
        self.metrics: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        self.path = settings.output.out or Path("runs") / time.strftime(f"{name}-%Y%m%d-%H%M%S")
        self._made: list[Path] = []  # folders that were not there, the innermost first
        self._manifest = Manifest(self.path)

    def __enter__(self) -> Self:
        check_free(self.settings.output)
        self._started = time.perf_counter()
        try:
            with interrupts.held():
                self._open()
        except OSError as error:
            self._undo()
            raise InputError(
                f"expected to write to the run folder {self.path}, got: {error.strerror}: set --out"
            ) from error
        except BaseException:  # a signal, for which __exit__ is not called
            self._undo()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        with interrupts.held():
            if kind is not None and issubclass(kind, InputError) and self._is_replaceable():
                self._undo()
                return
            if self.history:
                self.write_csv("history.csv", self.history)
            interrupted = interrupts.received() or (kind is not None and issubclass(kind, KeyboardInterrupt))
            self._write_metrics("complete" if kind is None else "interrupted" if interrupted else "failed")
            self._manifest.close()

    def _open(self) -> None:
        self._make_folder()
        self._manifest = Manifest(self.path)
        self._manifest.set_earlier_aside()
        self.write_json("config.json", {"name": self.name, "version": __version__, **options.flat(self.settings)})
        self._write_metrics("running")

    def _is_replaceable(self) -> bool:
        """Return whether a refused run is undone: it replaced an earlier one, or has written no results."""
        return self._manifest.has_earlier or self._manifest.files <= BOOKKEEPING

    def _undo(self) -> None:
        """Leave the folder as it was before the run."""
        with interrupts.held():
            self._manifest.undo()
            for folder in self._made:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def _make_folder(self) -> None:
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        if self.settings.output.out is None:
            self._make_new_folder()
            made = [self.path, *made[1:]]
        self.path.mkdir(parents=True, exist_ok=True)
        self._made = made

    def _make_new_folder(self) -> None:
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

    def file(self, name: str, *, written: bool = False) -> Path:
        """Return the path of ``name`` in the folder, for the caller to write to, and list it in the manifest.

        ``written``: this run has written the file already, under a name that it could not foresee. Otherwise a file
        in its place is the user's: it is renamed, and a line on standard error says so.

        Raises:
            InputError: if ``name`` is absolute or has ``..`` in it.
        """
        return self._manifest.add(name, written)

    def plot(self, name: str) -> Path:
        """Return the path of a plot, as ``file`` does; ``name`` is without the suffix, which is the chosen format."""
        return self.file(f"{name}.{self.settings.output.format}")

    @contextmanager
    def draft(self, name: str) -> Iterator[Path]:
        """Yield a path to write to; it becomes the file ``name`` when the block ends well."""
        with atomic_path(self.file(name)) as path:
            yield path

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write ``content`` as JSON; numbers that JSON lacks (NaN, infinity) become null."""
        with self.draft(name) as path:
            path.write_text(json.dumps(_plain(content), indent=2, allow_nan=False) + "\n")

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write ``rows`` under the columns of all of them, in order of first occurrence."""
        columns = list(dict.fromkeys(column for row in rows for column in row))
        with self.draft(name) as path, path.open("w", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    def save_model(self, model: Any, name: str = "model.keras") -> None:
        """Save a model through its own ``save(path)``, whole or not at all."""
        with self.draft(name) as path:
            model.save(path)

    def _write_metrics(self, status: str) -> None:
        self.write_json("metrics.json", {"status": status, **self.metrics})


def check_free(output: options.Output) -> None:
    """Refuse a chosen folder that a run would overwrite; call it before the long work starts.

    Raises:
        InputError: if ``output.out`` is a file, or contains files and ``output.force`` is not set.
    """
    out = output.out
    if out is None or not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"expected a folder for --out, got the file {out}")
    if not output.force and any(out.iterdir()):
        raise InputError(
            f"expected an empty folder for --out, found files in {out}: "
            "--force deletes those that an earlier run wrote, and keeps the others"
        )


def _plain(value: Any) -> Any:
    """Turn settings and metrics into what JSON knows."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
