"""Folders that one process at a time writes to: a claim ends with the process, however it ends."""

from collections.abc import Callable
import hashlib
import os
from pathlib import Path
import tempfile
import time

from filelock import FileLock, Timeout

_TRIES, _PAUSE = 5, 0.05  # ``is_claimed`` of another process may be looking; seconds between two tries


class Claimed(Exception):  # noqa: N818  (a reason, not an error)
    """Another process has claimed the folder."""


def claim(folder: Path) -> Callable[[], None]:
    """Claim a folder, which exists, and return the function that ends the claim, which may be called twice.

    Other processes of this machine cannot claim it in the meantime; nothing is written into it. Where the file system
    has no locks, nothing is claimed.

    Raises:
        Claimed: if another process has claimed it.
        FileNotFoundError: if another process has removed the folder.
    """
    for _ in range(_TRIES - 1):
        try:
            return _lock(folder)
        except Claimed:
            time.sleep(_PAUSE)
    return _lock(folder)


def is_claimed(folder: Path) -> bool:
    """Return whether a process has claimed a folder, which exists."""
    try:
        _lock(folder)()
    except Claimed:
        return True
    return False


def _lock(folder: Path) -> Callable[[], None]:
    return _lock_folder(folder) if os.name == "posix" else _lock_name(folder)


def _lock_folder(folder: Path) -> Callable[[], None]:
    import fcntl  # POSIX alone has it

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return lambda: None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise FileNotFoundError(f"{folder} was removed and made again")
    except BlockingIOError as error:
        os.close(descriptor)
        raise Claimed from error
    except FileNotFoundError:
        os.close(descriptor)
        raise
    except OSError:  # a file system without locks
        os.close(descriptor)
        return lambda: None
    held = [descriptor]
    return lambda: os.close(held.pop()) if held else None


def _lock_name(folder: Path) -> Callable[[], None]:
    """Lock a temporary file that stands for ``folder``: Windows locks files only."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:32]
    lock = FileLock(Path(tempfile.gettempdir()) / f"k3torch-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Claimed from error
    if not folder.is_dir():
        lock.release()
        raise FileNotFoundError(f"{folder} was removed")
    return lock.release
