"""Makes a CPU build of PyTorch accept the device ``cuda``, so that ``shapes.Recorder`` can follow what runs there."""

import ctypes
import importlib.util
from pathlib import Path
import shutil
import subprocess


def compiler():
    """Return the C++ compiler that ``enable`` needs, or None."""
    return shutil.which("c++") or shutil.which("g++")


def enable(folder):
    """Compile ``device.cpp`` into the folder and load it; before torch is imported, which asks for the hooks once."""
    torch = Path(importlib.util.find_spec("torch").origin).parent
    source, library, linked = Path(__file__).with_name("device.cpp"), Path(folder) / "device.so", torch / "lib"
    flags = ["-std=c++20", "-shared", "-fPIC", f"-I{torch / 'include'}", f"-L{linked}", f"-Wl,-rpath,{linked}"]
    subprocess.run([compiler(), *flags, source, "-o", library, "-lc10", "-ltorch_cpu"], check=True)
    ctypes.CDLL(str(library))
    import torch

    assert torch.accelerator.current_accelerator(check_available=False) == torch.device("cuda")
    torch.cuda._lazy_init = lambda: None
