"""Turn a settings dataclass and a function into a command with one-line errors.

A script imports this module before any heavy one, parses its arguments, and only then imports Keras::

    if __name__ == "__main__":
        SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported: --help and bad options end at once
    ...
    if __name__ == "__main__":
        cli.run(main, SETTINGS)
"""

from k3torch import interrupts  # first: from here on a script handles signals

# isort: split
from collections.abc import Callable, Sequence
import contextlib
import io
import os
from pathlib import Path
import re
import shutil
import signal
import sys
import textwrap
from typing import TypeVar

from k3torch.errors import InputError, count_problem, did_you_mean, refuse

Settings = TypeVar("Settings")

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "scripts"
SCRIPTS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1] / "scripts"
"""The folder of the scripts: in the package if it was installed from a wheel, else beside ``src``."""

program: str | None = None
"""The command's name on its help page; None: the script's."""


def parse(settings: type[Settings], description: str | None = None, arguments: Sequence[str] | None = None) -> Settings:
    """Parse ``arguments``, by default those of the process; a bad one prints a single line and exits with code 2.

    Nested dataclasses become groups of options, shown after the settings' own and without a prefix in their names.
    """
    import tyro

    arguments = sys.argv[1:] if arguments is None else arguments
    name = program or Path(sys.argv[0]).name
    if {"-h", "--help"} & set(arguments):
        print(wrapped(description or ""), end="\n\n")  # tyro would let the terminal break words
    said = io.StringIO()
    markers = (tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff)
    try:
        with contextlib.redirect_stderr(said):
            parsed = tyro.cli(settings, args=arguments, description="", prog=name, config=markers)
    except SystemExit as stop:
        if stop.code == 2:
            print(f"error: {_one_line(said.getvalue())}", file=sys.stderr)
        raise
    if sys.stderr.isatty():
        print("loading Keras ...", end="", file=sys.stderr, flush=True)
    return parsed


def run(main: Callable[[Settings], None], settings: Settings) -> None:
    """Call ``main`` with the parsed settings.

    Exit codes: 0 complete, 2 bad input (one line on standard error), 130 interrupted, 143 terminated. Any other
    exception is a defect and keeps its traceback.
    """
    if sys.stderr.isatty():
        print(interrupts.ERASE_LINE, end="", file=sys.stderr, flush=True)
    try:
        with interrupts.raising():
            main(settings)
            interrupts.check()
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output (head, say) has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at exit
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, KeyboardInterrupt) or interrupts.last_signal():
            _end("interrupted", 128 + (interrupts.last_signal() or signal.SIGINT))
        if not isinstance(error, InputError):
            raise
        _end(f"error: {error}", 2)


def wrapped(text: str) -> str:
    """Return ``text`` with its paragraphs wrapped at the terminal's width; indented lines stay as they are."""
    width = shutil.get_terminal_size().columns
    paragraphs = re.split(r"\n\s*\n", text.rstrip().replace("``", ""))
    return "\n\n".join(part if part[:1].isspace() else textwrap.fill(part, width) for part in paragraphs)


def check_counts(settings: object, *names: str) -> None:
    """Refuse settings of these names below 1; None passes.

    Raises:
        InputError: names all of them.
    """
    values = ((name, getattr(settings, name)) for name in names)
    refuse(count_problem(name, value) for name, value in values if value is not None)


def _end(line: str, code: int) -> None:
    print(line, file=sys.stderr)
    raise SystemExit(code) from None


def _one_line(box: str) -> str:
    """Turn tyro's framed message into one line; the frame may be drawn, ASCII or missing."""
    lines = [line.strip("│| ") for line in box.splitlines()[1:]]
    rules = [i for i, line in enumerate(lines) if re.fullmatch(r"[─-]+", line)]
    start = 1 if rules[:1] == [0] else 0
    end = next((i for i in rules if i > start), len(lines))
    message = re.sub(r"\s+", " ", " ".join(lines[start:end])).strip().rstrip(".")
    if choice := re.fullmatch(r"invalid choice (.+) for argument '(--[\w-]+)'. Expected one of \((.*)\)", message):
        value, option, names = choice.groups()
        known = re.findall(r"'([^']*)'", names)
        return f"expected {option} among {', '.join(known)}, got {value}{did_you_mean(value.strip(chr(39)), known)}"
    if value_error := re.match(r"Error parsing (--[\w-]+): .*?(['\[].*['\]])$", message):
        takes = re.search(rf"{value_error.group(1)} ([A-Z]\S*)", box)
        got = re.findall(r"'([^']*)'", value_error.group(2))[-1]
        return f"expected {takes.group(1) if takes else 'a value'} for {value_error.group(1)}, got {got!r}"
    if missing := re.match(r"Missing value for argument '([\w-]+)'", message):
        return f"expected a value for {missing.group(1)}, got none"
    if missing := re.match(r"Missing from [^:]*: (\S+)", message):
        return f"expected a value for {missing.group(1)}, got none"
    meant = re.search(r"(?:Perhaps you meant|Arguments similar to [^:]*):[\s│|]*(--[\w-]+)", box)
    hint = f"did you mean {meant.group(1)}?" if meant else "see --help"
    return f"{message[:1].lower()}{message[1:]}: {hint}"
