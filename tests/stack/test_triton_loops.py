"""A kernel's function is made from its text; the loops run in test_triton_models.py."""

import inspect

from k3torch.stack.reasons import CompilerUnavailable
from k3torch.stack.triton_loops import _kernel
import pytest


def test_a_kernel_keeps_its_text_where_triton_reads_it():
    pytest.importorskip("triton")
    text = "@triton.jit\ndef run(s0, order, counts, rows, batches):\n    tl.store(s0, 1.0)\n"
    assert inspect.getsource(_kernel(text).fn) == text


def test_without_triton_there_is_a_reason(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "triton", None)
    with pytest.raises(CompilerUnavailable, match="no Triton"):
        _kernel("@triton.jit\ndef run():\n    pass\n")
