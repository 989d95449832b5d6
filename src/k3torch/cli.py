"""Turn a settings dataclass and a function into a command with one-line errors."""

from collections.abc import Callable, Collection
import contextlib
import io
import re
import sys
from typing import TypeVar

from k3torch.errors import InputError, count_problem, did_you_mean, refuse
import tyro

Settings = TypeVar("Settings")


def run(main: Callable[[Settings], None], settings: type[Settings], description: str | None = None) -> None:
    """Parse the command line into ``settings``, call ``main`` with it, and end the process.

    Exit codes: 0 done, 2 bad input (one line on standard error), 130 interrupted. Anything else is a defect and
    keeps its traceback.
    """
    chosen = parse(settings, sys.argv[1:], description)
    try:
        main(chosen)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output (head, say) has seen enough
        sys.stderr.close()
        raise SystemExit(0) from None


def parse(settings: type[Settings], arguments: list[str], description: str | None = None) -> Settings:
    """Parse ``arguments``; a bad one prints a single line and exits with code 2."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(settings, args=arguments, description=description)
    except SystemExit as stop:
        if stop.code == 2:
            print(f"error: {_one_line(said.getvalue())}", file=sys.stderr)
        raise


def check_counts(settings: object, *names: str) -> None:
    """Refuse settings of these names below 1; None passes.

    Raises:
        InputError: names all of them.
    """
    values = ((name, getattr(settings, name)) for name in names)
    refuse(count_problem(name, value) for name, value in values if value is not None)


def check_names(settings: object, field: str, known: Collection[str]) -> None:
    """Refuse a name in a setting of several that is not among those known.

    Raises:
        InputError: names the first, those known, and the one that it may have meant.
    """
    for name in getattr(settings, field):
        if name not in known:
            raise InputError(f"expected {field} among {' '.join(known)}, got {name!r}{did_you_mean(name, known)}")


def _one_line(box: str) -> str:
    """Flatten tyro's framed message: without its title, its footer, and a frame that is drawn, ASCII or missing."""
    lines = [line.strip("│| ") for line in box.splitlines()[1:]]
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r"[─-]+", line)]
    start = 1 if rules[:1] == [0] else 0
    end = next((i for i in rules if i > start), len(lines))
    message = re.sub(r"\s+", " ", " ".join(lines[start:end])).strip().rstrip(".")
    meant = re.search(r"Perhaps you meant:[\s│|]*(--[\w-]+)", box)
    hint = f"did you mean {meant.group(1)}?" if meant else "see --help"
    return f"{message}: {hint}"
