"""The private parts of torch's compiler that this project uses, and tracing a function with them.

No other file names private parts of torch. They are those of PyTorch 2.13. Where one is missing or has changed,
``NotCompiled`` is raised and training goes on uncompiled.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import pkgutil
from typing import Any

from k3torch.errors import first_line
from k3torch.files import private_compiler_cache, reason_of
from k3torch.stack.reasons import CompilerChanged, CompilerUnavailable, NotCompiled
import torch

Tensors = Sequence[torch.Tensor]
Graph = torch.fx.GraphModule

# Each as "module:attribute", imported on first use: Inductor takes a second or two to import.
PRIVATE_PARTS = (
    MAKE_FX := "torch.fx.experimental.proxy_tensor:make_fx",
    FAKE_MODE := "torch._subclasses.fake_tensor:FakeTensorMode",
    SHAPE_ENV := "torch.fx.experimental.symbolic_shapes:ShapeEnv",
    SYMBOLIC_CONTEXT := "torch.fx.experimental.symbolic_shapes:StatelessSymbolicContext",
    DYNAMIC := "torch.fx.experimental.symbolic_shapes:DimDynamic",
    TRACING_CONTEXT := "torch._guards:TracingContext",
    TRACING := "torch._guards:tracing",
    CONFIG_PATCH := "torch._inductor.config:patch",
    CPP_COMPILER := "torch._inductor.cpp_builder:get_cpp_compiler",
    CPP_BUILDER := "torch._inductor.cpp_builder:CppBuilder",
    CPP_OPTIONS := "torch._inductor.cpp_builder:CppTorchDeviceOptions",
    INVALID_ISA := "torch._inductor.cpu_vec_isa:invalid_vec_isa",
    VALID_ISA := "torch._inductor.cpu_vec_isa:valid_vec_isa_list",
    COMPILE_GRAPH := "torch._inductor.compile_fx:compile_fx_inner",
    DECOMPOSE := "torch._decomp:get_decompositions",
    DECOMPOSITIONS := "torch._inductor.decomposition:select_decomp_table",
    INDUCTOR_ERROR := "torch._inductor.exc:InductorError",
    CPP_KERNEL := "torch._inductor.async_compile:AsyncCompile.cpp_pybinding",
    KERNEL_TEMPLATE := "torch._inductor.codegen.common:KernelTemplate",
    CACHE := "torch._inductor.codecache:CacheBase",
    KERNEL_CACHE := "torch._inductor.codecache:PyCodeCache.modules_no_attr",
    OUTER_LOOP_FUSION := "torch._inductor.codegen.cpp:CppScheduling.can_fuse_vertical_outer_loop",
    INDUCTOR_RANDOM := "torch:ops.prims.inductor_random",
)


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
        if isinstance(error, OSError) and error.errno:  # the disk is full, say; a library that is none has no number
            raise CompilerUnavailable(f"the C++ compiler's files cannot be used ({reason_of(error)})") from error
        raise CompilerChanged(
            f"PyTorch {torch.__version__} differs from the version that compiled C++ loops are written for "
            f"({first_line(error, with_type=True)})"
        ) from error
