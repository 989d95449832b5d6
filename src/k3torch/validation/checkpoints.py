"""Checkpoints of ``cross_validate`` and ``search``, from which an interrupted call goes on bit for bit.

A checkpoint holds what is complete and still needed (scores, histories, the state of the models), and the state of the
training that is in progress. The call repeats what is cheap and follows from its arguments, such as building the
models, and loads the rest in the same order.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import sys
from typing import Any, Protocol

from k3torch.errors import InputError
from k3torch.training.checkpoint_file import CheckpointFolder, fitting
from k3torch.training.checkpoint_run import Settings, check_settings
from k3torch.training.model_state import get_random_states

Checkpoint = str | Path | CheckpointFolder | None
Values = dict[str, Any]
_FORMAT = 1  # of the files; another number in a file means that another version of k3torch wrote it


@contextmanager
def claimed(where: Checkpoint) -> Iterator[CheckpointFolder | None]:
    """Keep other processes from a folder of checkpoints, if one is given, within the block.

    Raises:
        InputError: for anything else than a folder, and as ``CheckpointFolder.claimed``.
    """
    if not isinstance(where, str | Path | CheckpointFolder | None):
        raise InputError(f"expected checkpoint as a folder, got {where!r}")
    if where is None:
        yield None
        return
    with (where if isinstance(where, CheckpointFolder) else CheckpointFolder(where)).claimed() as folder:
        yield folder


class Recorded(Protocol):
    """A complete training whose models are still needed."""

    def record(self) -> Values:
        """Return what is stored of it."""


@dataclass(frozen=True)
class Stored:
    """A complete training of which there is nothing but what is stored."""

    values: Values

    def record(self) -> Values:
        """Return what is stored of it."""
        return self.values


class Current:
    """The training that is in progress, as it is stored.

    Args:
        key: names the training within its call.
        checkpoints: of the call, or None for a training without.
        stored: what ``values`` returned before the interruption, or None.

    Attributes:
        engine: "stacked" or "fit" once that is decided, else None.
        compiled: whether compiled C++ loops train a stack, or None.
        jobs: what is stored of each job that has begun, by its number.
        random: the states of the global random generators with which the training goes on, until they are set.
    """

    def __init__(self, key: str = "", checkpoints: "Checkpoints | None" = None, stored: Values | None = None):
        self.key, self._checkpoints = key, checkpoints
        stored = stored or {}
        self.engine, self.compiled = stored.get("engine"), stored.get("compiled")
        self.jobs: dict[int, Values] = stored.get("jobs", {})
        self.random = stored.get("random")

    @property
    def is_stored(self) -> bool:
        """Whether checkpoints are written."""
        return self._checkpoints is not None and self._checkpoints.folder is not None

    def is_due(self) -> bool:
        """Return whether a checkpoint is to be written when all jobs can be stored."""
        return self._checkpoints is not None and self._checkpoints.is_due()

    def write(self) -> None:
        """Write a checkpoint."""
        if self._checkpoints is not None:
            self._checkpoints.write(self)

    def values(self) -> Values:
        """Return what is stored."""
        stored = {name: getattr(self, name) for name in ("key", "engine", "compiled", "jobs")}
        return stored | {"random": get_random_states()}

    def compiled_as(self, compiled: bool) -> None:
        """Note whether the stack is compiled.

        Raises:
            InputError: if it was otherwise before the interruption.
        """
        if self.compiled not in (None, compiled):
            before, now = ("a compiled" if each else "an uncompiled" for each in (self.compiled, compiled))
            raise InputError(f"expected {before} step, as before the interruption, got {now} one: give another folder")
        self.engine, self.compiled = "stacked", compiled


class Checkpoints:
    """The checkpoints of one call.

    Args:
        folder: where they are, or None for none.
        settings: what has to be the same when the call is repeated, by its name for the user.

    Attributes:
        parts: results of what is complete, by name.

    Raises:
        InputError: for a checkpoint of other settings, and if all are damaged.
    """

    def __init__(self, folder: CheckpointFolder | None, settings: Settings):
        self.folder = folder
        self._settings = settings
        self._number = 0
        self.parts: Values = {}
        self._trainings: dict[str, Recorded] = {}
        self._stored: Values = {"trainings": {}, "current": None}
        self._load()

    @fitting()
    def _load(self) -> None:
        if self.folder is not None and (found := self.folder.newest()) is not None:
            self._number, self._stored = found
            self._check(self.folder.file(self._number))
            self.parts = {key: dict(values) for key, values in self._stored["parts"].items()}  # dict refuses all else
            # A checkpoint may be written before the call has come to all of them.
            self._trainings = {key: Stored(record) for key, record in self._stored["trainings"].items()}

    def _check(self, where: Path) -> None:
        if self._stored.get("format") != _FORMAT or "trainings" not in self._stored:
            raise InputError(
                f"expected a checkpoint of this version of k3torch in {where}, by cross_validate or search: give "
                "another folder to begin"
            )
        check_settings(self._stored["settings"], self._settings, where)
        print(f"resuming from {where}", file=sys.stderr)

    def begin(self, key: str) -> Current:
        """Return the training of this name, which begins now, or goes on."""
        with fitting():
            stored = self._stored["current"]
            return Current(key, self, stored if stored and stored["key"] == key else None)

    def trained(self, key: str) -> Values | None:
        """Return what is stored of a complete training, or None."""
        found: Values | None = self._stored["trainings"].get(key)
        return found

    def complete(self, trainings: Mapping[str, Recorded]) -> None:
        """Store these trainings, which are complete, from now on."""
        self._trainings.update(trainings)

    def keep(self, key: str) -> None:
        """Store a training as it is now: its models are not trained further, and get layers for the scaling."""
        if key in self._trainings:
            self._trainings[key] = Stored(self._trainings[key].record())

    def forget(self, key: str) -> None:
        """Store a training no longer: its models are not needed."""
        self._trainings.pop(key, None)

    def is_due(self) -> bool:
        """Return whether writing the last checkpoint took at most 1% of the time since then."""
        return self.folder is not None and self.folder.is_due()

    def write_if_due(self) -> None:
        """Write a checkpoint between two trainings, if one is due."""
        if self.is_due():
            self.write()

    def write(self, current: Current | None = None) -> None:
        """Write a checkpoint, with the training that is in progress."""
        if self.folder is None:
            return
        self._number += 1
        content: Values = {
            "format": _FORMAT,
            "settings": self._settings,
            "parts": self.parts,
            "trainings": {key: training.record() for key, training in self._trainings.items()},
            "current": current and current.values(),
        }
        self.folder.write(self._number, content)
