"""Compiling the C++ files of steps to a shared library."""

from collections.abc import Iterable
import os
from pathlib import Path
import signal
import subprocess
import tempfile
from typing import Self

from k3torch.cpp_library import processor_options
from k3torch.errors import first_line
from k3torch.stack import cpp_prefix
from k3torch.stack.reasons import CompilerChanged, CompilerUnavailable
from k3torch.stack.torch_internals import (
    CONFIG_PATCH,
    CPP_BUILDER,
    CPP_COMPILER,
    CPP_OPTIONS,
    INVALID_ISA,
    private_part,
    private_use,
)
import torch

# Of torch's compiler. One thread: models run side by side. Loops over single numbers: the C++ compiler makes vector
# instructions of them, in a third of the time and with faster code than torch's own vector classes, for which it takes
# what is the same for all elements out of a loop (a power of Adam's).
OPTIONS = {"cpp.threads": 1, "cpp.simdlen": 1, "cpp_cache_precompile_headers": False}
# Sums may be computed in another order, and a library's function needs not set errno: else no loop would be vectorised.
FLAGS = (
    "-O3 -std=c++14 -shared -fPIC -fopenmp -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math "
    "-freciprocal-math"
)
_WIDEST = {"AVX512": ("-mprefer-vector-width=512",)}  # g++ prefers vectors of 256 bits


def build_library(sources: Iterable[str], path: Path) -> None:
    """Compile C++ files, each while the next one is being written, and write the shared library to ``path``.

    Raises:
        CompilerUnavailable: if the compiler fails on an empty file too.
        CompilerChanged: if the compiler fails on these sources alone.
    """
    with private_use():
        texts = []
        with tempfile.TemporaryDirectory() as folder, _Objects(Path(folder)) as objects:
            for source in sources:
                texts.append(source)
                objects.add(source)
            library = objects.linked()
        path.write_bytes(library or _with_the_header_of_torch("\n".join(texts)))


class _Objects:
    """Compiles C++ files with our own header, each in a process that runs while the caller goes on.

    Use it as a context manager: on leaving it, processes that still run are killed, with those that they have started:
    g++ has others compile, assemble and link.

    Args:
        folder: an empty one, which also gets the temporary files of the compiler.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []
        header = folder / cpp_prefix.INCLUDED
        header.parent.mkdir(parents=True)
        header.write_text(cpp_prefix.HEADER)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def add(self, source: str) -> None:
        """Begin to compile a file."""
        file = self._folder / f"{len(self._running)}.cpp"
        file.write_text(source)
        self._start("-c", f"-I{self._folder}", str(file), "-o", str(file.with_suffix(".o")))

    def linked(self) -> bytes | None:
        """Return all files as one shared library, or None if one of them cannot be compiled with this header."""
        objects = [str(self._folder / f"{number}.o") for number in range(len(self._running))]
        library = self._folder / "loops.so"
        if any(process.wait() for process in self._running):
            return None
        self._start(*objects, "-o", str(library))
        return None if self._running[-1].wait() else library.read_bytes()

    def _start(self, *arguments: str) -> None:
        options = [*FLAGS.split(), *processor_options(), *_WIDEST.get(torch.backends.cpu.get_cpu_capability(), ())]
        command = [private_part(CPP_COMPILER)(), *options, *arguments]
        environment = {**os.environ, "TMPDIR": str(self._folder)}  # a compiler that is killed leaves its files there
        silent = subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=silent, stderr=silent, env=environment, process_group=0)
        self._running.append(process)


def _with_the_header_of_torch(source: str) -> bytes:
    """Return a C++ file as a shared library, compiled as torch does it; the errors are those of ``build_library``."""
    try:
        return _compile_with_torch(source)
    except Exception:  # tool chains fail in many ways: a try on an empty file tells the two cases apart
        try:
            _compile_with_torch('extern "C" int empty() { return 0; }\n')
        except CompilerChanged:
            raise
        except Exception as error:
            raise _unavailable(error) from error
        raise


def _compile_with_torch(source: str) -> bytes:
    patch, vector_isa = private_part(CONFIG_PATCH), private_part(INVALID_ISA)
    options_class, builder_class = private_part(CPP_OPTIONS), private_part(CPP_BUILDER)
    with patch(OPTIONS), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "loops.cpp"
        file.write_text(source)
        options = options_class(vec_isa=vector_isa, device_type="cpu")
        builder = builder_class(name="torch", sources=str(file), BuildOption=options, output_dir=folder)
        builder.build()
        return Path(builder.get_target_file_path()).read_bytes()


def require_compiler() -> None:
    """Raise ``CompilerUnavailable`` without a C++ compiler, which Inductor itself reports differently at each use."""
    find = private_part(CPP_COMPILER)
    try:
        find()
    except RuntimeError as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> CompilerUnavailable:
    reason = first_line(error, with_type=True)
    return CompilerUnavailable(f"no C++ compiler works here, a step is up to 100 times slower ({reason})")
