"""Calls of a function in other processes, through joblib: on this machine, or on a cluster of Dask or Ray.

What is called is sent by value (cloudpickle), so that it may be a function of a script or a notebook.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
import functools
import multiprocessing
import threading
from typing import Any, TypeVar

import cloudpickle
import joblib
from joblib.externals.loky import ProcessPoolExecutor
from joblib.parallel import get_active_backend
from k3torch import interrupts
from k3torch.errors import InputError, first_line

Key = TypeVar("Key")
RETRIES = 3  # after as many lost workers without a call that has returned, something is wrong with the calls
_IDLE = 300  # seconds after which a process that a worker keeps ends
_STARTING = threading.Lock()
# Of Dask and Ray, which need not be installed: a worker was lost, more often than they try by themselves.
_LOST = {
    "KilledWorker", "CommClosedError", "WorkerCrashedError", "NodeDiedError", "ActorDiedError", "ActorUnavailableError"
}  # fmt: skip


def completed(
    function: Callable[..., Any],
    calls: Mapping[Key, tuple[Any, ...]],
    shared: tuple[Any, ...],
    n_jobs: int,
    notice: Callable[[str], None],
) -> Iterator[tuple[Key, Any]]:
    """Yield the key and the result of each call as soon as it is complete.

    Calls whose worker was killed, by the system when memory ran out for example, are made again.

    Args:
        function: is called as ``function(*shared, *arguments)``.
        calls: the arguments of each.
        shared: arguments of all calls; large arrays among them are mapped into memory by processes of this machine.
        n_jobs: as joblib's: how many at a time, -1 for as many as there are cores.
        notice: is called with one line when a worker was lost.

    Raises:
        InputError: for a function or arguments that cannot be sent, and if workers are lost again and again.
    """
    waiting = {key: _sent(function, arguments) for key, arguments in calls.items()}
    failures = 0
    while waiting:
        try:
            for key, result in _results(dict(waiting), shared, n_jobs):
                del waiting[key]
                failures = 0
                yield key, result
        except Exception as error:
            if not _is_lost(error):
                raise
            failures += 1
            if failures > RETRIES:
                raise InputError(
                    f"expected worker processes that stay alive, got {failures} that were lost one after another "
                    f"({first_line(error)}): set n_jobs to fewer, which takes less memory"
                ) from error
            notice("a worker process was lost: its work is done again")


def _results(waiting: dict[Key, bytes], shared: tuple[Any, ...], n_jobs: int) -> Iterator[tuple[Key, Any]]:
    backend, _ = get_active_backend()
    stream = bool(getattr(backend, "supports_return_generator", False))
    with interrupts.kept_from_children():  # the call starts them
        workers = joblib.Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered" if stream else "list")
        results = workers(joblib.delayed(_call)(key, sent, *shared) for key, sent in waiting.items())
    yield from results


def _sent(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    try:
        sent: bytes = cloudpickle.dumps((function, arguments))
    except Exception as error:  # of any class of the caller's
        raise InputError(
            f"expected functions and arguments that can be sent to other processes with n_jobs, got: "
            f"{first_line(error)}: leave n_jobs out"
        ) from error
    return sent


def _call(key: Any, sent: bytes, *shared: Any) -> tuple[Any, Any]:
    """Make a call, in a worker.

    A worker of Dask runs it in a thread, beside others that draw from Python's random generator: it is then made in a
    process of its own, which the worker keeps.
    """
    if threading.current_thread() is threading.main_thread():
        return key, _run(sent, *shared)
    with _children_allowed():
        made = _submitted(sent, *shared)
    return key, made.result()


def _submitted(sent: bytes, *shared: Any) -> Any:
    """Begin a call in the process that this worker keeps, or in a new one if that has ended.

    joblib keeps processes of its own, and takes any that loky keeps for all callers for one of them.
    """
    try:
        return _child().submit(_run, sent, *shared)
    except RuntimeError:  # the process was killed
        _child.cache_clear()
        return _child().submit(_run, sent, *shared)


@functools.cache
def _child() -> Any:
    return ProcessPoolExecutor(max_workers=1, timeout=_IDLE)


def _run(sent: bytes, *shared: Any) -> Any:
    function, arguments = cloudpickle.loads(sent)
    return function(*shared, *arguments)


@contextmanager
def _children_allowed() -> Iterator[None]:
    """Let a daemonic process, as the workers of Dask are, start one."""
    config = getattr(multiprocessing.current_process(), "_config", {})
    with _STARTING:
        before = config.get("daemon", False)
        config["daemon"] = False
        try:
            yield
        finally:
            config["daemon"] = before


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, BrokenExecutor) or type(error).__name__ in _LOST
