"""Several C++ files become one shared library, each compiled while the next one is being written."""

import ctypes
import os
import select
import tempfile

from k3torch.stack import cpp_build
from k3torch.stack.cpp_recorder import PREAMBLE
from k3torch.stack.reasons import CompilerChanged, UnsupportedGraph
import pytest

FUNCTION = """
#include "torch/csrc/inductor/cpp_prefix.h"
extern "C" const void* address_{0}() {{ return (const void*)&k3torch_sgemm; }}
extern "C" double number_{0}() {{ return {1}; }}
"""


def source(number, value):
    return PREAMBLE + FUNCTION.format(number, value)


def built(folder, sources):
    cpp_build.build_library(sources, folder / "loops.so")
    return ctypes.CDLL(str(folder / "loops.so"))


def checked(library):
    """Both files have their function, and one pointer for the product."""
    addresses = set()
    for number in (0, 1):
        found, address = library[f"number_{number}"], library[f"address_{number}"]
        found.restype, address.restype = ctypes.c_double, ctypes.c_void_p
        assert found() == number + 0.5
        addresses.add(address())
    assert addresses == {ctypes.addressof(ctypes.c_void_p.in_dll(library, "k3torch_sgemm"))}


def test_all_files_are_in_the_library_and_share_the_pointers(tmp_path, monkeypatch):
    monkeypatch.setattr(cpp_build, "_compile_with_torch", lambda _: pytest.fail("our header will do"))
    checked(built(tmp_path, [source(0, 0.5), source(1, 1.5)]))


def test_what_our_header_lacks_is_compiled_with_torchs_as_one_file(tmp_path):
    special = "calc_igamma<double>(1.0, 40.0) + 0.5"
    checked(built(tmp_path, [source(0, 0.5), source(1, special)]))


def test_a_step_that_cannot_be_written_ends_the_compilers_and_leaves_no_library(tmp_path, monkeypatch):
    started = []
    start = cpp_build.subprocess.Popen
    monkeypatch.setattr(cpp_build.subprocess, "Popen", lambda *a, **k: started.append(start(*a, **k)) or started[-1])

    def sources():
        yield source(0, 0.5)
        raise UnsupportedGraph("a step")

    with pytest.raises(UnsupportedGraph):
        cpp_build.build_library(sources(), tmp_path / "loops.so")
    assert [process.returncode for process in started] in ([-9], [0])
    assert not list(tmp_path.iterdir())


def test_what_the_compiler_has_started_ends_with_it_and_leaves_no_files(tmp_path, monkeypatch):
    pipe, temporary, compiler = tmp_path / "pipe", tmp_path / "temporary", tmp_path / "c++"
    os.mkfifo(pipe)
    temporary.mkdir()
    compiler.write_text(f"#!/bin/sh\nmktemp\nexec 3>{pipe}\necho started >&3\nsleep 60\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(cpp_build, "private_part", lambda _: lambda: str(compiler))
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    state = select.poll()
    state.register(reader, select.POLLIN)

    def sources():
        yield "a step that takes a minute"
        assert state.poll(10_000)
        assert os.read(reader, 100) == b"started\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cpp_build.build_library(sources(), tmp_path / "loops.so")
    assert state.poll(10_000) == [(reader, select.POLLHUP)]  # no process has the pipe open
    os.close(reader)
    assert not list(temporary.iterdir())


def test_code_that_does_not_compile_is_refused(tmp_path):
    with pytest.raises(CompilerChanged):
        cpp_build.build_library(["no C++"], tmp_path / "loops.so")
    assert not list(tmp_path.iterdir())
