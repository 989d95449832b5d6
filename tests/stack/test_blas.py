"""The pointers to BLAS functions compute products, whichever library they come from."""

import ctypes

from k3torch.stack import blas
import numpy as np
import pytest
import threadpoolctl
import torch

TYPES = {"sgemm": np.float32, "dgemm": np.float64}


@pytest.fixture(params=["torch's own", "SciPy's", "SciPy's alone"])
def source(request, monkeypatch):
    """Both libraries that a pointer may come from; the last where torch exports none."""
    blas.gemm_pointer.cache_clear()
    monkeypatch.setattr(blas, "_architecture", lambda: "SkylakeX" if request.param == "SciPy's" else "Haswell")
    if request.param == "SciPy's alone":
        monkeypatch.setattr(blas.ctypes, "CDLL", lambda path: object())
    yield request.param
    blas.gemm_pointer.cache_clear()


def product(pointer, a, b):
    """Multiply row-major matrices: the transposed product of what Fortran reads as transposed."""
    dtype = a.dtype.type
    scalar = ctypes.c_float if dtype == np.float32 else ctypes.c_double
    (m, k), n = a.shape, b.shape[1]
    c = np.full((m, n), np.nan, dtype)
    sizes = [ctypes.byref(ctypes.c_int(size)) for size in (n, m, k)]
    gemm = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 13)(pointer)
    ldb, lda, ldc = (ctypes.byref(ctypes.c_int(size)) for size in (n, k, n))
    one, zero = ctypes.byref(scalar(1)), ctypes.byref(scalar(0))
    gemm(*map(address, [b"N", b"N", *sizes, one, b, ldb, a, lda, zero, c, ldc]))
    return c


def address(argument):
    if isinstance(argument, bytes):
        return ctypes.cast(ctypes.c_char_p(argument), ctypes.c_void_p)
    return (
        argument.ctypes.data_as(ctypes.c_void_p)
        if isinstance(argument, np.ndarray)
        else ctypes.cast(argument, ctypes.c_void_p)
    )


@pytest.mark.parametrize("name", TYPES)
def test_a_pointer_computes_a_product(source, name):
    draw = np.random.default_rng(0)
    a, b = (draw.normal(size=size).astype(TYPES[name]) for size in ((3, 5), (5, 4)))
    np.testing.assert_allclose(product(blas.gemm_pointer(name), a, b), a @ b, rtol=1e-5, atol=1e-6)


def test_scipys_library_is_used_where_it_is_fast_or_alone(source):
    own = source == "torch's own" and torch.backends.mkl.is_available()
    assert (blas.gemm_pointer("sgemm") == blas._scipy_pointer("sgemm")) != own


def test_the_kernels_of_scipys_library_have_a_name():
    names = [each.get("architecture") for each in threadpoolctl.threadpool_info() if "scipy.libs" in each["filepath"]]
    assert blas._architecture() in (names or [""])


@pytest.mark.parametrize("count", [1, 2])
def test_products_and_operators_use_this_many_threads_in_the_block(count):
    def of_blas():
        return [each["num_threads"] for each in threadpoolctl.threadpool_info() if each["user_api"] == "blas"]

    blas.gemm_pointer("sgemm")
    before = torch.get_num_threads(), of_blas()
    with blas.threads(count):
        assert torch.get_num_threads() == count
        assert all(number <= count for number in of_blas())
    assert (torch.get_num_threads(), of_blas()) == before
    with pytest.raises(KeyboardInterrupt), blas.threads(count):
        raise KeyboardInterrupt
    assert (torch.get_num_threads(), of_blas()) == before
