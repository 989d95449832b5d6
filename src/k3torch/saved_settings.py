"""The settings of an earlier run, read from its folder, for a run that goes on from it (``--resume``).

They are read before Keras is imported, as the command line is, so that what contradicts them is refused at once.
"""

from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass, replace
import json
from pathlib import Path
import re
from typing import Any, TypeVar, get_type_hints

from k3torch import __version__
from k3torch.errors import InputError
from k3torch.files import reason_of
from k3torch.options import OF_THE_CALL, Resumable, flat, option, typed
import typeguard

Settings = TypeVar("Settings")
NAME = "config.json"


def are_to_be_used(settings: Any) -> bool:
    """Return whether parsed settings say to go on with an earlier run."""
    output = getattr(settings, "output", None)
    return isinstance(output, Resumable) and output.resume is not None


def resumed(settings: Settings, parse: Callable[[Settings], Settings]) -> Settings:
    """Return the settings of the run to go on with, which ``output.resume`` names.

    Args:
        settings: what the command line says, with the defaults of the class.
        parse: returns what the command line says, given other defaults.

    Raises:
        InputError: for a folder without the settings of this command and version, and for options that contradict them.
    """
    run: Path = flat(settings)["resume"]
    saved = load(type(settings), run)
    # A flag that is on cannot be given on the command line: off is the default of all of them.
    defaults = _with(saved, {name: False for name, value in flat(saved).items() if isinstance(value, bool)})
    given, kept = flat(parse(defaults)), flat(saved)
    different = [
        f"{option(name)} {typed(given[name])} instead of {typed(kept[name])}"
        for name in kept
        if name not in OF_THE_CALL and given[name] != kept[name] and given[name] is not False
    ]
    if given["out"] is not None and Path(given["out"]).resolve() != run.resolve():
        different.append(f"--out {given['out']}")
    if given["force"]:
        different.append("--force")
    if different:
        raise InputError(
            f"expected the settings that are saved in {run} with --resume, got {', '.join(different)}: leave "
            f"{'them' if len(different) > 1 else 'it'} out, or begin a new run without --resume"
        )
    result: Settings = _with(saved, {"resume": run, "open": given["open"]})
    return result


def load(kind: type[Settings], run: Path) -> Settings:
    """Return the settings of the run in the folder ``run``, without those of ``OF_THE_CALL``.

    Raises:
        InputError: as for ``resumed``.
    """
    path = run / NAME
    known = _hints(kind)
    try:
        content = json.loads(path.read_text("utf-8"))
        if not isinstance(content, dict) or not isinstance(content.get("name"), str):
            raise ValueError("other content")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"expected the folder of an interrupted run for --resume, got {run}: its {NAME}: {reason_of(error)}"
        ) from error
    name, version = content.pop("name"), content.pop("version", None)
    if set(content) != set(known):
        raise InputError(f"expected a run of this command for --resume, got one of {name!r} in {run}")
    if version != __version__:
        raise InputError(f"expected a run of k3torch {__version__} for --resume, got one of {version} in {run}")
    values = {key: _value(known[key], value) for key, value in content.items() if key not in OF_THE_CALL}
    for key, value in values.items():
        try:
            everything = typeguard.CollectionCheckStrategy.ALL_ITEMS
            typeguard.check_type(value, known[key], collection_check_strategy=everything)
        except typeguard.TypeCheckError as error:
            raise InputError(f"expected the settings of a run in {path}, got {content[key]!r} for {key}") from error
    result: Settings = _with(without_required(kind), values)
    return result


def without_required(kind: type[Settings]) -> Settings:
    """Return settings with the defaults, and empty values for the options that have none, which a saved run has."""
    required = {
        field.name: Path() if get_type_hints(kind)[field.name] is Path else ""
        for field in fields(kind)  # type: ignore[arg-type]
        if field.default is MISSING and field.default_factory is MISSING
    }
    return kind(**required)


def _hints(kind: type) -> dict[str, Any]:
    """Return the type of each option, by its name."""
    hints: dict[str, Any] = {}
    own = get_type_hints(kind)
    for field in fields(kind):
        group = type(field.default)
        hints |= _hints(group) if is_dataclass(group) else {field.name: own[field.name]}
    return hints


def _value(hint: Any, value: Any) -> Any:
    """Return a value of JSON as the type that the settings have."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, str) and re.search(r"\bPath\b", str(hint)):
        return Path(value)
    if type(value) is int and hint is float:
        return float(value)
    return value


def _with(settings: Any, values: dict[str, Any]) -> Any:
    """Return settings with other values of some options, those of its groups among them."""
    changes: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            changes[field.name] = _with(value, values)
        elif field.name in values:
            changes[field.name] = values[field.name]
    return replace(settings, **changes)
