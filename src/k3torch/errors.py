"""The one exception that means "the input is wrong", as opposed to "the code is wrong"."""

from collections.abc import Iterable
import difflib
from numbers import Integral
from typing import Any


class InputError(ValueError):
    """What a caller or a file gave cannot be used.

    The message is a single line that says what was expected, what was found and what to do about it. Scripts
    print it without a traceback and exit with code 2; library callers may catch it as a ``ValueError``.
    """


def check_count(name: str, value: Any) -> None:
    """Refuse a value, of any type, that is no whole number of 1 or more.

    Raises:
        InputError: with the name and the value.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"expected {name} of 1 or more, got {value!r}: choose another")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x'?"`` for the closest known name, or ``""`` where none is close."""
    by_lower_case = {option.lower(): option for option in known}
    close = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f", did you mean {by_lower_case[close[0]]!r}?" if close else ""
