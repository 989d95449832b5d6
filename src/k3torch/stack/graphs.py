"""Graphs of tensor operations, and running one again and again on the same tensors."""

from collections.abc import Callable, Sequence

import torch
from torch.fx.experimental.proxy_tensor import make_fx

Tensors = Sequence[torch.Tensor]


class UntraceableStep(Exception):  # noqa: N818  (a reason, not an error)
    """A function cannot be had as a graph; the message says why, in a few words."""


def trace(function: Callable[..., None], inputs: Tensors) -> torch.fx.GraphModule:
    """Return the tensor operations that ``function(*inputs)`` consists of; nothing is computed or changed.

    The function may write into its inputs; the graph then does so too.

    Raises:
        UntraceableStep: if it does something that is no tensor operation.
    """
    try:
        with torch.no_grad():
            graph = make_fx(function, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
    except Exception as error:  # any layer, loss or metric may refuse in a way of its own
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UntraceableStep(first_line[:120]) from error
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def repeated(graph: torch.fx.GraphModule, inputs: Tensors) -> Callable[[int], None]:
    """Return ``f(times)``, which runs ``graph`` on just these tensors, which must stay where they are.

    On CUDA it replays the recorded kernels; elsewhere it runs operator after operator.
    """
    fixed = list(inputs)
    once = _recorded(graph, fixed) if fixed[0].device.type == "cuda" else lambda: graph(*fixed)

    def run(times: int) -> None:
        for _ in range(times):
            once()

    return run


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
