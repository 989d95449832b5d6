"""Files that outlive a process: atomic writes, a private cache folder, locks and checksums."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import functools
import hashlib
import os
from pathlib import Path
import re
import shutil
import stat
import sys
import tempfile
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from k3torch.claims import Claimed, claim, is_claimed
from k3torch.errors import first_line
import platformdirs

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[np.generic]]

_TEMPORARY, _DRAFT = "k3torch-cache-", ".k3torch-draft-"  # how names of temporary folders begin
_LONGEST = 60  # bytes of a stem, and of a suffix, that a draft repeats: names may have 255, on encrypted disks 143
LOCK_NOTICE, LOCK_TIMEOUT = 2.0, 600.0  # seconds until a lock that another process holds is mentioned, and given up


def cache_dir() -> Path:
    """Return the cache folder, made if missing: ``$K3TORCH_CACHE``, else the system's folder for caches.

    Compiled code is loaded from it, so it must belong to the user alone: it is made with mode 0700, and not used if
    another user owns it or may write to it. A folder that cannot be used is replaced by a private temporary one, which
    is deleted when the process ends; one line on standard error says why.
    """
    return _usable(os.environ.get("K3TORCH_CACHE") or platformdirs.user_cache_dir("k3torch"))


@functools.cache
def _usable(chosen: str) -> Path:
    try:
        folder = Path(chosen).expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        problem = _access_by_others(folder)
        if problem is None and not os.access(folder, os.W_OK | os.X_OK):
            problem = "it is read-only"
    except (OSError, ValueError, RuntimeError) as error:  # a file in its place, a NUL in its name, no home folder
        problem = reason_of(error)
    if problem is None:
        return folder
    _notice(f"the cache folder {chosen} is not used: {problem}")
    return _temporary_dir()


@functools.cache
def _temporary_dir() -> Path:
    import atexit  # only a process without a usable cache needs it

    parent = Path(tempfile.gettempdir())
    _remove_folders(parent, _TEMPORARY)
    folder, _ = _claimed_folder(parent, _TEMPORARY)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _access_by_others(path: Path) -> str | None:
    """Return why users other than this one could have written ``path``, or None where they could not."""
    if not hasattr(os, "getuid"):  # Windows: the user's folders are private by default
        return None
    status = path.lstat()
    if status.st_uid != os.getuid():
        return "another user owns it"
    if not stat.S_ISLNK(status.st_mode) and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"other users may write to it (chmod 700 {path} denies them)"
    return None


@contextlib.contextmanager
def atomic_path(target: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a path beside ``target`` to write to; it replaces ``target`` when the block succeeds.

    Other processes see the old file or the whole new one, also when this process is killed. After a power failure this
    holds only with ``durable``, which waits until the disk has the file: milliseconds to tenths of a second.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_draft_prefix(target), suffix=_draft_suffix(target), dir=target.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)  # mkstemp gives 0600, which users do not expect of a result
        if durable:
            _flush(draft)
        draft.replace(target)
        if durable and os.name == "posix":  # the new name, too; Windows opens no folders
            _flush(target.parent)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``target``; it becomes ``target`` when the block succeeds.

    Where ``target`` has files already, the new ones are moved to it one by one, and replace those of the same names.
    Drafts of killed processes beside it are removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_folders(target.parent, _DRAFT)
    draft, end_claim = _claimed_folder(target.parent, _DRAFT)
    try:
        draft.chmod(0o755)  # mkdtemp gives 0700, which users do not expect of a result
        yield draft
        try:
            draft.replace(target)
        except OSError:  # it has files, or is a link to a folder
            if not target.is_dir():
                raise
            for path in draft.iterdir():
                path.replace(target / path.name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        end_claim()


def _claimed_folder(parent: Path, prefix: str) -> tuple[Path, Callable[[], None]]:
    """Make a folder of mode 0700 and claim it; return it and what ends the claim."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        with contextlib.suppress(Claimed, FileNotFoundError):  # another process takes it for that of a killed one
            return folder, claim(folder)


def _remove_folders(parent: Path, prefix: str) -> None:
    """Remove the folders of ``_claimed_folder`` whose processes have been killed, which claim nothing."""
    for left in parent.glob(f"{prefix}????????"):
        with contextlib.suppress(OSError, Claimed):
            if left.is_symlink() or not left.is_dir() or _access_by_others(left):
                continue
            end_claim = claim(left)
            if is_claimed(left):  # else the file system has no locks, and the process may be alive
                shutil.rmtree(left, ignore_errors=True)
            end_claim()


def is_draft(path: Path, target: Path) -> bool:
    """Return whether ``path`` is what a killed process left of writing ``target``, in the same folder."""
    name = re.escape(_draft_prefix(target)) + r"[a-z0-9_]{8}" + re.escape(_draft_suffix(target))
    return bool(re.fullmatch(name, path.name)) and path.is_file() and not path.is_symlink()


def remove_drafts(target: Path) -> None:
    """Remove what killed processes left of writing ``target``; call it when no other process can be writing it."""
    if target.parent.is_dir():
        for path in list(target.parent.iterdir()):
            if is_draft(path, target):
                path.unlink(missing_ok=True)


def _draft_prefix(target: Path) -> str:
    name = os.fsencode(target.stem)
    return f".{target.stem if len(name) <= _LONGEST else hashlib.sha256(name).hexdigest()[:32]}-"


def _draft_suffix(target: Path) -> str:
    return target.suffix if len(os.fsencode(target.suffix)) <= _LONGEST else ""


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_arrays(name: str, build: "Callable[[], Mapping[str, NDArray[np.generic]]]") -> "Arrays":
    """Return the arrays that ``build`` returns, from ``name``.npz in the cache where it is intact, without pickles."""
    import numpy as np

    def write(path: Path) -> None:
        np.savez(path, allow_pickle=False, **build())

    try:
        with np.load(cached_file(f"{name}.npz", write), allow_pickle=False) as stored:
            return dict(stored)
    except OSError as error:  # no space in the temporary folder either
        _notice(f"continuing without any cache: {reason_of(error)}")
        return dict(build())


def cached_file(name: str, write: Callable[[Path], None]) -> Path:
    """Return the path of ``name`` in the cache folder; ``write`` fills the file where it is missing.

    A file that does not match the checksum beside it, or that another user may have written, is written again, with
    one line on standard error. Processes that want the same file at once wait for the first of them. Where the cache
    cannot be used (disk full, no permission, a lock that is held too long), the file goes to a private temporary
    folder, with one line.
    """
    try:
        return _cached_in(cache_dir(), name, write)
    except OSError as error:
        _notice(f"continuing without the cache folder {cache_dir()}: {reason_of(error)}")
        return _cached_in(_temporary_dir(), name, write)


def _cached_in(folder: Path, name: str, write: Callable[[Path], None]) -> Path:
    path = folder / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    checksum_file = path.with_suffix(".sha256")
    with locked(path.with_suffix(".lock")):
        if _is_intact(path, checksum_file):
            return path
        if path.exists():
            _notice(f"the cached file {path} is damaged: building it again")
        remove_drafts(path)  # this process holds the lock
        remove_drafts(checksum_file)
        with atomic_path(path) as draft:
            write(draft)
            checksum = sha256(draft)
        with atomic_path(checksum_file) as draft:
            draft.write_text(checksum + "\n")
    return path


def _is_intact(path: Path, checksum_file: Path) -> bool:
    if not (path.is_file() and checksum_file.is_file()):
        return False
    if _access_by_others(path.parent) or _access_by_others(path):
        return False
    return checksum_file.read_bytes().strip() == sha256(path).encode()


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file ``path``, which is made if missing, during the block.

    Raises:
        TimeoutError: if another process holds it for longer than ``LOCK_TIMEOUT`` seconds.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=LOCK_NOTICE)
    except Timeout:
        _notice(f"waiting for another process, which holds {path}")
        try:
            lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout as error:
            raise TimeoutError(f"another process has held {path} for {LOCK_TIMEOUT:g} s") from error
    try:
        yield
    finally:
        lock.release()


def private_compiler_cache() -> None:
    """Point torch's compiler to a folder inside ``cache_dir()`` for its own caches.

    Its default lies in the shared temporary directory, under a name that another user can create first, and it
    unpickles what it finds there. A folder that the user has chosen (``TORCHINDUCTOR_CACHE_DIR``) is kept.
    """
    chosen = os.environ.get("TORCHINDUCTOR_CACHE_DIR", "")
    shared = os.path.join(tempfile.gettempdir(), "torchinductor_")  # noqa: PTH118  (torch sets the variable so itself)
    if not chosen or chosen.startswith(shared):
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache_dir() / "inductor")


def reason_of(error: BaseException) -> str:
    """Return in a few words why a file could not be read or written."""
    return getattr(error, "strerror", None) or first_line(error)


def _notice(line: str) -> None:
    print(line, file=sys.stderr)
