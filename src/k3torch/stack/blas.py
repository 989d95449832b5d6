"""Matrix products of a BLAS library as plain function pointers, for compiled loops."""

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
from functools import cache
from pathlib import Path

from k3torch import runtime
import threadpoolctl
import torch

# With its kernels for 512-bit vectors, OpenBLAS takes half of MKL's time on AMD's processors, for products of all
# sizes; with its others it takes up to seven times as long for matrices of few rows.
_FAST_KERNELS = ("SkylakeX", "Cooperlake", "SapphireRapids")


@cache
def gemm_pointer(name: str) -> int:
    """Return the address of ``sgemm`` or ``dgemm`` with Fortran's arguments and 32-bit integers.

    SciPy's OpenBLAS is always there; torch's own library is used instead where it exports them (builds with MKL) and
    OpenBLAS has no kernels for this processor that are as fast. The choice depends on the processor alone, so that the
    same machine gives the same digits.
    """
    own = [] if _architecture() in _FAST_KERNELS else [*(Path(torch.__path__[0]) / "lib").glob("libtorch_cpu.so")]
    for path in own:
        function = getattr(ctypes.CDLL(str(path)), f"{name}_", None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0
    return _scipy_pointer(name)


def _architecture() -> str:
    """Return the name of the kernels that SciPy's OpenBLAS has chosen for this processor."""
    _scipy_pointer("sgemm")  # loads it
    found = [library for library in threadpoolctl.threadpool_info() if library["prefix"] == "libscipy_openblas"]
    return next((str(library.get("architecture")) for library in found if "scipy.libs" in library["filepath"]), "")


def _scipy_pointer(name: str) -> int:
    from scipy.linalg import cython_blas

    capsule = cython_blas.__pyx_capi__[name]
    name_of, pointer_of = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    name_of.argtypes, name_of.restype = [ctypes.py_object], ctypes.c_char_p
    pointer_of.argtypes, pointer_of.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    return int(pointer_of(capsule, name_of(capsule)))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Compute products, and torch's operators, in this many threads."""
    # runtime.threads sets those of torch and of MKL
    with runtime.threads(count), threadpoolctl.threadpool_limits(count, user_api="blas"):
        yield
