"""The files of checkpoints: plain Python values and arrays, written whole or not at all, and read without pickles."""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import json
import math
import os
from pathlib import Path
import re
import sys
import time
from typing import Any, BinaryIO, Self

from k3torch.claims import Claimed, claim
from k3torch.errors import InputError, first_line
from k3torch.files import atomic_path, reason_of, remove_drafts
import numpy as np
from numpy.typing import NDArray
import torch

KEPT = 2  # checkpoints in a folder: the newest, and the one before in case that the newest is damaged
COST = 0.01  # the fraction of the time since the last checkpoint that writing one may take
_NAME = re.compile(r"checkpoint-(\d{6,})\.npz")
_JSON = "json"  # the array of a file that holds all values that are no arrays, as UTF-8
_CONTAINERS: dict[str, Any] = {"list": list, "tuple": tuple, "set": set, "deque": deque}

Arrays = dict[str, NDArray[Any]]


class NotPlain(Exception):  # noqa: N818  (a reason, not an error)
    """A value is no number, text, array or container of these; the message names its type."""


class CheckpointFolder:
    """A folder of numbered checkpoints, of which the newest two are kept.

    Args:
        folder: is made by ``claimed``, or when the first checkpoint is written.
        register: is called with the path of each checkpoint before it is written.

    Raises:
        InputError: if a file has the folder's name, or if no folder can have it.
    """

    def __init__(self, folder: str | Path, register: Callable[[Path], object] | None = None):
        self._register = register
        self._written, self._due = time.monotonic(), -math.inf
        try:
            self.path = Path(folder).expanduser()
            is_there = self.path.exists()
        except (OSError, ValueError, RuntimeError, TypeError) as error:  # too long, no home folder, no text
            raise InputError(f"expected a folder for checkpoints, got {folder!r}: {reason_of(error)}") from error
        if (is_there or self.path.is_symlink()) and not self.path.is_dir():
            kind = "file" if is_there else "dangling link"
            raise InputError(f"expected a folder for checkpoints, got the {kind} {self.path}: give another name")

    @contextmanager
    def claimed(self) -> Iterator[Self]:
        """Keep other processes from this folder within the block.

        The folder and those above it are made if missing, and those made are removed again if empty at the end.

        Raises:
            InputError: if another process uses the folder, or if nothing can be written to it.
        """
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            end = claim(self.path)
            if not os.access(self.path, os.W_OK):
                end()
                raise PermissionError("it is read-only")
        except Claimed as error:
            raise InputError(
                f"expected a folder for checkpoints of its own, got {self.path}, which another process uses: give "
                "another folder, or wait for it"
            ) from error
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            raise self._not_written(error) from error
        try:
            yield self
        finally:
            with suppress(OSError):  # one has files
                for folder in made:
                    folder.rmdir()
            end()

    def _not_written(self, error: OSError | ValueError) -> InputError:
        return InputError(f"expected to write a checkpoint to {self.path}, got: {reason_of(error)}")

    def numbers(self) -> list[int]:
        """Return the numbers of the checkpoints that are there, smallest first."""
        names = [entry.name for entry in self.path.iterdir()] if self.path.is_dir() else []
        return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)

    def file(self, number: int) -> Path:
        """Return the path of the checkpoint ``number``."""
        return self.path / f"checkpoint-{number:06d}.npz"

    def write(self, number: int, content: dict[str, Any]) -> None:
        """Write a checkpoint, whole or not at all, and then remove those that are older than the one before it.

        It is whole after a power failure, too.

        Raises:
            InputError: if the file cannot be written.
            NotPlain: if a value cannot be stored.
        """
        started = time.monotonic()
        arrays = packed(content)
        try:
            if self._register is not None:
                self._register(self.file(number))
            with atomic_path(self.file(number), durable=True) as draft:
                np.savez(draft, allow_pickle=False, **arrays)
            for old in self.numbers():
                if old <= number - KEPT:
                    self.file(old).unlink(missing_ok=True)
        except OSError as error:
            raise self._not_written(error) from error
        self._written = time.monotonic()
        self._due = self._written + (self._written - started) / COST

    def is_due(self, seconds: float = 0.0) -> bool:
        """Return whether writing the last checkpoint took at most ``COST`` of the time since then.

        ``seconds`` is the least time since then; without it, the first checkpoint is due at once.
        """
        return time.monotonic() >= max(self._due, self._written + seconds)

    def newest(self) -> tuple[int, dict[str, Any]] | None:
        """Return the number and the content of the newest checkpoint, or None if the folder has none.

        A damaged file is passed over for the one before it, with one line on standard error. What a killed process
        left of a file that it was writing is removed.

        Raises:
            InputError: if there are checkpoints, but all are damaged.
        """
        numbers = self.numbers()
        for number in {*numbers, *(last + 1 for last in numbers[-1:]), 1}:  # those that can have been written
            remove_drafts(self.file(number))
        for number in reversed(numbers):
            try:
                content = read(self.file(number))
            except Exception as error:  # a damaged archive may raise almost any exception
                print(f"passing over the damaged checkpoint {self.file(number)}: {first_line(error)}", file=sys.stderr)
                continue
            return number, content
        if numbers:
            raise InputError(
                f"expected a usable checkpoint in {self.path}, got {len(numbers)} damaged: give another folder to begin"
            )
        return None


def packed(content: dict[str, Any]) -> Arrays:
    """Return a checkpoint as the arrays of an ``.npz`` file.

    Raises:
        NotPlain: if a value cannot be stored.
    """
    arrays: Arrays = {}
    text = json.dumps(encode(content, arrays))
    arrays[_JSON] = np.frombuffer(text.encode(), np.uint8)
    return arrays


@contextmanager
def fitting() -> Iterator[None]:
    """Refuse values of a checkpoint that do not fit, within the block that loads them: another program wrote them.

    Raises:
        InputError: instead of any other exception.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            "expected a checkpoint of this version of k3torch, got another, which does not fit "
            f"({first_line(error, with_type=True)}): give another folder to begin"
        ) from error


def read(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint; the exceptions are those of NumPy, ``zipfile`` and ``json``."""
    with path.open("rb") as file:
        return unpacked(file)


def unpacked(file: BinaryIO) -> dict[str, Any]:
    """Return the content of an ``.npz`` file of the arrays that ``packed`` returns, or raise as ``read`` does."""
    with np.load(file, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    content = decode(json.loads(arrays.pop(_JSON).tobytes().decode()), arrays)
    if not isinstance(content, dict):
        raise ValueError("it holds no checkpoint")
    return content


def encode(value: Any, arrays: Arrays) -> Any:
    """Return what JSON can hold of a value; its arrays are added to ``arrays`` under names that are in the result.

    Raises:
        NotPlain: for other values than numbers, texts, None, arrays, dense tensors, and containers of these.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return {"scalar" if isinstance(value, np.generic) else "array": _add(np.asarray(value), arrays)}
    if isinstance(value, torch.Tensor) and _is_storable(value):
        dtype = str(value.dtype).removeprefix("torch.")
        return {"tensor": _add(_bytes(value), arrays), "dtype": dtype, "shape": list(value.shape)}
    if isinstance(value, dict):
        return {"dict": [[encode(key, arrays), encode(item, arrays)] for key, item in value.items()]}
    for name, kind in _CONTAINERS.items():
        if isinstance(value, kind) and not hasattr(value, "_fields"):  # named tuples are classes of their own
            return {name: [encode(item, arrays) for item in value]}
    raise NotPlain(type(value).__name__)


def decode(value: Any, arrays: Arrays) -> Any:
    """Return the value that ``encode`` was given; tensors are on the CPU."""
    if not isinstance(value, dict):
        return value
    kind = next(iter(value))
    if kind == "scalar":
        return arrays[value[kind]][()]
    if kind == "array":
        return arrays[value[kind]]
    if kind == "tensor":
        content, dtype = arrays[value[kind]], getattr(torch, value["dtype"])
        flat = torch.from_numpy(content).view(dtype) if content.size else torch.empty(0, dtype=dtype)
        return flat.reshape(value["shape"])
    if kind == "dict":
        return {_hashable(decode(key, arrays)): decode(item, arrays) for key, item in value[kind]}
    return _CONTAINERS[kind](decode(item, arrays) for item in value[kind])


def _is_storable(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is dense, with values, and no parameter, which is part of a model."""
    return tensor.layout == torch.strided and not tensor.is_meta and not isinstance(tensor, torch.nn.Parameter)


def _hashable(key: Any) -> Any:
    return tuple(key) if isinstance(key, list) else key


def _add(array: NDArray[Any], arrays: Arrays) -> str:
    if array.dtype.hasobject:
        raise NotPlain("an array of Python objects")
    name = str(len(arrays))
    arrays[name] = array
    return name


def _bytes(tensor: torch.Tensor) -> NDArray[np.uint8]:
    """Return a tensor's bytes: NumPy has no type for some of them, such as bfloat16."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy()


def plain_attributes(owner: Any, left_out: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Yield the names and values of the attributes that a checkpoint can hold."""
    for name, value in vars(owner).items():
        if name in left_out:
            continue
        try:
            encode(value, {})
        except (NotPlain, RecursionError):  # RecursionError: a list that contains itself
            continue
        yield name, value
