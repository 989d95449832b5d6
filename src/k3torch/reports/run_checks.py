"""Checks of a run folder before the long work starts: whether a run may write to it, and whether it can be resumed."""

import errno
import json
import os
from pathlib import Path

from k3torch import options, processes
from k3torch.errors import InputError
from k3torch.files import is_draft, reason_of
from k3torch.reports.manifest import NAME as MANIFEST


def check_free(output: options.Output) -> None:
    """Refuse a chosen folder that a run would overwrite or cannot resume; call it before the long work starts.

    Raises:
        InputError: if ``output.out`` is a file or cannot be read, or contains files and ``output.force`` is not set; if
            ``output.resume`` has no interrupted run.
    """
    if not processes.is_main():  # the main process writes, and may have begun
        return
    if isinstance(output, options.Resumable) and output.resume is not None:
        resumable_metrics(output.resume)
        return
    if output.out is None:
        return
    try:
        used = _is_used(output.out)
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a name that is too long, no permission, a NUL
        raise InputError(f"expected a folder for --out, got {output.out}: {reason_of(error)}") from error
    if used and not output.force:
        raise InputError(
            f"expected an empty folder for --out, found files in {output.out}: "
            "--force deletes those that an earlier run wrote, and keeps the others"
        )


def _is_used(out: Path) -> bool:
    """Return whether a folder contains files, other than what a run left that was killed in its first moment.

    Raises:
        InputError: for what is no folder.
        OSError: if it cannot be read, written to or made.
        ValueError: for a name with a NUL.
    """
    if "\0" in str(out):
        raise ValueError("its name has a NUL")
    if out.is_symlink() and not out.exists():
        raise InputError(f"expected a folder for --out, got the dangling link {out}")
    there = next((path for path in (out, *out.parents) if path.exists()), out)
    if not there.is_dir():
        raise InputError(f"expected a folder for --out, got the file {there}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, f"no permission to write to {there}")
    return there == out and any(not is_draft(path, out / MANIFEST) for path in out.iterdir())


def resumable_metrics(folder: Path) -> bytes:
    """Return the content of ``metrics.json`` of a run that can be resumed; empty if it was killed before that file.

    Raises:
        InputError: for a folder without a run, and a run that is complete.
    """
    try:
        path = folder / "metrics.json"
        content = path.read_bytes() if path.exists() else b""
        status = json.loads(content or b"{}").get("status")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f"expected the folder of an interrupted run for --resume, got {folder}: {reason_of(error)}"
        ) from error
    if status == "complete":
        raise InputError(f"expected an interrupted run for --resume, got {folder}, whose run is complete")
    return content
