"""Graphs as compiled C++ loops, kept in the cache folder and checked before use."""

from collections.abc import Callable, Sequence
import ctypes
import hashlib
import platform
import re
from typing import Any

from k3torch.files import cache_dir, cached_file
from k3torch.stack import compiled_check, inductor_cpp
from k3torch.stack.graphs import TracedGraph
from k3torch.stack.reasons import WrongResult
import torch

Tensors = Sequence[torch.Tensor]


class CompiledLoop:
    """A graph as a C++ loop; ``bind`` it to tensors of the shapes and strides that it was compiled for."""

    def __init__(self, library: ctypes.CDLL, number: int):
        self._run = getattr(library, f"run_{number}")
        self._run.argtypes, self._run.restype = [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_char_p
        self._scratch = ctypes.c_int64.in_dll(library, f"scratch_{number}").value

    def bind(self, inputs: Tensors) -> Callable[[int], None]:
        """Return ``f(times)``, which runs the graph on exactly these CPU tensors; they must not be reallocated."""
        return _BoundLoop(self._run, list(inputs), torch.empty(self._scratch, dtype=torch.uint8))


class _BoundLoop:
    """A loop with its tensors, which it keeps alive."""

    def __init__(self, run: Any, inputs: list[torch.Tensor], scratch: torch.Tensor):
        self._run, self._kept = run, (inputs, scratch)
        self._pointers = (ctypes.c_void_p * len(inputs))(*(tensor.data_ptr() for tensor in inputs))
        self._scratch = scratch.data_ptr()

    def __call__(self, times: int) -> None:
        if error := self._run(times, self._pointers, self._scratch):
            raise IndexError(re.sub(r"^.*loops\.cpp:\d+, ", "", error.decode(errors="replace")))


def compile_loops(graphs: Sequence[TracedGraph], compile_missing: bool) -> list[CompiledLoop] | None:
    """Return the graphs as compiled C++ loops, from the cache folder or compiled now, which takes seconds.

    All graphs are compiled into one library, which is in the cache as a whole or not at all.

    The name of the cached file is a hash of the graphs, of the shapes and dtypes of their inputs, of the version of
    torch and of the processor. Each loop is compared with its graph before it is returned: see ``compiled_check``.

    Args:
        graphs: all graphs of one library.
        compile_missing: whether to compile a library that is not in the cache; if not, None is returned for it.

    Raises:
        reasons.NotCompiled: the graphs cannot be compiled here, or what was compiled gives wrong results.
    """
    name = library_name(graphs)
    if not (compile_missing or (cache_dir() / name).exists()):
        return None
    with inductor_cpp.private_use():
        path = cached_file(name, lambda path: inductor_cpp.build_library(inductor_cpp.cpp_source(_pairs(graphs)), path))
        library = ctypes.CDLL(str(path))
        loops = [CompiledLoop(library, number) for number in range(len(graphs))]
        if difference := compiled_check.difference_from_graphs(graphs, [loop.bind for loop in loops]):
            path.unlink()  # so that it is compiled again, perhaps by a version that does better
            raise WrongResult(f"a compiled C++ loop disagrees with torch operators: {difference}")
    return loops


def library_name(graphs: Sequence[TracedGraph]) -> str:
    """Return the path, relative to the cache folder, of the library that holds these graphs."""
    machine = (torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability())
    parts: list[Any] = [machine, sorted(inductor_cpp.OPTIONS.items()), inductor_cpp.RUN]
    for graph, inputs in _pairs(graphs):
        parts.append(graph.code)
        parts.append([(name, value.tolist()) for name, value in graph.named_buffers()])
        parts.append([(tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype)) for tensor in inputs])
    return f"compiled/{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.so"


def _pairs(graphs: Sequence[TracedGraph]) -> list[tuple[torch.fx.GraphModule, Tensors]]:
    return [(traced.graph, traced.inputs) for traced in graphs]
