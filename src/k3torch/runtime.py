"""Device, precision, seed and threads: the only file that asks what machine this is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import os
from pathlib import Path
import resource
import sys
from typing import Literal

from k3torch.errors import InputError
import torch

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class MachineSettings:
    """What every script lets a person choose about the machine; scripts inherit their settings from it."""

    device: Device = "auto"
    """Where to compute: auto takes cuda, then mps, then cpu, whichever is there."""
    precision: Precision = "float32"
    """Arithmetic of the layers; weights stay float32 (bfloat16 is Keras's mixed_bfloat16)."""
    seed: int = 0
    """Seed of Python, NumPy, torch and Keras: the same seed on the same machine gives the same figures."""


def available_devices() -> list[str]:
    """Return the devices of this machine, the preferred one first; ``"cpu"`` is always the last."""
    found = []
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return [*found, "cpu"]


def configure(device: Device = "auto", precision: Precision = "float32", seed: int = 0) -> torch.device:
    """Set device, precision and seed for Keras and torch alike, and return the device.

    Call it once, before any model is built.

    Raises:
        InputError: for a device that this machine lacks, an unknown precision, or a seed outside 0 ... 2**32 - 1.
    """
    known = available_devices()
    chosen = known[0] if device == "auto" else device
    if chosen not in known:
        raise InputError(f"expected a device of this machine ({', '.join(known)}), got {device!r}: choose one of those")
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"expected precision float32 or bfloat16, got {precision!r}: choose one of those")
    if not 0 <= seed < 2**32:
        raise InputError(f"expected a seed from 0 to {2**32 - 1}, got {seed}: choose one in that range")

    # Keras picks its device while it is imported, and later only from a device scope: serve both orders.
    os.environ["KERAS_TORCH_DEVICE"] = chosen
    import keras

    keras.device(chosen).__enter__()
    keras.config.set_dtype_policy("float32" if precision == "float32" else "mixed_bfloat16")
    keras.utils.set_random_seed(seed)
    return torch.device(chosen)


def current_device() -> torch.device:
    """Return the device on which Keras places new weights now."""
    import keras

    return torch.empty(0, device=str(keras.ops.zeros(0).device)).device


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB (10**6 bytes)."""
    status = Path("/proc/self/status")
    # On Linux, what getrusage tells begins with the size of the program that started this one.
    for line in status.read_text().splitlines() if status.exists() else []:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6  # macOS counts bytes, Linux KiB


@contextmanager
def single_threaded() -> Iterator[None]:
    """Compute on one thread, and without tiny numbers: for steps of microseconds.

    Such operations gain nothing from a second thread; and when another program holds its core, each of them waits.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    flush_denormals()
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def flush_denormals() -> None:
    """Round numbers below 1e-38 to zero in this thread.

    The running average of a dead unit's gradient gets that small, and such numbers cost a hundred times more.
    """
    torch.set_flush_denormal(True)
