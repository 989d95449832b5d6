"""Compiling a C++ file at first use, and every way in which there is none to compile it with."""

from pathlib import Path
import shutil
import subprocess
import sys

from k3torch import cpp_library
from k3torch.files import cache_dir
import pytest

needs_compiler = pytest.mark.skipif(cpp_library._command() is None, reason="no C++ compiler")

CODE = '#include <cmath>\nextern "C" double root(double x) { return std::sqrt(x); }\n'


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "roots.cpp"
    path.write_text(CODE)
    return path


def compiled():
    return sorted(path.name for path in (cache_dir() / "compiled").glob("*.so"))


def root_of(library, x):
    import ctypes

    library.root.argtypes, library.root.restype = [ctypes.c_double], ctypes.c_double
    return library.root(x)


@needs_compiler
def test_it_is_compiled_once_and_kept(cache, source, monkeypatch):
    assert root_of(cpp_library.load(source), 9.0) == 3
    (name,) = compiled()
    assert name.startswith("roots-")
    monkeypatch.setattr(cpp_library, "_compile", lambda *_: pytest.fail("compiled again"))
    assert root_of(cpp_library.load(source), 16.0) == 4


@needs_compiler
def test_another_source_and_another_processor_have_another_library(cache, source, monkeypatch):
    cpp_library.load(source)
    source.write_text(CODE + "// another\n")
    cpp_library.load(source)
    monkeypatch.setattr(cpp_library, "processor_options", lambda: ())
    cpp_library.load(source)
    assert len(compiled()) == 3


@needs_compiler
def test_a_damaged_library_is_compiled_again(cache, source, capsys):
    cpp_library.load(source)
    path = cache_dir() / "compiled" / compiled()[0]
    path.unlink()  # the library is still loaded: its file must not be written to
    path.write_bytes(b"not a library")
    assert root_of(cpp_library.load(source), 9.0) == 3
    assert "is damaged: building it again" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["no-such-compiler", "/no/such/compiler -O1", "false", "'c++"])
def test_without_a_compiler_there_is_no_library_and_no_message(cache, source, monkeypatch, capsys, command):
    monkeypatch.setenv("CXX", command)
    assert cpp_library.load(source) is None
    assert capsys.readouterr() == ("", "")
    assert not cache.exists() or compiled() == []


def test_an_empty_path_has_no_compiler(cache, source, monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert cpp_library.load(source) is None


@needs_compiler
def test_a_source_that_does_not_compile_leaves_nothing(cache, source, capsys):
    source.write_text("not C++")
    assert cpp_library.load(source) is None
    assert capsys.readouterr() == ("", "")
    assert [path.suffix for path in (cache / "compiled").iterdir() if path.suffix != ".lock"] == []


@needs_compiler
def test_a_compiler_that_hangs_is_given_up(cache, source, monkeypatch, tmp_path):
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 30\n")
    slow.chmod(0o755)
    monkeypatch.setenv("CXX", str(slow))
    monkeypatch.setattr(cpp_library, "TIMEOUT", 0.2)
    assert cpp_library.load(source) is None


@needs_compiler
def test_options_in_cxx_are_passed_on(cache, source, monkeypatch):
    source.write_text('extern "C" int answer() { return ANSWER; }\n')
    monkeypatch.setenv("CXX", f"{shutil.which('c++') or shutil.which('g++')} -DANSWER=42")
    assert cpp_library.load(source).answer() == 42


@pytest.mark.parametrize(("status", "usable"), [(0, True), (2, False)])
def test_a_mac_without_developer_tools_is_not_asked_to_install_them(monkeypatch, status, usable):
    asked = []

    def run(command, **_):
        asked.append(command)
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", run)
    assert cpp_library._has_tools() is usable
    assert asked == [["xcode-select", "-p"]]


def test_windows_has_no_compiler_with_these_options(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    assert cpp_library._command() is None


def test_the_sources_are_in_the_package():
    assert (Path(cpp_library.__file__).with_name("kernels.cpp")).is_file()
