"""SIGINT and SIGTERM: one line instead of a traceback, and no signal is lost.

While a command imports its libraries, a signal ends the process at once. While it runs, a signal raises
KeyboardInterrupt and is recorded too, because the exception can be swallowed: Keras has bare ``except:`` clauses, and
Python drops what is raised in a destructor. ``check`` raises it again; progress bars call it every epoch. Outside of
commands, as in a notebook, ``not_lost`` does so for Ctrl-C while ``cross_validate`` or ``search`` runs.

This module imports little, because no signal is handled until its import is complete.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from k3torch import processes

ERASE_LINE = "\r\x1b[K"  # for a terminal
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_Handler = Callable[[int, FrameType | None], None]
_PACKAGE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (pathlib takes long to import)
_FOLDERS = (os.path.join(_PACKAGE, "scripts"), os.path.normpath(os.path.join(_PACKAGE, "../../scripts")))  # noqa: PTH118


class _State:
    received = 0  # number of the signal that came within the block of ``raising``; 0: none
    last = 0  # the same for the last block that was left
    held = False


def exit_at_once() -> None:
    """Make a signal print one line and end the process, from now on: for the time in which nothing is written yet."""
    _install(_exit)


@contextmanager
def raising(signals: Sequence[signal.Signals] = _SIGNALS) -> Iterator[None]:
    """Make a signal raise KeyboardInterrupt within the block; the handlers from before come back at its end."""
    _State.received = _State.last = 0
    previous = _install(_raise, signals)
    report, sys.unraisablehook = sys.unraisablehook, _without_interrupts
    try:
        yield
    finally:
        sys.unraisablehook = report
        _State.last, _State.received = _State.received, 0
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def not_lost() -> Iterator[None]:
    """Record Ctrl-C within the block as ``raising`` does: ``check`` raises it again, and is called at the end too.

    A program that handles SIGINT itself keeps its handler; a notebook, and most programs, have that of Python.
    """
    own = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not own or threading.current_thread() is not threading.main_thread():
        yield
        return
    with raising((signal.SIGINT,)):
        yield
        check()


@contextmanager
def held() -> Iterator[None]:
    """Delay signals until the block, which writes files, is complete."""
    outer, _State.held = _State.held, True
    before = _State.received
    try:
        yield
    finally:
        _State.held = outer
    if _State.received and not before:
        check()


@contextmanager
def kept_from_children() -> Iterator[None]:
    """Keep SIGINT from the processes that are started within the block: this process ends them itself.

    Ctrl-C sends SIGINT to all processes of a terminal, and one that is importing its libraries would print a traceback.
    Here a SIGINT takes effect at the end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # now: joblib starts it with the first process, and its start unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a process starts with its parent's mask
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def check() -> None:
    """Raise KeyboardInterrupt if a signal came since ``raising`` was entered: call it every epoch."""
    if _State.received and not _State.held:
        raise KeyboardInterrupt


def received() -> bool:
    """Return whether a signal came within the block of ``raising`` that is running."""
    return _State.received > 0


def last_signal() -> int:
    """Return the number of the signal that came within the last block of ``raising``; 0 if none came."""
    return _State.last


def is_script() -> bool:
    """Return whether this process runs one of the project's scripts, rather than a test or a program of the user's."""
    main = getattr(sys.modules["__main__"], "__file__", None)
    return main is not None and os.path.dirname(os.path.abspath(main)) in _FOLDERS  # noqa: PTH100, PTH120


def _install(handler: _Handler, signals: Sequence[signal.Signals] = _SIGNALS) -> dict[int, Any]:
    """Install ``handler`` and return the handlers from before. A signal that the parent process ignores stays so."""
    previous = {number: signal.getsignal(number) for number in signals}
    handled: dict[int, Any] = {number: old for number, old in previous.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in handled:
            signal.signal(number, handler)
    except ValueError:  # not in the main thread, which alone may install handlers
        return {}
    return handled


def _exit(number: int, _: FrameType | None) -> None:
    if not _State.last and processes.is_main():  # else the line has been printed
        erase = ERASE_LINE if os.isatty(2) else ""
        os.write(2, f"{erase}interrupted\n".encode())  # not sys.stderr, which may be redirected or in use
    os._exit(128 + number)  # an exception could be swallowed or reported by whatever module is being imported


def _raise(number: int, _: FrameType | None) -> None:
    _State.received = number
    if not _State.held:
        raise KeyboardInterrupt


def _without_interrupts(unraisable: "sys.UnraisableHookArgs") -> None:
    """Report what a destructor raised, except a KeyboardInterrupt, which ``check`` raises again."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)


if is_script():
    exit_at_once()  # now, because the script's next imports take seconds
