"""Graphs of tensor operations as loops of machine code, which later processes load from disk.

PyTorch's compiler (Inductor) turns a graph into C++ functions over plain pointers, and a Python function that
allocates what lies between them and calls them. For steps of microseconds that Python would be most of the cost. A
graph that consists of such functions alone is put into a library here, with a C++ loop around them instead: a call
then runs the graph as often as one likes, and other Python threads go on meanwhile. It is Inductor's own code, so the
numbers are Inductor's. The hooks into it are of PyTorch 2.13, which pyproject.toml asks for.
"""

from collections.abc import Callable, Sequence
import ctypes
from dataclasses import dataclass, field
import hashlib
import itertools
from pathlib import Path
import platform
import re
import tempfile
from typing import Any
from unittest import mock
import warnings

from k3torch.files import cache_dir, cached_file
import torch
from torch.fx.experimental.proxy_tensor import make_fx

Tensors = Sequence[torch.Tensor]
Graph = torch.fx.GraphModule

_ALIGNMENT = 64  # bytes, a cache line
_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
_LARGE_PRODUCT = 2**20  # multiplications, from which a library's matrix product is worth calling
_RUN = "const char* run_{}(int64_t times, char** inputs, char* scratch)"  # part of the name of what is kept
# One thread: a step costs less than waking a second one. No trial of the processor's vector instructions and no
# precompiled header: each takes longer than our whole file.
_OPTIONS = {"cpp.threads": 1, "cpp.vec_isa_ok": True, "cpp_cache_precompile_headers": False}


class CompilerUnavailable(Exception):  # noqa: N818  (a reason, not an error)
    """There is no working C++ compiler; the message says what was tried."""


class UnsupportedGraph(Exception):  # noqa: N818  (a reason, not an error)
    """The graph calls operators that are no loops (large matrix products), or Inductor fails on it; says which."""


class Loop:
    """A graph as machine code. ``bind`` it to tensors of the shapes that it was made for."""

    def __init__(self, library: ctypes.CDLL, number: int):
        self._run = getattr(library, f"run_{number}")
        self._run.argtypes, self._run.restype = [ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_char_p
        self._scratch = ctypes.c_int64.in_dll(library, f"scratch_{number}").value

    def bind(self, inputs: Tensors) -> Callable[[int], None]:
        """Return ``f(times)``, which runs the graph on just these CPU tensors; they must stay where they are."""
        return _BoundLoop(self._run, list(inputs), torch.empty(self._scratch, dtype=torch.uint8))


class _BoundLoop:
    """A function that keeps alive what it points to."""

    def __init__(self, run: Any, inputs: list[torch.Tensor], scratch: torch.Tensor):
        self._run, self._kept = run, (inputs, scratch)
        self._pointers = (ctypes.c_void_p * len(inputs))(*(tensor.data_ptr() for tensor in inputs))
        self._scratch = scratch.data_ptr()

    def __call__(self, times: int) -> None:
        if error := self._run(times, self._pointers, self._scratch):
            raise IndexError(re.sub(r"^.*loops\.cpp:\d+, ", "", error.decode(errors="replace")))


def loops(graphs: Sequence[tuple[Graph, Tensors]], compile_missing: bool) -> list[Loop]:
    """Return the graphs as machine code from the cache folder, or make it (seconds) and put it there.

    The file's name is a hash of the graphs, of the shapes and types of their inputs, and of the versions and the
    processor that it is made for.

    Args:
        graphs: each with example inputs.
        compile_missing: whether to make what is not there; if not, an empty list is returned for it.

    Raises:
        CompilerUnavailable: if there is none, or if it fails.
        UnsupportedGraph: if a graph cannot be had as plain C++.
    """
    name = _name(graphs)
    if not (compile_missing or (cache_dir() / name).exists()):
        return []
    library = ctypes.CDLL(str(cached_file(name, lambda path: _build(_source(graphs), path))))
    return [Loop(library, number) for number in range(len(graphs))]


def _name(graphs: Sequence[tuple[Graph, Tensors]]) -> str:
    machine = (torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability())
    parts: list[Any] = [machine, sorted(_OPTIONS.items()), _RUN]
    for graph, inputs in graphs:
        parts.append(graph.code)
        parts.append([(name, value.tolist()) for name, value in graph.named_buffers()])
        parts.append([(tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype)) for tensor in inputs])
    return f"compiled/{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.so"


def _source(graphs: Sequence[tuple[Graph, Tensors]]) -> str:
    """Return one C++ file with a loop for each graph."""
    return "\n".join(_Recorder(number, inputs).source(graph) for number, (graph, inputs) in enumerate(graphs))


def _build(source: str, path: Path) -> None:
    from torch._inductor import config
    from torch._inductor.cpp_builder import CppBuilder, CppTorchDeviceOptions
    from torch._inductor.cpu_vec_isa import pick_vec_isa

    with tempfile.TemporaryDirectory() as folder, config.patch(_OPTIONS):
        file = Path(folder) / "loops.cpp"
        file.write_text(source)
        try:
            options = CppTorchDeviceOptions(vec_isa=pick_vec_isa(), device_type="cpu")
            builder = CppBuilder(name="loops", sources=str(file), BuildOption=options, output_dir=folder)
            builder.build()
        except Exception as error:  # the compiler's tool chain has errors of many kinds
            raise CompilerUnavailable(_in_short(error)) from error
        path.write_bytes(Path(builder.get_target_file_path()).read_bytes())


@dataclass
class _Recorder:
    """Lets Inductor compile a graph, but keeps its C++ functions as text, and notes how they would be called."""

    number: int
    inputs: Tensors
    kernels: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    scratch: list[torch.Tensor] = field(default_factory=list)

    def source(self, graph: Graph) -> str:
        """Return the graph as a C++ function ``run_N(times, inputs, scratch)``, and its size of scratch memory."""
        from torch._inductor.async_compile import AsyncCompile
        from torch._inductor.codecache import PyCodeCache

        # No function of an earlier call may come from a cache, and none of this one may go there.
        with (
            mock.patch.object(AsyncCompile, "cpp_pybinding", self.kernel),
            mock.patch.dict(PyCodeCache.modules_no_attr, clear=True),
        ):
            self._record(_lowered(graph, self.inputs))
        lines = "\n".join(f"    {call}" for call in self.calls)
        return "\n".join(
            [
                *self.kernels,
                f'extern "C" int64_t scratch_{self.number} = {sum(map(_room, self.scratch))};',
                # Returns what went wrong, an index out of bounds, since nobody outside could catch it; or null.
                f'extern "C" {_RUN.format(self.number)} try {{',
                f"  for (int64_t i = 0; i < times; ++i) {{\n{lines}\n  }}\n  return nullptr;",
                "} catch (const std::exception& error) {",
                "  static thread_local std::string said;\n  said = error.what();\n  return said.c_str();\n}\n",
            ]
        )

    def kernel(self, types: Sequence[str], source: str) -> Callable[..., None]:
        """Stand in for ``AsyncCompile.cpp_pybinding``, which would compile a function."""
        name = f"kernel_{self.number}_{len(self.kernels)}"
        self.kernels.append(re.sub(r"\bvoid\s+kernel\(", f"void {name}(", source, count=1))

        def call(*arguments: Any) -> None:
            pointers = [f"({kind})({self._place(value)})" for kind, value in zip(types, arguments, strict=True)]
            self.calls.append(f"{name}({', '.join(pointers)});")

        return call

    def _record(self, call: Any) -> None:
        """Call Inductor's Python function once, with stand-ins for all that computes."""
        names = call.__func__.__globals__
        allocate = names["empty_strided_cpu"]

        def empty(*arguments: Any) -> torch.Tensor:
            self.scratch.append(allocate(*arguments))
            return self.scratch[-1]

        operators = {name: _NoOperators(name) for name in ("extern_kernels", "aten", "inductor_ops", "torch")}
        with mock.patch.dict(names, {"empty_strided_cpu": empty, **operators}):
            call(list(self.inputs))

    def _place(self, value: Any) -> str:
        """Return where a tensor lies: so many bytes into an input, or into the scratch memory."""
        if not isinstance(value, torch.Tensor):
            raise UnsupportedGraph("sizes known only when it runs")
        for number, tensor in enumerate(self.inputs):
            if tensor.data_ptr() <= value.data_ptr() < tensor.data_ptr() + max(1, tensor.nbytes):
                return f"inputs[{number}] + {value.data_ptr() - tensor.data_ptr()}"
        start = 0
        for tensor in self.scratch:
            storage = tensor.untyped_storage()
            if storage.data_ptr() == value.untyped_storage().data_ptr():
                return f"scratch + {start + value.data_ptr() - storage.data_ptr()}"
            start += _room(tensor)
        raise UnsupportedGraph("constants of several numbers")


class _NoOperators:
    """Stands in for a module of operators: a graph that needs one is not native."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(torch, name, None) if self._name == "torch" else None
        if isinstance(value, torch.dtype):
            return value
        raise UnsupportedGraph(f"{self._name}.{name}")


def _room(tensor: torch.Tensor) -> int:
    return -(-tensor.untyped_storage().nbytes() // _ALIGNMENT) * _ALIGNMENT


def _lowered(graph: Graph, inputs: Tensors) -> Any:
    """Return Inductor's Python function for the graph, which calls its C++ functions."""
    from torch._inductor import config  # a second or two to import, and needed only to compile
    from torch._inductor.codegen.cpp import CppScheduling
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.decomposition import select_decomp_table
    from torch._inductor.exc import InductorError

    functional = torch.func.functionalize(_with_plain_constants(graph))
    draws = itertools.count()

    def bernoulli(x: torch.Tensor, p: float) -> Any:
        seed = clock[-1] + next(draws) * 2**32  # Inductor counts a tensor's elements beside the seed
        uniform = torch.ops.prims.inductor_random(list(x.shape), seed, "rand")
        return (uniform < p).to(x.dtype)

    def with_clock(*inputs: torch.Tensor) -> Any:
        clock.append(inputs[-1])
        return functional(*inputs)

    clock: list[torch.Tensor] = []
    simpler: dict[Any, Callable[..., Any]] = {
        **select_decomp_table(),
        **dict.fromkeys(_PRODUCTS, _small_product),
        torch.ops.aten.bernoulli.p: bernoulli,
    }
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about Inductor's insides
        plain = make_fx(with_clock, simpler, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
        if any(node.target in _PRODUCTS for node in plain.graph.nodes):
            raise UnsupportedGraph("large matrix products")
        plain.graph.output_node().args = ((),)  # results are written into the inputs
        plain.recompile()
        examples = [node.meta["val"] for node in plain.graph.find_nodes(op="placeholder")]
        context = torch._guards.TracingContext(examples[0].fake_mode)
        # Joining loops of unlike depth fails on some graphs (KeyError in torch 2.13), and gains nothing here.
        separate = mock.patch.object(CppScheduling, "can_fuse_vertical_outer_loop", return_value=False)
        with config.patch(_OPTIONS), torch._guards.tracing(context), separate:
            try:
                compiled: Any = compile_fx_inner(plain, examples)
            except InductorError as error:
                raise UnsupportedGraph(_in_short(error)) from error
            return compiled.current_callable


def _small_product(a: torch.Tensor, b: torch.Tensor) -> Any:
    """Multiply (n, k) by (k, m) matrices in loops that compile with what is around them; large ones as they are."""
    if a.numel() * b.shape[-1] > _LARGE_PRODUCT:
        return NotImplemented
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def _in_short(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


def _with_plain_constants(graph: Graph) -> Graph:
    """Return the graph with its constant tensors of one repeated number made on the spot, so that they fold away."""
    nodes = torch.fx.Graph()
    nodes.output(nodes.graph_copy(graph.graph, {}))
    copy = torch.fx.GraphModule(graph, nodes)  # which takes over the constants that the nodes name
    for node in copy.graph.find_nodes(op="get_attr"):
        value = getattr(graph, str(node.target))
        if isinstance(value, torch.Tensor) and value.numel() and bool((value == value.flatten()[0]).all()):
            with copy.graph.inserting_before(node):
                full = copy.graph.call_function(
                    torch.ops.aten.full.default, (list(value.shape), value.flatten()[0].item()), {"dtype": value.dtype}
                )
            node.replace_all_uses_with(full)
            copy.graph.erase_node(node)
    copy.recompile()
    return copy
