"""Graphs of tensor operations made into machine code that later processes load from disk."""

from collections.abc import Callable, Sequence
from contextlib import contextmanager
import hashlib
from pathlib import Path
import platform
import sys
from typing import Any
import warnings

from filelock import FileLock
from k3torch.data.cache import atomic_path, cache_dir
import torch
from torch.fx.experimental.proxy_tensor import make_fx

Tensors = Sequence[torch.Tensor]

# One call of a small step costs less than waking a second thread, so the code is made for one.
_OPTIONS = {"cpp.threads": 1}


class NoCompiler(Exception):  # noqa: N818  (a reason, not an error)
    """There is no working C++ compiler; the message says what was tried."""


def trace(function: Callable[..., None], inputs: Tensors) -> torch.fx.GraphModule:
    """Return the tensor operations that ``function(*inputs)`` consists of; nothing is computed or changed.

    The function may write into its inputs; the graph then does so too.
    """
    with torch.no_grad():
        graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def fastest(
    graph: torch.fx.GraphModule, inputs: Tensors, worth_compiling: bool, notice: Callable[[str], None]
) -> Callable[[], None]:
    """Return the fastest function that runs ``graph`` on just these tensors, which must stay where they are.

    On CUDA it is a replay of the recorded kernels; on the CPU machine code, if that is on disk already or
    ``worth_compiling``; else, and where there is no compiler (which ``notice`` is told), operation after operation.
    """
    fixed = list(inputs)
    if fixed[0].device.type == "cuda":
        return _recorded(graph, fixed)
    if fixed[0].device.type == "cpu" and (worth_compiling or _path(graph, fixed).exists()):
        try:
            return compile_graph(graph, fixed)
        except NoCompiler as error:
            notice(f"training uncompiled, about 30 times slower, since no C++ compiler works here ({error})")
    return lambda: graph(*fixed)


def compile_graph(graph: torch.fx.GraphModule, inputs: Tensors) -> Callable[[], None]:
    """Return a function that runs ``graph`` on just these CPU tensors, as machine code and on one thread.

    The code comes from the cache folder, or is made (seconds) and put there. Its name there is a hash of the graph,
    of the shapes and types of the inputs, and of the versions and the processor that it was made for.

    Raises:
        NoCompiler: if there is none, or if it fails.
    """
    path = _path(graph, inputs)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.exists():
            try:
                return _load(path, inputs)
            except (RuntimeError, OSError):
                print(f"the compiled step {path} is damaged: compiling it again", file=sys.stderr)
        with atomic_path(path) as draft:
            _compile(graph, inputs, draft)
        return _load(path, inputs)


def _path(graph: torch.fx.GraphModule, inputs: Tensors) -> Path:
    constants = [(name, value.tolist()) for name, value in sorted(graph.named_buffers())]
    shapes = [(tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype)) for tensor in inputs]
    machine = (torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability())
    key = repr((graph.code, constants, shapes, machine, sorted(_OPTIONS.items())))
    return cache_dir() / "compiled" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pt2"


def _compile(graph: torch.fx.GraphModule, inputs: Tensors, path: Path) -> None:
    from torch._inductor import aoti_compile_and_package  # a second to import, and needed only to compile

    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(graph, tuple(inputs))
            aoti_compile_and_package(program, package_path=str(path), inductor_configs=_OPTIONS)
        except Exception as error:  # whatever the compiler's tool chain raises, the graph still runs uncompiled
            reason = str(error).strip().splitlines()
            raise NoCompiler(f"{type(error).__name__}: {reason[0] if reason else ''}") from error


def _load(path: Path, inputs: Tensors) -> Callable[[], None]:
    from torch._inductor import aoti_load_package

    with _quiet():
        package: Any = aoti_load_package(str(path))
    run = package.loader.boxed_run  # without the argument handling of package(...), which costs more than a step
    fixed = list(inputs)

    def call() -> None:
        run(fixed[:])  # it empties the list that it is given

    return call


def _recorded(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[[], None]:
    """Record the kernels of ``graph`` on CUDA, so that a call costs one launch; the inputs keep their values."""
    before = [tensor.clone() for tensor in inputs]
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.no_grad():
        graph(*inputs)  # the first run allocates what a recording must not
    torch.cuda.current_stream().wait_stream(side)
    for tensor, value in zip(inputs, before, strict=True):
        tensor.copy_(value)
    recording = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(recording):
        graph(*inputs)
    return recording.replay


@contextmanager
def _quiet() -> Any:
    """Keep the compiler's warnings, which are about its own insides, from the person at the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
