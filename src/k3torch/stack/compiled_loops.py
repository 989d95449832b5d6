"""Steps as compiled C++ loops, kept in the cache folder and checked before use."""

from collections.abc import Sequence
import ctypes
import hashlib
import platform
import re
import threading
from typing import Any

from k3torch.cpp_library import function
from k3torch.files import cache_dir, cached_file
from k3torch.stack import blas, compiled_check, cpp_build, cpp_prefix, inductor_cpp
from k3torch.stack.cpp_recorder import PREAMBLE, RUN
from k3torch.stack.reasons import WrongResult
from k3torch.stack.step_graphs import Example, StepGraph
from k3torch.stack.torch_internals import private_use
import torch

Tensors = Sequence[torch.Tensor]


class CompiledLoop:
    """A step as a C++ loop; ``bind`` it to tensors of the shapes and dtypes that it was compiled for."""

    def __init__(self, library: ctypes.CDLL, number: int, step: StepGraph):
        self.step = step
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        self.run = function(library, f"run_{number}", size, size, *[pointer] * 3, returns=ctypes.c_char_p)
        self.scratch = function(library, f"scratch_{number}", size, returns=size)
        self.valid = function(library, f"valid_{number}", size, returns=size)

    def bind(
        self, state: Tensors, arrays: Tensors, seed: torch.Tensor, constants: Tensors | None = None
    ) -> "BoundLoop":
        """Return the loop over batches of these samples, which changes this state; none may be reallocated.

        Args:
            state: of the model.
            arrays: all samples.
            seed: of the step's random numbers.
            constants: of this model, where its step has others than the one that was compiled.
        """
        return BoundLoop(self, list(state), list(arrays), seed, self.step.constants if constants is None else constants)


class BoundLoop:
    """A loop with its tensors, all contiguous and on the CPU, which it keeps alive."""

    def __init__(
        self,
        loop: CompiledLoop,
        state: list[torch.Tensor],
        arrays: list[torch.Tensor],
        seed: torch.Tensor,
        constants: Tensors,
    ):
        self._loop, self._size = loop, ctypes.c_int64()
        self._kept = [*state, *arrays, *constants, seed]
        addresses = [tensor.data_ptr() for tensor in self._kept]
        addresses.insert(-1, ctypes.addressof(self._size))
        self._pointers = (ctypes.c_void_p * len(addresses))(*addresses)
        self._arrays = [
            (len(state) + number, array.data_ptr(), array.stride(0) * array.dtype.itemsize)
            for number, array in enumerate(arrays)
        ]

    def epoch(self, batch_size: int, samples: int, order: torch.Tensor | None = None) -> None:
        """Run over all samples, in their own order or in that of ``order``, int64, (samples,)."""
        full = samples // batch_size * batch_size
        if full:
            self(batch_size, full // batch_size, order)
        if full < samples:
            self(samples - full, 1, order, start=full)

    def __call__(self, size: int, batches: int, order: torch.Tensor | None = None, start: int = 0) -> None:
        """Run over batches of ``size`` samples, from the sample (or the place in the order) ``start`` on."""
        self._size.value = size
        for number, address, row in self._arrays:
            self._pointers[number] = address + (start * row if order is None else 0)
        indices = None if order is None else order.data_ptr() + start * order.dtype.itemsize
        scratch = _scratch(self._loop.scratch(size))
        if error := self._loop.run(batches, size, indices, self._pointers, scratch.data_ptr()):
            raise IndexError(re.sub(r"^.*loops\.cpp:\d+, ", "", error.decode(errors="replace")))


class _Scratch(threading.local):
    memory = torch.empty(0, dtype=torch.uint8)


_SCRATCH = _Scratch()  # of each thread, which runs one loop at a time


def _scratch(size: int) -> torch.Tensor:
    """Return memory of at least ``size`` bytes, the same at each call if that is enough."""
    if _SCRATCH.memory.numel() < size:
        _SCRATCH.memory = torch.empty(size, dtype=torch.uint8)
    return _SCRATCH.memory


def is_cached(examples: Sequence[Example]) -> bool:
    """Return whether the cache folder has these steps compiled."""
    return (cache_dir() / library_name(examples)).exists()


def compile_loops(examples: Sequence[Example]) -> list[CompiledLoop]:
    """Return the steps as compiled C++ loops, from the cache folder or compiled now, which takes seconds.

    All steps are compiled into one library, which is in the cache as a whole or not at all.

    The name of the cached file is a hash of the graphs, of the shapes and dtypes of state and samples, of the version
    of torch and of the processor: neither the number of samples counts, nor that of models, nor (above one) the size of
    a batch. Each loop is compared with its graph before it is returned: see ``compiled_check``.

    Args:
        examples: all steps of one library.

    Raises:
        reasons.NotCompiled: the steps cannot be compiled here, or what was compiled gives wrong results.
    """
    name = library_name(examples)
    with private_use():
        steps = [(example.step, example.state) for example in examples]
        path = cached_file(name, lambda path: cpp_build.build_library(inductor_cpp.cpp_sources(steps), path))
        try:
            library = ctypes.CDLL(str(path))
        except OSError:  # a compiler that wrote something else: another one may do better
            path.unlink()
            raise
        for product in ("sgemm", "dgemm"):
            ctypes.c_void_p.in_dll(library, f"k3torch_{product}").value = blas.gemm_pointer(product)
        loops = [CompiledLoop(library, number, example.step) for number, example in enumerate(examples)]
        pairs = zip(examples, loops, strict=True)
        usable = [example._replace(sizes=tuple(filter(loop.valid, example.sizes))) for example, loop in pairs]
        if difference := compiled_check.difference_from_graphs(usable, loops):
            path.unlink()  # so that it is compiled again, perhaps by a version that does better
            raise WrongResult(f"a compiled C++ loop disagrees with torch operators: {difference}")
    return loops


def library_name(examples: Sequence[Example]) -> str:
    """Return the path, relative to the cache folder, of the library that holds these steps."""
    machine = (torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability())
    parts: list[Any] = [
        machine,
        sorted(inductor_cpp.OPTIONS.items()),
        cpp_build.FLAGS,
        RUN,
        PREAMBLE,
        cpp_prefix.HEADER,
    ]
    for example in examples:
        step = example.step
        parts += [step.graph.code, step.any_size]
        parts += [[_kind(tensor) for tensor in group] for group in (example.state, step.rows, step.constants)]
    return f"compiled/{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.so"


def _kind(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), str(tensor.dtype)
