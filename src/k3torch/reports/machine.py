"""The machine of a measurement, what it lacks, and whether other programs use it."""

from collections.abc import Sequence
from importlib.metadata import version
import os
from pathlib import Path
import platform
import subprocess

from k3torch.errors import InputError

MOST_LOAD = 1.5
"""The largest load average at which a measurement is made: that of the program itself may still be in it."""

# OpenBLAS, whose matrix products NumPy and SciPy use, then takes other kernels than it would choose for the processor.
_KERNEL_SETTINGS = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")


def describe_machine() -> dict[str, str]:
    """Return the processor and the software."""
    import torch  # takes a second

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    software = f"Python {platform.python_version()}, torch {torch.__version__}, Keras {version('keras')}"
    return {"processor": f"{cpu}, {os.cpu_count()} cores, {device}", "software": software}


def kernel_settings() -> list[str]:
    """Return the environment variables that change which kernels compute matrix products: ``"NAME=value"``."""
    return [f"{name}={os.environ[name]}" for name in _KERNEL_SETTINGS if name in os.environ]


def check_load(allowed: bool) -> float | None:
    """Return the load average of the last minute, or None on Windows, which has none.

    Args:
        allowed: whether one above ``MOST_LOAD`` is.

    Raises:
        InputError: if it is not.
    """
    if not hasattr(os, "getloadavg"):
        return None
    load: float = os.getloadavg()[0]
    if load > MOST_LOAD and not allowed:
        raise InputError(
            f"expected a load average of at most {MOST_LOAD}, got {load:.1f}, with which times and ratios are wrong: "
            "wait until other programs are done, or set --allow-load"
        )
    return load


def missing_package(python: Path, packages: Sequence[str]) -> str | None:
    """Return the first of these packages that an environment lacks, or None.

    Args:
        python: the interpreter of the environment.
        packages: by the names under which they are imported.
    """
    if not packages:
        return None
    code = "import importlib.util as u, sys; print(*(name for name in sys.argv[1:] if not u.find_spec(name)))"
    done = subprocess.run([python, "-c", code, *packages], capture_output=True, text=True, check=False)
    missing = done.stdout.split() if done.returncode == 0 else packages
    return missing[0] if missing else None
