"""The list of files that a run wrote into its folder, so that the next run replaces these and nothing else."""

from collections.abc import Iterable, Iterator
from itertools import count
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
import sys

from k3torch import __version__
from k3torch.errors import InputError
from k3torch.files import atomic_path, remove_drafts

NAME = "manifest.json"
BOOKKEEPING = {"config.json", "metrics.json"}
"""Files that every run has, also one without results."""
EARLIER = ".k3torch-earlier"


class Manifest:
    """The manifest of a run folder: ``manifest.json`` with the names relative to the folder, with /.

    It is written before each file that it lists, so that a killed run has listed all of its files. ``written_by`` and
    ``version`` tell it from another program's manifest: only a manifest that k3torch wrote is valid.

    The files of an earlier run move to the hidden folder ``.k3torch-earlier`` while a new run may still be refused,
    the manifest last, and back with the manifest first. So after a kill at any moment either the manifest is in the
    run folder, and the next run moves the files that it lists back, or the hidden folder is complete.

    Args:
        folder: the run folder, which exists. A valid manifest in it is that of an earlier run.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: set[str] = set()
        self._aside: Path | None = None  # where the files of the earlier run are
        self._renamed: list[tuple[Path, Path]] = []  # files of the user's: their names before and now

    @property
    def has_earlier(self) -> bool:
        """Whether the files of an earlier run are set aside."""
        return self._aside is not None

    def set_earlier_aside(self) -> None:
        """Move the files that the earlier run listed to a hidden folder. Without a valid manifest nothing is moved."""
        self._recover()
        names = _read(self.folder)
        self._remove_drafts(names)
        if names:
            aside = next(path for path in _numbered(self.folder / EARLIER) if not _exists(path))
            aside.mkdir()
            _move(names, self.folder, aside)
            self._aside = aside

    def go_on(self) -> None:
        """Take the files that an interrupted run listed as those of this run, and remove what it left half-written.

        Raises:
            InputError: without a valid manifest.
        """
        self.files = _read(self.folder) - {NAME}
        if not self.files:
            raise InputError(f"expected a run folder with a {NAME} of k3torch for --resume, got {self.folder}")
        self._remove_drafts(self.files)

    def undo(self) -> None:
        """Delete all files listed here, and give those of the earlier run and of the user their places back."""
        _delete(self.folder, self.files)
        self.files = set()
        for path, name in reversed(self._renamed):
            if _exists(name) and not _exists(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                name.rename(path)
                print(f"{name} renamed back to {path.name}", file=sys.stderr)
        self._renamed = []
        if self._aside is not None:
            self._move_back(self._aside, _read(self._aside))
            self._aside = None

    def add(self, name: str, written: bool = False) -> Path:
        """List a file and return its path; unless this run has ``written`` it, what is in its place is renamed.

        Raises:
            InputError: if ``name`` is absolute or has ``..`` in it.
        """
        if not _is_inside(name):
            raise InputError(f"expected a file name inside {self.folder}, got {name!r}")
        path = self.folder / name
        if name not in self.files:
            if not self.files:
                self._keep(self.folder / NAME)  # there still if it was no valid manifest
            for folder in reversed(path.relative_to(self.folder).parents[:-1]):
                if (self.folder / folder).is_symlink():  # leads to files outside
                    self._keep(self.folder / folder)
            if not written:
                self._keep(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self.files.add(name)
            self._write()
        return path

    def remove(self, prefix: str) -> None:
        """Delete the listed files whose names begin with ``prefix``."""
        names = {name for name in self.files if name.startswith(prefix)}
        self._remove_drafts(names)
        for name in names:
            if _is_own_file(self.folder, name):
                (self.folder / name).unlink()
        for name in names:
            _remove_empty_parents(self.folder, name)
        self.files -= names

    def drop_deleted(self, prefix: str) -> None:
        """Drop the names with ``prefix`` of files that are not there; the next ``add`` writes the manifest."""
        self.files = {name for name in self.files if not name.startswith(prefix) or (self.folder / name).exists()}

    def close(self) -> None:
        """Drop the names of files that were not written after all, and delete the files of earlier runs."""
        self.files = {name for name in self.files if (self.folder / name).exists()}
        self._write()
        for aside in _asides(self.folder):
            _delete(aside, _read(aside))
            _remove_if_empty(aside)

    def _remove_drafts(self, names: Iterable[str]) -> None:
        for name in {*names, NAME}:
            if _is_inside(name):
                remove_drafts(self.folder / name)

    def _write(self) -> None:
        content = {"written_by": "k3torch", "version": __version__, "files": sorted(self.files)}
        with atomic_path(self.folder / NAME) as draft:
            draft.write_text(json.dumps(content, indent=2) + "\n")

    def _recover(self) -> None:
        """Move the files back that a killed run had set aside, unless it has left results of its own."""
        asides = _asides(self.folder)
        complete = [aside for aside in asides if _read(aside)]
        listed = _read(self.folder)
        has_results = any(_exists(self.folder / name) for name in listed - BOOKKEEPING - {NAME})
        if complete and not has_results and (listed or not _exists(self.folder / NAME)):
            _delete(self.folder, listed)
            self._move_back(complete[-1], _read(complete[-1]))
        for aside in asides:
            if not _exists(aside / NAME):  # killed while it moved the files
                self._move_back(aside, {name for name in _read(self.folder) if not _exists(self.folder / name)})

    def _move_back(self, aside: Path, names: set[str]) -> None:
        for name in names:
            if (aside / name).is_file():
                self._keep(self.folder / name)
        _move(names, aside, self.folder, manifest_first=True)
        _remove_if_empty(aside)

    def _keep(self, path: Path) -> None:
        """Rename a file of the user's that is where the run writes."""
        if not _exists(path):
            return
        names = _numbered(path.with_name(f"{path.name}.bak"))
        kept = next(name for name in names if not _exists(name))
        path.rename(kept)
        self._renamed.append((path, kept))
        print(f"{path} was not written by a run: renamed to {kept.name}", file=sys.stderr)


def _numbered(path: Path) -> Iterator[Path]:
    """Yield ``path``, then the same with 2, 3, ... behind its name."""
    return (path.with_name(f"{path.name}{number if number > 1 else ''}") for number in count(1))


def _asides(folder: Path) -> list[Path]:
    """Return the hidden folders with files of earlier runs, the latest last: more than one if a run was killed."""
    found = [path for path in folder.glob(f"{EARLIER}*") if path.is_dir() and not path.is_symlink()]
    numbers = {path: path.name.removeprefix(EARLIER) or "1" for path in found}
    return sorted((path for path in found if numbers[path].isdecimal()), key=lambda path: int(numbers[path]))


def _move(names: Iterable[str], source: Path, target: Path, manifest_first: bool = False) -> None:
    """Move the named files that exist, the manifest first or last, and remove the folders that become empty."""
    for name in sorted(names, key=lambda name: (name == NAME) != manifest_first):
        if _is_own_file(source, name):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).rename(target / name)
            _remove_empty_parents(source, name)


def _delete(folder: Path, names: Iterable[str]) -> None:
    """Delete the named files and then the manifest, should this be interrupted, and the folders that become empty."""
    for name in [*sorted(set(names) - {NAME}), NAME]:
        if names and _is_own_file(folder, name):
            (folder / name).unlink()
            _remove_empty_parents(folder, name)


def _remove_empty_parents(folder: Path, name: str) -> None:
    for parent in PurePosixPath(name).parents[:-1]:
        _remove_if_empty(folder / parent)


def _remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _exists(path: Path) -> bool:
    """Return whether ``path`` is anything, also a link that leads nowhere."""
    return path.exists() or path.is_symlink()


def _read(folder: Path) -> set[str]:
    """Return the names in the folder's manifest and the manifest's own; none if it is missing or invalid."""
    path = folder / NAME
    try:
        content = {} if path.is_symlink() else json.loads(path.read_text("utf-8"))
        files, writer = content["files"], (content["written_by"], type(content["version"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()
    if writer != ("k3torch", str) or not isinstance(files, list) or not files:
        return set()
    return {*files, NAME} if all(isinstance(name, str) and _is_inside(name) for name in files) else set()


def _is_inside(name: str) -> bool:
    """Return whether ``name`` is a path that stays inside its folder, on POSIX and on Windows."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return bool(paths[0].parts) and "\0" not in name and not any(path.anchor or ".." in path.parts for path in paths)


def _is_own_file(folder: Path, name: str) -> bool:
    """Return whether ``name`` is a file inside ``folder`` that no symbolic link leads to."""
    parts = PurePosixPath(name).parts
    links = any(folder.joinpath(*parts[: i + 1]).is_symlink() for i in range(len(parts)))
    return _is_inside(name) and not links and (folder / name).is_file()
