"""The exception for wrong input, as opposed to wrong code, the checks of arguments that raise it, and one-line reasons.

A check returns a problem: None, or a phrase such as ``"epochs as a whole number of 1 or more, got 0"``. ``refuse``
raises one error for all problems of a call, so that the caller sees every bad argument at once::

    refuse([count_problem("epochs", epochs), choice_problem("engine", engine, ("auto", "fit"))])
"""

from collections.abc import Collection, Iterable
import difflib
import math
from numbers import Integral, Real
import operator
from pathlib import Path
import re
import sysconfig
import traceback
from typing import Any

Problem = str | None

_LONGEST = 600  # characters of a message
_TERMINAL_CODE = re.compile(r"\x1b\[[0-9;]*m")
_SYNONYMS = {"gpu": "cuda"}
_LIBRARIES = (str(Path(__file__).parent), *(sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib")))


class InputError(ValueError):
    """An argument or a file has the wrong content.

    The message is a single line: what was expected, what was received and, where it helps, what to do. Scripts print it
    without a traceback and exit with code 2. It is a ``ValueError``.

    Line breaks and terminal codes in the message, of a library's error or of a value, become spaces, and a long message
    is shortened.
    """

    def __init__(self, message: str):
        line = " ".join(_TERMINAL_CODE.sub("", message).split())
        super().__init__(line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ...")

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows of this error: the message, and the caller's lines without those of libraries."""
        frames = [f for f in traceback.extract_tb(self.__traceback__) if not f.filename.startswith(_LIBRARIES)]
        # Cells are files of the kernel, whose names say nothing.
        places = [f"line {f.lineno}" if "ipykernel" in f.filename else f"{f.filename}:{f.lineno}" for f in frames]
        called = [f"  {place}: {frame.line}" for place, frame in zip(places, frames, strict=True)]
        return [f"{type(self).__name__}: {self}", *called]


def first_line(error: BaseException, *, with_type: bool = False) -> str:
    """Return the first line of an error's message, or the name of its type where there is no message.

    Blank lines and terminal codes are left out, and so is the line "Exception encountered when calling ...", which
    Keras puts before the message of an error in a layer.

    Args:
        error: any exception.
        with_type: whether the name of the type comes first, as in ``"KeyError: 'x'"``.
    """
    kind = type(error).__name__
    lines = [line.strip() for line in _TERMINAL_CODE.sub("", str(error)).splitlines()]
    line = next((line for line in lines if line and not line.startswith("Exception encountered when calling")), None)
    if line is None:
        return kind
    return f"{kind}: {line}" if with_type else line


def refuse(problems: Iterable[Problem]) -> None:
    """Raise an error if any problem is not None.

    Raises:
        InputError: lists all problems in one line.
    """
    if found := [problem for problem in problems if problem]:
        raise InputError(f"expected {'; expected '.join(found)}")


def unless(fits: Any, problem: str) -> Problem:
    """Return None if ``fits`` is true, else ``problem``, a phrase that follows the word "expected"."""
    return None if fits else problem


def count_problem(name: str, value: Any, minimum: int = 1) -> Problem:
    """Return a problem unless ``value`` is an integer of any type, not a bool, and at least ``minimum``."""
    fits = isinstance(value, Integral) and not isinstance(value, bool) and operator.index(value) >= minimum
    return unless(fits, f"{name} as a whole number of {minimum} or more, got {value!r}")


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite real number of Python or NumPy, not a bool, and fits in a float."""
    try:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number of more than 308 digits
        return False


def seed_problem(value: Any) -> Problem:
    """Check for a seed that NumPy, torch and Keras take: a whole number, not bool, from 0 to 2**32 - 1."""
    fits = isinstance(value, Integral) and not isinstance(value, bool) and 0 <= operator.index(value) < 2**32
    return unless(fits, f"seed as a whole number from 0 to {2**32 - 1}, got {value!r}")


def choice_problem(name: str, value: Any, choices: Collection[Any]) -> Problem:
    """Return a problem unless ``value`` equals one of ``choices`` and has its type; suggest a similar name."""
    if any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        return None
    names = [choice for choice in choices if isinstance(choice, str)]
    hint = did_you_mean(value, names) if isinstance(value, str) else ""
    return f"{name} as one of {', '.join(map(repr, choices))}, got {value!r}{hint}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the synonym or the most similar known name, or ``""`` if none is similar."""
    by_lower_case = {option.lower(): option for option in known}
    if synonym := _SYNONYMS.get(name.lower()):
        return f", did you mean {synonym!r}?" if synonym in by_lower_case else ""
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f", did you mean {by_lower_case[close[0]]!r}?" if close else ""
