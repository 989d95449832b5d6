"""Matrix products of a BLAS library as plain function pointers, for compiled loops."""

from collections.abc import Iterator
from contextlib import contextmanager
import ctypes
from functools import cache
from pathlib import Path

from k3torch import runtime
import threadpoolctl
import torch


@cache
def gemm_pointer(name: str) -> int:
    """Return the address of ``sgemm`` or ``dgemm`` with Fortran's arguments and 32-bit integers.

    torch's own library is preferred where it exports them (builds with MKL): for matrices of 16 rows its products take
    half the time of those of SciPy's OpenBLAS, which is always there.
    """
    own = [*(Path(torch.__path__[0]) / "lib").glob("libtorch_cpu.so")]
    for path in own:
        function = getattr(ctypes.CDLL(str(path)), f"{name}_", None)
        if function is not None:
            return ctypes.cast(function, ctypes.c_void_p).value or 0
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
