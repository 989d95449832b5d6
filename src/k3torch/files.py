"""Files that outlive a run: a cache folder, whole-or-nothing writes, locks, checksums, downloads."""

from collections.abc import Callable, Iterator, Mapping
import contextlib
import hashlib
import os
from pathlib import Path
import sys
import tempfile
import time

from filelock import FileLock
from k3torch.errors import InputError
import numpy as np
from numpy.typing import NDArray
import platformdirs
import pooch
import requests

Arrays = dict[str, NDArray[np.generic]]


def cache_dir() -> Path:
    """Return the cache folder, made if missing: ``$K3TORCH_CACHE``, else the system's place for caches."""
    folder = Path(os.environ.get("K3TORCH_CACHE") or platformdirs.user_cache_dir("k3torch"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a path beside ``target`` to write to; it takes the target's place when the block ends well.

    The file appears whole or not at all, also when the process is killed half-way.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o644)  # mkstemp gives 0600, which is not what a person expects of a result
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_arrays(name: str, build: Callable[[], Mapping[str, NDArray[np.generic]]]) -> Arrays:
    """Return the arrays that ``build`` makes, from ``name``.npz in the cache where that is sound; none is pickled."""

    def write(path: Path) -> None:
        np.savez(path, allow_pickle=False, **build())

    with np.load(cached_file(f"{name}.npz", write), allow_pickle=False) as stored:
        return dict(stored)


def cached_file(name: str, write: Callable[[Path], None]) -> Path:
    """Return the path of ``name`` in the cache, which ``write`` fills where it is missing.

    A file that does not match the checksum beside it is written again, with a line on standard error. Processes that
    want the same file at once wait for the first of them.
    """
    path = cache_dir() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    seal = path.with_suffix(".sha256")
    with FileLock(path.with_suffix(".lock")):
        if path.exists() and seal.exists() and seal.read_text().strip() == sha256(path):
            return path
        if path.exists():
            print(f"the cached {path} is damaged: building it again", file=sys.stderr)
        with atomic_path(path) as draft:
            write(draft)
            checksum = sha256(draft)
        with atomic_path(seal) as draft:
            draft.write_text(checksum + "\n")
    return path


def download(url: str, target: Path, checksum: str, deadline: float) -> Path:
    """Fetch ``url`` into ``target`` unless that file is there already, and return ``target``.

    Args:
        url: where the file is.
        target: where it goes, written whole or not at all.
        checksum: ``"sha256:..."`` or ``"md5:..."`` of the file; one that is there already is held to it too.
        deadline: seconds that the whole download may take.

    Raises:
        InputError: when it cannot be fetched in time, or when what came has another checksum.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel("WARNING")  # the caller says what happens; a second voice would only confuse
    try:
        with FileLock(target.with_suffix(".lock")):
            pooch.retrieve(url, checksum, fname=target.name, path=target.parent, downloader=_Downloader(deadline))
    except OSError as error:  # what requests raises is an OSError
        raise InputError(
            f"expected to download {url} within {deadline:g} s, got {type(error).__name__}: "
            "check the network, or give a local file"
        ) from error
    except ValueError as error:  # pooch's word for a wrong checksum
        raise InputError(f"expected {url} to match its checksum, but it does not: try again later") from error
    return target


class _Downloader:
    """Pooch's protocol for a downloader, with a limit on the whole and not only on each silence."""

    def __init__(self, deadline: float):
        self.deadline = deadline

    def __call__(self, url: str, output_file: str, _: pooch.Pooch) -> None:
        end = time.monotonic() + self.deadline
        with requests.get(url, stream=True, timeout=self.deadline) as answer, Path(output_file).open("wb") as file:
            answer.raise_for_status()
            for chunk in answer.iter_content(chunk_size=1 << 16):
                file.write(chunk)
                if time.monotonic() > end:
                    raise requests.Timeout(f"not done after {self.deadline:g} s")
