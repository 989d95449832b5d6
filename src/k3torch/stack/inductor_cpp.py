"""Writing a graph as a C++ loop, by torch's compiler; ``cpp_build`` makes a library of it.

PyTorch's compiler (Inductor) lowers a graph to C++ functions; ``cpp_recorder`` turns what it would do with them into
one C++ loop, which runs the graph for any number of batches and releases Python's lock while it runs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import itertools
import sys
from typing import Any
from unittest import mock
import warnings

from k3torch import runtime
from k3torch.errors import first_line
from k3torch.stack import cpp_build
from k3torch.stack.cpp_recorder import PREAMBLE, Recorder
from k3torch.stack.graph_rewrites import fused_product
from k3torch.stack.late_templates import templates_compiled_late
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.step_graphs import StepGraph
from k3torch.stack.torch_internals import (
    CACHE,
    COMPILE_GRAPH,
    CONFIG_PATCH,
    CPP_KERNEL,
    DECOMPOSITIONS,
    DYNAMIC,
    FAKE_MODE,
    INDUCTOR_ERROR,
    INDUCTOR_RANDOM,
    KERNEL_CACHE,
    MAKE_FX,
    OUTER_LOOP_FUSION,
    SHAPE_ENV,
    SYMBOLIC_CONTEXT,
    TRACING,
    TRACING_CONTEXT,
    VALID_ISA,
    private_part,
    private_use,
)
import torch

Tensors = Sequence[torch.Tensor]
Graph = torch.fx.GraphModule

# No patterns: they would join a matrix product with the sum after it, which is faster as part of the loop that follows.
# No passes over the graph, partitions and assertions either: they change nothing in these loops, and take a tenth of
# the time. What is made of more than two arrays, such as a layer's output after dropout, is computed once and kept: as
# a part of the loops of a product, which use each element many times, g++ would not vectorise it.
OPTIONS = {
    **cpp_build.OPTIONS,
    "fx_graph_cache": False,  # a graph from Inductor's cache lacks what was assumed about sizes
    "pattern_matcher": False,
    "use_post_grad_passes": False,
    "graph_partition": False,
    "size_asserts": False,
    "alignment_asserts": False,
    "realize_reads_threshold": 2,
}
_PRODUCTS = (torch.ops.aten.mm.default, torch.ops.aten.bmm.default)
_EXAMPLE_SIZE = 32  # samples in a batch, for the compiler's choices: see ``_assumed``


def cpp_sources(steps: Iterable[tuple[StepGraph, Tensors]]) -> Iterator[str]:
    """Yield for each step a C++ file with a function ``run_N`` and a function ``scratch_N`` (``cpp_recorder.RUN``).

    Args:
        steps: each with example tensors of its state, on the CPU.

    Raises:
        UnsupportedGraph: if a step needs more than loops over numbers and matrix products.
        CompilerUnavailable: if no C++ compiler works.
        CompilerChanged: if a private part of torch is missing or has changed.
    """
    with private_use():
        cpp_build.require_compiler()
        for number, step in enumerate(steps):
            imported = COMPILE_GRAPH.partition(":")[0] in sys.modules
            # The compiler imports its modules while it works for the first time.
            with contextlib.nullcontext() if imported else runtime.objects_that_stay():
                source = f"{PREAMBLE}\n{_loop(number, *step)}"
            yield source


def _loop(number: int, step: StepGraph, state: Tensors) -> str:
    """Return the C++ text of one step's loop."""
    batch = range(step.state, step.state + len(step.rows))
    recorder = Recorder(number, batch, [row.numel() * row.dtype.itemsize for row in step.rows])
    owner, _, kernel = CPP_KERNEL.rpartition(".")
    private_part(CPP_KERNEL)
    # No function of an earlier call may come from Inductor's cache, and none of this one may go there.
    with (
        mock.patch.object(private_part(owner), kernel, recorder.kernel),
        mock.patch.dict(private_part(KERNEL_CACHE), clear=True),
    ):
        call, examples, assumed = _lowered(step, state)
        with mock.patch.dict(call.__globals__, recorder.names()):
            call([recorder.input(i, example) for i, example in enumerate(examples)])
    source = recorder.source(assumed)
    return "\n".join([*source.kernels, source.function])


def _lowered(step: StepGraph, state: Tensors) -> tuple[Any, list[Any], list[Any]]:
    """Return Inductor's Python function for a step, which calls its C++ functions, example inputs, assumptions."""
    with templates_compiled_late():
        compile_graph, inductor_error = private_part(COMPILE_GRAPH), private_part(INDUCTOR_ERROR)
    tracing_context, tracing = private_part(TRACING_CONTEXT), private_part(TRACING)
    owner, _, fusion = OUTER_LOOP_FUSION.rpartition(".")
    private_part(OUTER_LOOP_FUSION)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they concern Inductor's internals
        examples, mode = _examples(step, state)
        with mode:  # new tensors whose sizes are symbols
            plain = _plain_graph(step.graph, examples)
        # Fusing loops of different depth fails on some graphs (KeyError in torch 2.13), and gains nothing here.
        no_fusion = mock.patch.object(private_part(owner), fusion, return_value=False)
        # It would compile and run tests of vector instructions, which are not used here.
        owner, _, instructions = VALID_ISA.rpartition(":")
        private_part(VALID_ISA)
        no_tests = mock.patch(f"{owner}.{instructions}", return_value=[])
        # For a key of its cache of measured GPU kernels, it would read all files of Triton.
        no_key = mock.patch.object(private_part(CACHE), "get_system", return_value={"hash": ""})
        with private_part(CONFIG_PATCH)(OPTIONS), tracing(tracing_context(mode)), no_fusion, no_tests, no_key:
            try:
                call = compile_graph(plain, examples).current_callable
            except inductor_error as error:
                reason = first_line(error, with_type=True)
                raise UnsupportedGraph(f"Inductor cannot compile the step ({reason})") from error
        return call, examples, _assumed(step, examples)


def _examples(step: StepGraph, state: Tensors) -> tuple[list[Any], Any]:
    """Return inputs without numbers, in which the size of a batch is a symbol if the step is for any size."""
    mode = private_part(FAKE_MODE)(shape_env=private_part(SHAPE_ENV)(), allow_non_fake_inputs=True)
    dynamic, context = private_part(DYNAMIC), private_part(SYMBOLIC_CONTEXT)
    size = _EXAMPLE_SIZE if step.any_size else 1

    def batch(row: torch.Tensor) -> Any:
        rows = row.new_zeros((size, *row.shape[1:]))
        if not step.any_size:
            return mode.from_tensor(rows, static_shapes=True)
        sizes = [dynamic.DUCK, *[dynamic.STATIC] * (row.ndim - 1)]  # DUCK: one symbol for all arrays
        return mode.from_tensor(rows, symbolic_context=context(dynamic_sizes=sizes))

    def fixed(tensor: torch.Tensor) -> Any:
        return mode.from_tensor(tensor.clone(), static_shapes=True)  # of a clone: without the caller's strides

    seed = torch.zeros((), dtype=torch.int64)
    return [*map(fixed, state), *map(batch, step.rows), *map(fixed, [*step.constants, torch.tensor(size), seed])], mode


def _assumed(step: StepGraph, examples: Sequence[Any]) -> list[Any]:
    """Return what the compiler has assumed about the size of a batch: relations of its symbol.

    Raises:
        UnsupportedGraph: if it has assumed one size.
    """
    if not step.any_size:
        return []
    environment = examples[step.state].fake_mode.shape_env
    if environment.replacements:
        raise UnsupportedGraph("the step depends on the number of samples in a batch")
    return [guard.expr for guard in environment.guards]


def _plain_graph(graph: Graph, examples: Sequence[Any]) -> Graph:
    """Return the graph in terms of operators that Inductor writes as loops, random numbers included."""
    draws = itertools.count()
    inductor_random = private_part(INDUCTOR_RANDOM)

    def uniform(x: torch.Tensor) -> Any:
        seed = step_seed[-1] + next(draws) * 2**32  # Inductor adds the index of each element to the seed
        return inductor_random(list(x.shape), seed, "rand")

    def bernoulli(x: torch.Tensor, p: float) -> Any:
        return (uniform(x) < p).to(x.dtype)

    def rand_like(x: torch.Tensor, **_: Any) -> Any:
        return uniform(x).to(x.dtype)

    def with_step_seed(*inputs: torch.Tensor) -> Any:
        step_seed.append(inputs[-1])
        return graph(*inputs)

    step_seed: list[torch.Tensor] = []
    decompositions: dict[Any, Callable[..., Any]] = {
        **private_part(DECOMPOSITIONS)(),
        **dict.fromkeys(_PRODUCTS, fused_product),
        torch.ops.aten.bernoulli.p: bernoulli,
        torch.ops.aten.rand_like.default: rand_like,
    }
    make_fx = private_part(MAKE_FX)
    plain: Graph = make_fx(with_step_seed, decompositions, tracing_mode="real", _allow_non_fake_inputs=True)(*examples)
    plain.graph.output_node().args = ((),)  # results are written into the inputs
    plain.recompile()
    return plain
