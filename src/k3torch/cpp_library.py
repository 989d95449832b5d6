"""C++ sources of this package, compiled with the C++ compiler of the machine at their first use."""

import ctypes
import hashlib
import os
from pathlib import Path
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from k3torch.files import cached_file

TIMEOUT = 60.0  # seconds that the compiler may take; it needs less than one


def load(source: Path) -> ctypes.CDLL | None:
    """Return the shared library of a C++ file, from the cache folder or compiled now, or None without a compiler.

    The name of the cached file is a hash of the source, the compiler's command and the kind of processor, so that
    another machine with the same cache folder compiles its own.

    Args:
        source: a file that includes headers of the standard library alone.
    """
    command = _command()
    if command is None:
        return None
    code = source.read_bytes()
    machine = (platform.machine(), platform.system(), platform.libc_ver())
    name = hashlib.sha256(repr((code, command, machine)).encode()).hexdigest()[:32]
    try:
        path = cached_file(f"compiled/{source.stem}-{name}.so", lambda draft: _compile(command, code, draft))
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.SubprocessError):  # a compiler that does not work, or no place for its output
        return None


def function(library: ctypes.CDLL, name: str, *arguments: Any, returns: Any = None) -> Any:
    """Return a function of a library, with the types of its arguments and of its result from ``ctypes``."""
    found = getattr(library, name)
    found.argtypes, found.restype = arguments, returns
    return found


def _command() -> tuple[str, ...] | None:
    """Return the command of the C++ compiler with its options, or None if there is none to use."""
    try:
        chosen, *options = shlex.split(os.environ.get("CXX", "")) or ["c++"]
    except ValueError:  # a quotation mark without its other one
        return None
    found = shutil.which(chosen)
    if found is None or sys.platform == "win32" or not _has_tools():
        return None
    # sqrt need not set errno, which would keep the compiler from using vector instructions.
    return (
        found,
        *options,
        "-O3",
        *processor_options(),
        "-fno-math-errno",
        "-std=c++17",
        "-shared",
        "-fPIC",
        "-x",
        "c++",
    )


def _has_tools() -> bool:
    """Return False on a Mac without developer tools, where /usr/bin/c++ only offers to install them."""
    if sys.platform != "darwin":
        return True
    return subprocess.run(["xcode-select", "-p"], capture_output=True, check=False, timeout=TIMEOUT).returncode == 0


def processor_options() -> tuple[str, ...]:
    """Return the compiler's option for the vector instructions of this processor.

    A level instead of ``-march=native``: a home folder may be shared by processors of one level.
    """
    import torch

    levels = {"AVX2": "-march=x86-64-v3", "AVX512": "-march=x86-64-v4"}
    level = levels.get(torch.backends.cpu.get_cpu_capability())
    return (level,) if level else ()


def _compile(command: tuple[str, ...], code: bytes, path: Path) -> None:
    """Compile ``code`` to the shared library ``path``."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "source.cpp"
        file.write_bytes(code)
        subprocess.run([*command, str(file), "-o", str(path)], check=True, capture_output=True, timeout=TIMEOUT)
