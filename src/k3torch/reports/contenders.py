"""The processes of a benchmark's contenders: their environment variables, and the results that they print."""

from collections.abc import Mapping, Sequence
import json
import os
import subprocess
from typing import Any

from k3torch.errors import InputError

# The contenders' own settings, and caches of compilers that would make a first run a second one.
_NOT_PASSED_ON = ("KERAS_", "JAX_COMPILATION_CACHE", "TORCHINDUCTOR_CACHE")


def environment_on(device: str) -> dict[str, str]:
    """Return the environment in which a contender computes on this device, as far as it can.

    Keras on torch and the programs in PyTorch read ``KERAS_TORCH_DEVICE``. Numba computes on the CPU in any case.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_PASSED_ON)}
    others = {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    return {**kept, "KERAS_TORCH_DEVICE": device, **others}


def printed_by(name: str, command: Sequence[object], environment: Mapping[str, str]) -> dict[str, Any]:
    """Run the command of a contender, and return the results in the last line that it prints.

    Raises:
        InputError: if it refuses its input.
    """
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 2:
        raise InputError(done.stderr.strip().removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
