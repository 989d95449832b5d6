"""Device, precision, seed and threads: the only file that asks what machine this is."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
import gc
import os
from pathlib import Path
import sys
from typing import Any

from k3torch.errors import choice_problem, refuse, seed_problem
from k3torch.options import Device, Precision
import torch


class _Scope:
    """The Keras device scope that ``configure`` entered. Keras leaves a scope whose object is collected."""

    entered: AbstractContextManager[Any] | None = None


class _Unsearched:
    """How many objects blocks without garbage collection have made since the last full search."""

    FEW = 50_000  # no search is due for them: Keras and torch alone have some 450,000
    objects = 0
    few = FEW  # up to so many, no search is due
    searches = 0  # full searches of the process when objects were last counted

    @classmethod
    def add(cls, objects: int) -> None:
        """Count the objects of a block."""
        searches = gc.get_stats()[-1]["collections"]
        if searches != cls.searches:
            cls.objects, cls.few = 0, cls.FEW
        cls.objects += objects
        cls.searches = searches

    @classmethod
    def are_many(cls) -> bool:
        """Return whether they are more than a fifth of all objects, which must be frozen: that counts them."""
        if cls.objects > cls.few:  # the count takes 0.03 s, so it is kept
            cls.few = max(cls.FEW, gc.get_freeze_count() // 5)
        return cls.objects > cls.few


def available_devices() -> list[str]:
    """Return the devices of this machine: cuda and mps where they are, and cpu last."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def configure(device: Device = "auto", precision: Precision = "float32", seed: int = 0) -> torch.device:
    """Set device, precision and seed for Keras and torch alike, and return the device.

    Call it before any model is built. A later call replaces the earlier one.

    Args:
        device: where Keras places weights and data; "auto" is cuda where it is available, else cpu.
        precision: "float32", or "bfloat16" for Keras's policy mixed_bfloat16.
        seed: of Python, NumPy, torch and Keras, from 0 to 2**32 - 1.

    Raises:
        InputError: names every bad argument; a device that this machine lacks is one.
    """
    known = available_devices()
    refuse(
        [
            choice_problem("device", device, ("auto", *known)),
            choice_problem("precision", precision, ("float32", "bfloat16")),
            seed_problem(seed),
        ]
    )
    chosen = ("cuda" if "cuda" in known else "cpu") if device == "auto" else device
    if chosen == "mps":
        print("mps has no sparse CSR tensors: models with SparseDense fail there", file=sys.stderr)

    os.environ["KERAS_TORCH_DEVICE"] = chosen  # for processes started from this one
    import keras

    if _Scope.entered is not None:
        _Scope.entered.__exit__(None, None, None)
    _Scope.entered = keras.device(chosen)
    _Scope.entered.__enter__()
    _make_default(chosen)
    keras.config.set_dtype_policy("float32" if precision == "float32" else "mixed_bfloat16")
    keras.utils.set_random_seed(int(seed))
    return torch.device(chosen)


def _make_default(device: str) -> None:
    """Have Keras use the device where the scope does not hold: in other threads, and after ``clear_session``."""
    core = sys.modules.get("keras.src.backend.torch.core")
    if hasattr(core, "DEFAULT_DEVICE"):
        core.DEFAULT_DEVICE = device  # type: ignore[union-attr]


def peak_memories() -> dict[str, float]:
    """Return ``peak_memory_mb`` and, where CUDA is in use, ``peak_gpu_memory_mb``: the most that torch allocated."""
    found = {"peak_memory_mb": peak_memory_mb()}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 1e6
    return found


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far in MB (10**6 bytes); NaN on Windows."""
    status = Path("/proc/self/status")
    # On Linux, the value of getrusage begins with the size of the program that started this one.
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource  # Unix only
    except ImportError:
        return float("nan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # macOS counts bytes, Linux KiB


@contextmanager
def single_threaded() -> Iterator[None]:
    """Single-threaded, denormals flushed to zero: for operations of microseconds.

    They gain nothing from a second thread, and each of them waits when another program occupies its core.
    """
    with threads(1), denormals_flushed():
        yield


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Keep Python from searching for unused objects during the block.

    A search of all objects of Keras and torch takes 0.3 s, and a block that makes many objects causes several. Its
    objects are in the oldest generation afterwards, as if searches had found them in use. Python does not count them
    when it decides on a full search, so there is one here when a fifth of all objects are of such blocks: the models of
    many calls would stay in memory otherwise.
    """
    if not gc.isenabled():  # the caller manages it
        yield
        return
    try:
        gc.disable()
        yield
    finally:
        try:  # Ctrl-C may come at any line
            due = not gc.get_freeze_count() and _age_all_objects()  # unfreeze would return what the caller froze, too
        finally:
            gc.enable()
    if due:
        gc.collect()


@contextmanager
def objects_that_stay() -> Iterator[None]:
    """Make objects that no search has to look at, such as those of an imported module, in a block without searches."""
    before = gc.get_count()[0]
    try:
        yield
    finally:
        if not gc.isenabled():
            _Unsearched.add(before - gc.get_count()[0])


def _age_all_objects() -> bool:
    """Put all objects into the oldest generation, and return whether it is time for a full search."""
    made = gc.get_count()[0]  # less those that were freed
    try:
        gc.freeze()
        _Unsearched.add(made)
        return _Unsearched.are_many()
    finally:
        gc.unfreeze()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch compute each operator in so many threads, and afterwards in as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """Round denormals to zero in this thread, and afterwards do as before."""
    before = _denormals_are_flushed()
    flush_denormals()
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


def _denormals_are_flushed() -> bool:
    return (torch.full((1,), 1e-30) * 1e-10).item() == 0  # torch has no getter


def flush_denormals() -> None:
    """Round denormals, numbers below 1e-38, to zero in this thread.

    The running average of a dead unit's gradient becomes that small, and arithmetic on denormals is 100 times slower.
    """
    torch.set_flush_denormal(True)
