"""Access to torch's compiler: tracing a function, and writing a graph as a compiled C++ loop.

PyTorch's compiler (Inductor) turns a graph into C++ functions over plain pointers and a Python function that allocates
the buffers between them and calls them. For steps of microseconds, that Python function would take most of the time.
``cpp_source`` therefore keeps the C++ functions and replaces the Python function by a C++ loop, which runs the graph
any number of times and releases Python's lock while it runs.

No other file uses private parts of torch's compiler. They are those of PyTorch 2.13, listed in ``PRIVATE_PARTS``. Where
one is missing or has changed, ``NotCompiled`` is raised and training goes on uncompiled.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
import itertools
from pathlib import Path
import pkgutil
import re
import tempfile
from typing import Any
from unittest import mock
import warnings

from k3torch.errors import first_line
from k3torch.files import private_compiler_cache
from k3torch.stack.graph_rewrites import small_product, with_plain_constants
from k3torch.stack.reasons import CompilerChanged, CompilerUnavailable, NotCompiled, UnsupportedGraph
import torch

Tensors = Sequence[torch.Tensor]
Graph = torch.fx.GraphModule

# Each as "module:attribute", imported on first use: Inductor takes a second or two to import.
PRIVATE_PARTS = (
    MAKE_FX := "torch.fx.experimental.proxy_tensor:make_fx",
    TRACING_CONTEXT := "torch._guards:TracingContext",
    TRACING := "torch._guards:tracing",
    CONFIG_PATCH := "torch._inductor.config:patch",
    CPP_COMPILER := "torch._inductor.cpp_builder:get_cpp_compiler",
    CPP_BUILDER := "torch._inductor.cpp_builder:CppBuilder",
    CPP_OPTIONS := "torch._inductor.cpp_builder:CppTorchDeviceOptions",
    VECTOR_ISA := "torch._inductor.cpu_vec_isa:pick_vec_isa",
    COMPILE_GRAPH := "torch._inductor.compile_fx:compile_fx_inner",
    DECOMPOSITIONS := "torch._inductor.decomposition:select_decomp_table",
    INDUCTOR_ERROR := "torch._inductor.exc:InductorError",
    CPP_KERNEL := "torch._inductor.async_compile:AsyncCompile.cpp_pybinding",
    KERNEL_CACHE := "torch._inductor.codecache:PyCodeCache.modules_no_attr",
    OUTER_LOOP_FUSION := "torch._inductor.codegen.cpp:CppScheduling.can_fuse_vertical_outer_loop",
    INDUCTOR_RANDOM := "torch:ops.prims.inductor_random",
)

# One thread: a step costs less than waking a second one. No test compilation of the processor's vector instructions
# and no precompiled header: each takes longer than compiling the whole file.
OPTIONS = {"cpp.threads": 1, "cpp.vec_isa_ok": True, "cpp_cache_precompile_headers": False}
RUN = "const char* run_{}(int64_t times, char** inputs, char* scratch)"  # the signature of the compiled C++ loops
_ALIGNMENT = 64  # bytes, a cache line
_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)


def private_part(path: str) -> Any:
    """Return the object at ``path``, one of ``PRIVATE_PARTS``.

    Raises:
        CompilerChanged: if this version of torch does not have it.
    """
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        raise CompilerChanged(f"PyTorch {torch.__version__} has no {path.replace(':', '.')}") from error


def make_graph(function: Callable[..., Any], inputs: Tensors, decompositions: Any = None) -> Graph:
    """Return the tensor operations of ``function(*inputs)`` as a graph; nothing is computed."""
    make_fx = private_part(MAKE_FX)
    graph: Graph = make_fx(function, decompositions, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    return graph


@contextmanager
def private_use() -> Iterator[None]:
    """Turn any error of the block into ``NotCompiled``: private code that has changed may fail in any way."""
    try:
        private_compiler_cache()
        yield
    except NotCompiled:
        raise
    except Exception as error:
        raise CompilerChanged(
            f"PyTorch {torch.__version__} differs from the version that compiled C++ loops are written for "
            f"({first_line(error, with_type=True)})"
        ) from error


def cpp_source(graphs: Sequence[tuple[Graph, Tensors]]) -> str:
    """Return one C++ file with a function ``run_N(times, inputs, scratch)`` for the N-th graph.

    Args:
        graphs: each with example inputs, on the CPU; the graph writes its results into its inputs. The last input is
            the seed of a step's random numbers; the graph adds one to it in each step.

    Raises:
        UnsupportedGraph: if a graph needs more than loops over numbers.
        CompilerUnavailable: if no C++ compiler works.
        CompilerChanged: if a private part of torch is missing or has changed.
    """
    with private_use():
        _require_compiler()
        # Copies, so that recording cannot change the caller's tensors, whatever Inductor has become.
        copies = [(graph, [tensor.clone() for tensor in inputs]) for graph, inputs in graphs]
        return "\n".join(_Recorder(number, inputs).source(graph) for number, (graph, inputs) in enumerate(copies))


def build_library(source: str, path: Path) -> None:
    """Compile a C++ file and write the shared library to ``path``.

    Raises:
        CompilerUnavailable: if the compiler fails on an empty file too.
        CompilerChanged: if the compiler fails on this source alone.
    """
    with private_use():
        try:
            library = _compile(source)
        except Exception:  # tool chains fail in many ways: a try on an empty file tells the two cases apart
            try:
                _compile('extern "C" int empty() { return 0; }\n')
            except CompilerChanged:
                raise
            except Exception as error:
                raise _unavailable(error) from error
            raise
        path.write_bytes(library)


def _compile(source: str) -> bytes:
    patch, vector_isa = private_part(CONFIG_PATCH), private_part(VECTOR_ISA)
    options_class, builder_class = private_part(CPP_OPTIONS), private_part(CPP_BUILDER)
    with tempfile.TemporaryDirectory() as folder, patch(OPTIONS):
        file = Path(folder) / "loops.cpp"
        file.write_text(source)
        options = options_class(vec_isa=vector_isa(), device_type="cpu")
        builder = builder_class(name="loops", sources=str(file), BuildOption=options, output_dir=folder)
        builder.build()
        return Path(builder.get_target_file_path()).read_bytes()


def _require_compiler() -> None:
    """Raise ``CompilerUnavailable`` without a C++ compiler, which Inductor itself reports differently at each use."""
    find = private_part(CPP_COMPILER)
    try:
        find()
    except RuntimeError as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> CompilerUnavailable:
    reason = first_line(error, with_type=True)
    return CompilerUnavailable(f"no C++ compiler works here, a step is up to 100 times slower ({reason})")


@dataclass
class _Recorder:
    """Lets Inductor compile a graph, keeps the C++ functions as text, and notes how they would be called."""

    number: int
    inputs: Tensors
    kernels: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    scratch: list[torch.Tensor] = field(default_factory=list)

    def source(self, graph: Graph) -> str:
        """Return the graph as a C++ function ``run_N``, and the size of its scratch memory."""
        owner, _, kernel = CPP_KERNEL.rpartition(".")
        private_part(CPP_KERNEL)
        # No function of an earlier call may come from Inductor's cache, and none of this one may go there.
        with (
            mock.patch.object(private_part(owner), kernel, self.kernel),
            mock.patch.dict(private_part(KERNEL_CACHE), clear=True),
        ):
            self._record(_lowered(graph, self.inputs))
        lines = "\n".join(f"    {call}" for call in self.calls)
        return "\n".join(
            [
                *self.kernels,
                f'extern "C" int64_t scratch_{self.number} = {sum(map(_padded_bytes, self.scratch))};',
                # Returns the message of an exception (an index out of bounds), which could not cross into Python.
                f'extern "C" {RUN.format(self.number)} try {{',
                f"  for (int64_t i = 0; i < times; ++i) {{\n{lines}\n  }}\n  return nullptr;",
                "} catch (const std::exception& error) {",
                "  static thread_local std::string said;\n  said = error.what();\n  return said.c_str();\n}\n",
            ]
        )

    def kernel(self, types: Sequence[str], source: str) -> Callable[..., None]:
        """Replace ``AsyncCompile.cpp_pybinding``, which would compile a function."""
        name = f"kernel_{self.number}_{len(self.kernels)}"
        self.kernels.append(re.sub(r"\bvoid\s+kernel\(", f"void {name}(", source, count=1))

        def call(*arguments: Any) -> None:
            pointers = [f"({kind})({self._address(value)})" for kind, value in zip(types, arguments, strict=True)]
            self.calls.append(f"{name}({', '.join(pointers)});")

        return call

    def _record(self, call: Any) -> None:
        """Call Inductor's Python function once, with its C++ functions and operators replaced."""
        names = call.__func__.__globals__
        allocate = names["empty_strided_cpu"]

        def empty(*arguments: Any) -> torch.Tensor:
            self.scratch.append(allocate(*arguments))
            return self.scratch[-1]

        operators = {name: _NoOperators(name) for name in ("extern_kernels", "aten", "inductor_ops", "torch")}
        with mock.patch.dict(names, {"empty_strided_cpu": empty, **operators}):
            call(list(self.inputs))

    def _address(self, value: Any) -> str:
        """Return the C++ expression for a tensor's address: an offset into an input or into the scratch memory."""
        if not isinstance(value, torch.Tensor):
            raise UnsupportedGraph(_more_than_loops("sizes known only when it runs"))
        for number, tensor in enumerate(self.inputs):
            if tensor.data_ptr() <= value.data_ptr() < tensor.data_ptr() + max(1, tensor.nbytes):
                return f"inputs[{number}] + {value.data_ptr() - tensor.data_ptr()}"
        start = 0
        for tensor in self.scratch:
            storage = tensor.untyped_storage()
            if storage.data_ptr() == value.untyped_storage().data_ptr():
                return f"scratch + {start + value.data_ptr() - storage.data_ptr()}"
            start += _padded_bytes(tensor)
        raise UnsupportedGraph(_more_than_loops("constants of several numbers"))


class _NoOperators:
    """Replaces a module of operators; a graph that calls one cannot become a C++ loop."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(torch, name, None) if self._name == "torch" else None
        if isinstance(value, torch.dtype):
            return value
        raise UnsupportedGraph(_more_than_loops(f"{self._name}.{name}"))


def _more_than_loops(reason: str) -> str:
    return f"the step needs more than loops over numbers ({reason})"


def _padded_bytes(tensor: torch.Tensor) -> int:
    return -(-tensor.untyped_storage().nbytes() // _ALIGNMENT) * _ALIGNMENT


def _lowered(graph: Graph, inputs: Tensors) -> Any:
    """Return Inductor's Python function for the graph, which calls its C++ functions."""
    compile_graph, inductor_error = private_part(COMPILE_GRAPH), private_part(INDUCTOR_ERROR)
    tracing_context, tracing = private_part(TRACING_CONTEXT), private_part(TRACING)
    owner, _, fusion = OUTER_LOOP_FUSION.rpartition(".")
    private_part(OUTER_LOOP_FUSION)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern Inductor's internals
        plain = _plain_graph(graph, inputs)
        examples = [node.meta["val"] for node in plain.graph.find_nodes(op="placeholder")]
        context = tracing_context(examples[0].fake_mode)
        # Fusing loops of different depth fails on some graphs (KeyError in torch 2.13), and gains nothing here.
        no_fusion = mock.patch.object(private_part(owner), fusion, return_value=False)
        with private_part(CONFIG_PATCH)(OPTIONS), tracing(context), no_fusion:
            try:
                return compile_graph(plain, examples).current_callable
            except inductor_error as error:
                reason = first_line(error, with_type=True)
                raise UnsupportedGraph(f"Inductor cannot compile the step ({reason})") from error


def _plain_graph(graph: Graph, inputs: Tensors) -> Graph:
    """Return the graph in terms of operators that Inductor writes as loops, random numbers included."""
    functional = torch.func.functionalize(with_plain_constants(graph))
    draws = itertools.count()
    inductor_random = private_part(INDUCTOR_RANDOM)

    def bernoulli(x: torch.Tensor, p: float) -> Any:
        seed = step_seed[-1] + next(draws) * 2**32  # Inductor adds the index of each element to the seed
        return (inductor_random(list(x.shape), seed, "rand") < p).to(x.dtype)

    def with_step_seed(*inputs: torch.Tensor) -> Any:
        step_seed.append(inputs[-1])
        return functional(*inputs)

    step_seed: list[torch.Tensor] = []
    decompositions: dict[Any, Callable[..., Any]] = {
        **private_part(DECOMPOSITIONS)(),
        **dict.fromkeys(_PRODUCTS, small_product),
        torch.ops.aten.bernoulli.p: bernoulli,
    }
    plain = make_graph(with_step_seed, inputs, decompositions)
    if any(node.target in _PRODUCTS for node in plain.graph.nodes):
        raise UnsupportedGraph(_more_than_loops("large matrix products"))
    plain.graph.output_node().args = ((),)  # results are written into the inputs
    plain.recompile()
    return plain
