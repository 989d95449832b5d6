"""Graphs of tensor operations: tracing a function, and running its graph repeatedly on the same tensors."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import logging
from typing import NamedTuple
import warnings

from k3torch.errors import first_line
from k3torch.stack.cuda_graphs import Compare, capture
from k3torch.stack.reasons import UntraceableStep
from k3torch.stack.torch_internals import make_graph
import torch

Tensors = Sequence[torch.Tensor]
Repeat = Callable[[int], None]


class TracedGraph(NamedTuple):
    """A graph, the tensors that it reads and writes, and what it computes, for messages."""

    graph: torch.fx.GraphModule
    inputs: list[torch.Tensor]
    name: str


def trace(function: Callable[..., None], inputs: Tensors) -> torch.fx.GraphModule:
    """Return the tensor operations of ``function(*inputs)`` as a graph; nothing is computed or changed.

    The function may write into its inputs; the graph then does so too.

    Raises:
        UntraceableStep: if the function does anything else than tensor operations.
    """
    try:
        with torch.no_grad(), _quiet_torch():
            graph = make_graph(function, inputs)
    except Exception as error:  # any layer, loss or metric may raise an error of its own
        raise UntraceableStep(first_line(error)[:120]) from error
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


@contextmanager
def _quiet_torch() -> Iterator[None]:
    """Keep torch silent during the block.

    Its log prints a traceback for each operator that cannot be traced, and vmap warns of those that it applies to one
    model after another, such as a step of the gradient of silu: nothing that the user could change.
    """
    handlers = logging.getLogger("torch").handlers
    for handler in handlers:
        handler.addFilter(_nothing)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")
            yield
    finally:
        for handler in handlers:
            handler.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def repeated(
    graph: torch.fx.GraphModule, inputs: Tensors, notice: Callable[[str], None] = print, compare: Compare | None = None
) -> Repeat:
    """Return ``f(times)``, which runs ``graph`` on exactly these tensors; they must not be reallocated.

    On CUDA it replays a CUDA graph, with ``compare`` of fused kernels that it compares, or says by ``notice`` why it
    cannot. Elsewhere it calls one operator after another.
    """
    fixed = list(inputs)
    on_cuda = fixed[0].device.type == "cuda"
    once = capture(graph, fixed, notice, compare) if on_cuda else lambda: graph(*fixed)

    def run(times: int) -> None:
        for _ in range(times):
            once()

    return run
