"""The one exception that means "the input is wrong", as opposed to "the code is wrong", and how arguments are checked.

A check returns a problem: None, or a phrase such as ``"epochs of 1 or more, got 0"``. ``refuse`` raises one error for
all problems of a call, so that a caller learns about every bad argument at once::

    refuse([count_problem("epochs", epochs), choice_problem("engine", engine, ("auto", "fit"))])
"""

from collections.abc import Collection, Iterable
import difflib
import math
from numbers import Integral, Real
import operator
from typing import Any

Problem = str | None


class InputError(ValueError):
    """A caller's argument, or a file, cannot be used.

    The message is a single line: what was expected, what was received and what to do. Scripts print it without a
    traceback and exit with code 2; library callers may catch it as a ``ValueError``.
    """


def refuse(problems: Iterable[Problem]) -> None:
    """Do nothing if every problem is None.

    Raises:
        InputError: names all problems in one line.
    """
    if found := [problem for problem in problems if problem]:
        raise InputError(f"expected {'; expected '.join(found)}")


def unless(fits: Any, problem: str) -> Problem:
    """Return ``problem``, or None where ``fits`` is true."""
    return None if fits else problem


def count_problem(name: str, value: Any, minimum: int = 1) -> Problem:
    """Check for a whole number of any integral type, not bool, that is at least ``minimum``."""
    fits = isinstance(value, Integral) and not isinstance(value, bool) and operator.index(value) >= minimum
    return unless(fits, f"{name} as a whole number of {minimum} or more, got {value!r}")


def is_number(value: Any) -> bool:
    """Return whether ``value`` is a finite real number, NumPy's included, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def choice_problem(name: str, value: Any, choices: Collection[Any]) -> Problem:
    """Check for one of ``choices``; a misspelt name gets a suggestion."""
    if any(value is choice or (type(value) is type(choice) and value == choice) for choice in choices):
        return None
    names = [choice for choice in choices if isinstance(choice, str)]
    hint = did_you_mean(value, names) if isinstance(value, str) else ""
    return f"{name} as one of {', '.join(map(repr, choices))}, got {value!r}{hint}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the closest known name, or ``""`` where none is close."""
    by_lower_case = {option.lower(): option for option in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f", did you mean {by_lower_case[close[0]]!r}?" if close else ""
