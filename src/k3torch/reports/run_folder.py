"""The folder that a run leaves behind: settings, metrics, history, plots, model, report, and a list of these files."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
import csv
from itertools import count
import json
import math
from pathlib import Path
import tempfile
import time
from types import TracebackType
from typing import Any, Self

from k3torch import __version__, interrupts, options, processes
from k3torch.claims import Claimed, claim
from k3torch.errors import InputError
from k3torch.files import atomic_path, reason_of
from k3torch.reports import html_report
from k3torch.reports.manifest import BOOKKEEPING, Manifest
from k3torch.reports.run_checks import check_free as check_free
from k3torch.reports.run_checks import resumable_metrics
from k3torch.reports.tables import ResultTable

CHECKPOINTS = "checkpoints"
"""The folder in a run folder from which an interrupted run goes on; a complete run has none."""
_TRIES = 5


class RunFolder:
    """A folder whose ``metrics.json`` always says how the run ended.

    As a context manager it writes ``config.json`` first and ``metrics.json`` last, with ``status`` one of
    ``"running"``, ``"complete"``, ``"interrupted"`` or ``"failed"``, and ``history.csv`` of the epochs known by then.
    Every file is written whole or not at all. ``report.html`` shows all of them, with the tables and lines in
    ``results``; a run that is complete opens it in a browser with ``settings.output.open``.

    All files of the run are listed in ``manifest.json``, so that a later run with ``--force`` replaces them and no
    others. Its own methods register what they write; whoever else writes asks ``file`` or ``plot`` for the path.

    An InputError inside the block means that the run was refused. If it replaced an earlier run, or has written no
    results yet, its files are deleted, and the folder is as it was before. In all other cases the files of the earlier
    run are deleted at the end of the block.

    Of several processes the main one writes the folder. In the others it is a temporary one, and is deleted at the end.

    With ``settings.output.resume`` the folder is that of an interrupted run. Its files are kept, and replaced as they
    are written again. If the run is refused, they are as before.

    Args:
        name: of the job, for the default folder's name.
        settings: the script's settings, a dataclass with the group ``output``.

    Raises:
        InputError: (on entry) if the folder contains files and ``settings.output.force`` is not set, if another process
            is writing to it, if it cannot be written to, and if it has no run that can be resumed.
    """

    def __init__(self, name: str, settings: options.HasOutput):
        self.name = name
        self.settings = settings
        self.metrics: dict[str, Any] = {}
        self.history: list[dict[str, float]] = []
        self.results: list[ResultTable | str] = []
        """Tables and lines for ``tables.show_results`` and for the report."""
        self._plots: list[str] = []
        resume = settings.output.resume if isinstance(settings.output, options.Resumable) else None
        self.resumed = resume is not None
        """Whether the run goes on with an interrupted one."""
        self.path = resume or settings.output.out or Path("runs") / time.strftime(f"{name}-%Y%m%d-%H%M%S")
        self._temporary = None if processes.is_main() else tempfile.TemporaryDirectory(prefix="k3torch-process-")
        if self._temporary is not None:
            self.path = Path(self._temporary.name) / name
        self._made: list[Path] = []  # folders that were not there, the innermost first
        self._manifest = Manifest(self.path)
        self._end_claim: Callable[[], None] = lambda: None
        self._before = b""  # metrics.json of the run that is resumed

    def __enter__(self) -> Self:
        if not self.resumed:
            check_free(self.settings.output)
        self._started = time.perf_counter()
        try:
            with interrupts.held():
                if self.resumed and self._temporary is None:
                    self._go_on()
                else:
                    self._open()
        except BaseException as error:  # a signal too, for which __exit__ is not called
            with suppress(OSError):
                self._undo()
            if isinstance(error, OSError):
                raise _not_written(self.path, error) from error
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        with interrupts.held():
            try:
                self._close(kind)
            finally:
                self._end_claim()
                if self._temporary is not None:
                    self._temporary.cleanup()
        if kind is None and self.settings.output.open and self._temporary is None:
            html_report.open_report(self.path / html_report.NAME)

    def _close(self, kind: type[BaseException] | None) -> None:
        if kind is not None and issubclass(kind, InputError) and self._is_replaceable():
            self._undo()
            return
        interrupted = interrupts.received() or (kind is not None and issubclass(kind, KeyboardInterrupt))
        try:
            if self.history:
                self.write_csv("history.csv", self.history)
            status = "complete" if kind is None else "interrupted" if interrupted else "failed"
            try:
                self._write_report(status)
            finally:
                self._write_metrics(status)  # last, or a run that is killed meanwhile could not be resumed
            if kind is None:
                self._manifest.remove(f"{CHECKPOINTS}/")
            self._manifest.close()
        except OSError as error:  # the disk is full, say
            self._write_failed()
            raise _not_written(self.path, error) from error

    def _write_failed(self) -> None:
        """Write the status "failed" over the metrics that are there, which takes no space on the disk."""
        with suppress(OSError), (self.path / "metrics.json").open("r+b") as file:
            file.write(b'{"status": "failed"}\n')
            file.truncate()

    def _open(self) -> None:
        self._make_folder()
        check_free(self.settings.output)  # another run may have written to it in the meantime
        self._manifest = Manifest(self.path)
        self._manifest.set_earlier_aside()
        self.write_json("config.json", {"name": self.name, "version": __version__, **options.flat(self.settings)})
        self._write_metrics("running")

    def _go_on(self) -> None:
        """Open the folder of an interrupted run."""
        self._claim()
        self._before = resumable_metrics(self.path)
        self._manifest = Manifest(self.path)
        self._manifest.go_on()
        self._write_metrics("running")

    def _claim(self) -> None:
        try:
            self._end_claim = claim(self.path)
        except Claimed as error:
            self._made = []  # they are the other process's too
            raise InputError(
                f"expected a run folder of its own, got {self.path}, to which another process is writing"
                + ("" if self.resumed else ": set --out")
            ) from error

    def _is_replaceable(self) -> bool:
        """Return whether a refused run is undone: it goes on with or replaced another, or has written no results."""
        return self.resumed or self._manifest.has_earlier or self._manifest.files <= BOOKKEEPING

    def _undo(self) -> None:
        """Leave the folder as it was before the run."""
        with interrupts.held():
            try:
                if self.resumed and self._before:
                    with atomic_path(self.path / "metrics.json") as draft:
                        draft.write_bytes(self._before)
                elif not self.resumed:
                    self._manifest.undo()
                    for folder in self._made:
                        if folder.is_dir() and not any(folder.iterdir()):
                            folder.rmdir()
            finally:
                self._end_claim()

    def _make_folder(self) -> None:
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        if self.settings.output.out is None:
            self._make_new_folder()
            made = [self.path, *made[1:]]
        for _ in range(_TRIES):  # another run that is refused may remove the folder
            with suppress(FileNotFoundError):
                self.path.mkdir(parents=True, exist_ok=True)
                self._claim()
                break
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

    def checkpoint(self, path: Path) -> Path:
        """List a checkpoint, a file in the folder, before it is written, and drop those that were deleted since.

        ``history.csv`` is written too, so that a killed run has its history up to then.
        """
        if self.history:
            self.write_csv("history.csv", self.history)
        name = path.relative_to(self.path)
        self._manifest.drop_deleted(f"{name.parent.as_posix()}/")
        return self.file(name.as_posix())

    def plot(self, name: str) -> Path:
        """Return the path of a plot, as ``file`` does; ``name`` is without the suffix, which is the chosen format."""
        path = self.file(f"{name}.{self.settings.output.format}")
        self._plots.append(path.name)
        return path

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

    def _write_report(self, status: str) -> None:
        with self.draft(html_report.NAME) as path:
            content = html_report.Content(
                name=self.name,
                folder=self.path,
                status=status,
                seconds=self.seconds,
                settings=self.settings,
                metrics=self.metrics,
                history=self.history,
                results=self.results,
                plots=list(dict.fromkeys(self._plots)),
                files=[name for name in sorted(self._manifest.files - {html_report.NAME}) if "/" not in name],
            )
            html_report.write_report(path, content)


def _not_written(folder: Path, error: OSError) -> InputError:
    return InputError(f"expected to write to the run folder {folder}, got: {reason_of(error)}: set --out")


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
