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
from collections.abc import Callable, Iterator, Sequence
import contextlib
from dataclasses import fields, is_dataclass
from functools import partial
import io
import itertools
import os
from pathlib import Path
import re
import shutil
import signal
import sys
import textwrap
from typing import Annotated, TypeVar, cast

from k3torch import processes, saved_settings
from k3torch.errors import InputError, count_problem, did_you_mean, first_line, refuse
from k3torch.files import reason_of
from k3torch.options import flat

Settings = TypeVar("Settings")

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = _PACKAGE / "scripts"
SCRIPTS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1] / "scripts"
"""The folder of the scripts: in the package if it was installed from a wheel, else beside ``src``."""

program: str | None = None
"""The command's name on its help page; None: the script's."""


def parse(settings: type[Settings], description: str | None = None, arguments: Sequence[str] | None = None) -> Settings:
    """Parse ``arguments``, by default those of the process; a bad one prints a single line and exits with code 2.

    Nested dataclasses become groups of options, shown after the settings' own and without a prefix in their names. With
    ``--resume`` the settings are those of the run to go on with.
    """
    import tyro

    processes.silence()
    arguments = sys.argv[1:] if arguments is None else arguments
    name = program or Path(sys.argv[0]).name
    markers = (tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone, tyro.conf.FlagCreatePairsOff)
    said = io.StringIO()
    with closed_output_allowed():
        if {"-h", "--help"} & set(arguments):
            print(wrapped(description or ""), end="\n\n")  # tyro would let the terminal break words
            _join_lines_of_help(settings)
        _refuse_empty_values(arguments)
        try:
            with contextlib.redirect_stderr(said):
                parse_from = partial(tyro.cli, settings, args=arguments, description="", prog=name, config=markers)
                resumes = any(argument.split("=")[0] == "--resume" for argument in arguments)
                parsed = parse_from(default=saved_settings.without_required(settings)) if resumes else parse_from()
                if saved_settings.are_to_be_used(parsed):
                    parsed = saved_settings.resumed(parsed, lambda default: parse_from(default=default))
        except InputError as error:
            _end(f"error: {error}", 2)
        except SystemExit as stop:
            if stop.code == 2:
                _end(f"error: {_one_line(said.getvalue(), _options(settings))}", 2)
            raise
    progress("loading Keras ...", end="")
    return cast(Settings, parsed)


def run_script(name: str) -> None:
    """Run a script of ``SCRIPTS`` with the arguments of this process."""
    import runpy

    runpy.run_path(str(SCRIPTS / name), run_name="__main__")


def run(main: Callable[[Settings], None], settings: Settings) -> None:
    """Call ``main`` with the parsed settings.

    Exit codes: 0 complete, 2 bad input, or a file or memory that the system denies (one line on standard error), 130
    interrupted, 143 terminated. Any other exception is a defect and keeps its traceback.
    """
    progress(interrupts.ERASE_LINE, end="")
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # the name of a file may have bytes that are not UTF-8
    with closed_output_allowed():
        try:
            with interrupts.raising():
                main(settings)
                interrupts.check()
        except (KeyboardInterrupt, Exception) as error:
            # torchrun terminates the other processes of one that has ended: that is the reason, not the signal
            ended = isinstance(error, processes.OtherProcessEnded)
            if isinstance(error, KeyboardInterrupt) or (interrupts.last_signal() and not ended):
                _end("interrupted", 128 + (interrupts.last_signal() or signal.SIGINT))
            line = _line(error)
            if line is None:
                raise
            _end(f"error: {_with_options(line, settings)}", 2)


def _line(error: BaseException) -> str | None:
    """Return the line for an exception that is no defect, or None.

    These are bad input, a disk that is full, no permission, and another process of the run that has ended.
    """
    if isinstance(error, InputError | processes.OtherProcessEnded):
        return str(error)
    if isinstance(error, MemoryError):
        return str(InputError(f"expected the run to fit in memory, got: {first_line(error)}"))
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError | ConnectionError) and error.errno:
        files = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return str(InputError(f"expected to read or write {' and '.join(files) or 'files'}, got: {reason_of(error)}"))
    return None


@contextlib.contextmanager
def closed_output_allowed() -> Iterator[None]:
    """End the process without a message where the reader of standard output (head, say) has closed it.

    The exit code is 0, or that of the SystemExit that the block raised.
    """
    code: object = 0
    try:
        try:
            yield
        except SystemExit as stop:
            code = stop.code
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except BrokenPipeError:
        try:
            print(flush=True)  # fails again if it was this pipe
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
            raise SystemExit(code) from None
        raise  # another pipe


def progress(text: str, end: str = "\n") -> None:
    """Print ``text`` on standard error if that is a terminal; of several processes one does."""
    if sys.stderr.isatty() and processes.is_main():
        print(text, end=end, file=sys.stderr, flush=True)


def wrapped(text: str) -> str:
    """Return ``text`` with its paragraphs wrapped at the terminal's width; indented lines and long words stay."""
    width = shutil.get_terminal_size().columns
    paragraphs = re.split(r"\n\s*\n", text.rstrip().replace("``", ""))
    return "\n\n".join(
        part if part[:1].isspace() else textwrap.fill(part, width, break_on_hyphens=False, break_long_words=False)
        for part in paragraphs
    )


def check_counts(settings: object, *names: str) -> None:
    """Refuse settings of these names below 1; None passes.

    Raises:
        InputError: names all of them.
    """
    values = ((name, getattr(settings, name)) for name in names)
    refuse(count_problem(name, value) for name, value in values if value is not None)


def _end(line: str, code: int) -> None:
    if processes.ends_first():
        print(line, file=sys.stderr)
    raise SystemExit(code) from None


def _options(settings: type) -> list[str]:
    """Return the names of the options of a settings class, those of its groups among them."""
    names: list[str] = []
    for field in fields(settings):
        group = type(field.default)
        names += _options(group) if is_dataclass(group) else [f"--{field.name.replace('_', '-')}"]
    return names


def _with_options(message: str, settings: object) -> str:
    """Turn the arguments that a message of the library names, such as ``num_words``, into options."""
    for name in flat(settings) if is_dataclass(settings) else ():
        word = rf"(?<![\w/.'\"=-]){name}(?![\w/.'\"=-])"
        pattern = word if "_" in name else rf"(?<=expected ){word}(?= as )"  # else it may be an English word
        message = re.sub(pattern, f"--{name.replace('_', '-')}", message)
    return message


def _refuse_empty_values(arguments: Sequence[str]) -> None:
    """Refuse an empty value of an option, which as a path would be the current folder."""
    for before, argument in itertools.pairwise(["", *arguments]):
        match = re.fullmatch(r"(--[\w-]+)=?", argument or before)
        if match and (argument == "" or argument.endswith("=")):
            _end(f"error: expected a value for {match.group(1)}, got an empty one", 2)


def _join_lines_of_help(settings: type) -> None:
    """Join the lines of each option's docstring: tyro keeps the line breaks before indented lines."""
    import docstring_parser
    import tyro

    for base in filter(is_dataclass, settings.__mro__):
        for option in docstring_parser.parse_from_object(base).params:
            hint = base.__annotations__[option.arg_name]
            text = " ".join((option.description or "").split())
            base.__annotations__[option.arg_name] = Annotated[hint, tyro.conf.arg(help=text)]
    for field in fields(settings):
        if is_dataclass(group := type(field.default)):
            _join_lines_of_help(group)


def _one_line(box: str, options: Sequence[str]) -> str:
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
    if unknown := re.match(r"Unrecognized options: (.*)", message):
        return _unrecognized(unknown.group(1).split(", "), options)
    return f"{message[:1].lower()}{message[1:]}: see --help"


def _unrecognized(words: Sequence[str], options: Sequence[str]) -> str:
    """Return the message for words that no option takes; values of unknown options are not repeated."""
    names = [name.split("=")[0] for name in words if re.match(r"--?[a-zA-Z]", name)]
    known = [option.strip("-") for option in options if option != "--force"]  # a guess must not replace files
    similar = [close.group(1) for name in names if (close := re.search("'(.*)'", did_you_mean(name.strip("-"), known)))]
    hint = f"did you mean {', '.join(f'--{name}' for name in similar)}?" if similar else "see --help"
    return f"unrecognized options: {', '.join(names or words)}: {hint}"
