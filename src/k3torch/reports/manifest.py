"""The list of files that a run wrote into its folder, so that the next run deletes these and nothing else."""

from itertools import count
import json
from pathlib import Path, PurePosixPath, PureWindowsPath
import sys

from k3torch.errors import InputError
from k3torch.files import atomic_path

NAME = "manifest.json"


class Manifest:
    """The manifest of a run folder: ``manifest.json``, ``{"files": [names relative to the folder, with /]}``.

    It is written before each file that it lists, so that a killed run has listed all of its files.

    Args:
        folder: the run folder, which exists. A valid manifest in it is that of an earlier run.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: set[str] = set()
        self._earlier = _read(folder)

    def delete_earlier_files(self) -> None:
        """Delete the files that the earlier run listed. Without a valid manifest nothing is deleted."""
        self._delete(self._earlier)

    def delete(self) -> None:
        """Delete all files listed here, and the manifest."""
        self._delete(self.files | {NAME})

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

    def close(self) -> None:
        """Drop the names of files that were not written after all."""
        self.files = {name for name in self.files if (self.folder / name).exists()}
        self._write()

    def _write(self) -> None:
        with atomic_path(self.folder / NAME) as draft:
            draft.write_text(json.dumps({"files": sorted(self.files)}, indent=2) + "\n")

    def _delete(self, names: set[str]) -> None:
        for name in sorted(names, key=lambda name: name == NAME):  # the manifest last, should this be interrupted
            if _is_inside(name) and not _passes_link(self.folder, name) and (self.folder / name).is_file():
                (self.folder / name).unlink()
                for parent in PurePosixPath(name).parents[:-1]:
                    if not any((self.folder / parent).iterdir()):
                        (self.folder / parent).rmdir()

    def _keep(self, path: Path) -> None:
        """Rename a file of the user's that is where the run writes."""
        if not path.exists() and not path.is_symlink():
            return
        names = (path.with_name(f"{path.name}.bak{number if number > 1 else ''}") for number in count(1))
        kept = next(name for name in names if not name.exists() and not name.is_symlink())
        path.rename(kept)
        print(f"{path} was not written by a run: renamed to {kept.name}", file=sys.stderr)


def _read(folder: Path) -> set[str]:
    """Return the names in the folder's manifest and the manifest's own; none if it is missing or invalid."""
    path = folder / NAME
    try:
        files = [] if path.is_symlink() else json.loads(path.read_text("utf-8"))["files"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return set()
    if not isinstance(files, list) or not files or not all(isinstance(n, str) and _is_inside(n) for n in files):
        return set()
    return {*files, NAME}


def _is_inside(name: str) -> bool:
    """Return whether ``name`` is a path that stays inside its folder, on POSIX and on Windows."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return bool(paths[0].parts) and "\0" not in name and not any(path.anchor or ".." in path.parts for path in paths)


def _passes_link(folder: Path, name: str) -> bool:
    parts = PurePosixPath(name).parts
    return any(folder.joinpath(*parts[: i + 1]).is_symlink() for i in range(len(parts)))
