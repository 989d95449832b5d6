"""Processes of Python that start in less than a second: each is forked from one that has loaded large libraries.

Keras and k3torch are not among them: each process imports them anew, as a user's does.
"""

import atexit
from dataclasses import dataclass
import multiprocessing
import os
from pathlib import Path
import runpy
import sys
import tempfile
import threading

PRELOADED = [
    "torch", "torch._dynamo", "torch.utils.data", "pandas", "scipy.stats", "sklearn", "sklearn.base", "sklearn.metrics",
    "sklearn.model_selection", "matplotlib.pyplot", "h5py", "tyro", "rich.progress",
]  # fmt: skip


@dataclass(frozen=True)
class Done:
    """As ``subprocess.CompletedProcess``; ``stdout`` and ``stderr`` as text."""

    returncode: int
    stdout: str
    stderr: str


def context():
    """Return what makes processes; the first one made loads the libraries."""
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows: each process loads them
        return multiprocessing.get_context("spawn")
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOADED)
    return made


def work(path, arguments, output, errors, environment):
    """Run a program in this process, with files or terminals as its output."""
    os.environ.clear()
    os.environ.update(environment)
    for number, name in ((1, output), (2, errors)):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY)
        os.dup2(file, number)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)  # noqa: SIM115
    run_program(path, arguments)


def run_program(path, arguments):
    """Run a program in this process to its end."""
    sys.argv[:] = [str(path), *map(str, arguments)]
    try:
        runpy.run_path(str(path), run_name="__main__")
    finally:  # as at the end of Python, which multiprocessing skips: joblib ends its processes and removes its files
        threading._shutdown()
        atexit._run_exitfuncs()


def start(path, *arguments, output, errors, env=None):
    """Start a program that writes to the files ``output`` and ``errors``, and return its process."""
    environment = {**os.environ, **(env or {})}
    process = context().Process(target=work, args=(path, arguments, str(output), str(errors), environment))
    process.start()
    return process


def run(path, *arguments, env=None):
    """Run a program to its end, and return its exit code and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "output"), Path(folder, "errors")
        process = start(path, *arguments, output=output, errors=errors, env=env)
        process.join(200)
        process.kill()
        process.join()
        said = [file.read_text(encoding="utf-8") if file.exists() else "" for file in (output, errors)]
        return Done(process.exitcode, *said)


def run_code(code, *arguments, env=None):
    """Run Python code, as ``python -c`` does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "code.py")
        path.write_text(code, encoding="utf-8")
        return run(path, *arguments, env=env)
