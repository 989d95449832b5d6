"""Recording what runs on a CUDA device as a CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import functools
import gc
from typing import Any

import torch

Run = Callable[[], object]


@functools.cache
def _side_stream() -> Any:
    """Return the stream of all warm-ups and captures: libraries keep a workspace for each stream that they see."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def warm_up(run: Run) -> None:
    """Call ``run`` on the stream of ``record``: libraries allocate workspaces, which a capture does not allow."""
    side = _side_stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)


def record(run: Run, pool: Any = None, **options: Any) -> Any:
    """Return the kernels that ``run`` launches as a CUDA graph; nothing is computed.

    Args:
        run: was called by ``warm_up`` before.
        pool: of the memory, ``torch.cuda.graph_pool_handle()``; by default the graph has a pool of its own.
        options: of ``torch.cuda.graph``.

    Raises:
        RuntimeError: if ``run`` does anything that a graph cannot hold, such as reading a number from the device.
    """
    graph = torch.cuda.CUDAGraph()
    with _no_garbage_collection(), torch.cuda.graph(graph, pool=pool, stream=_side_stream(), **options):
        run()
    return graph


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Keep the garbage collector from destroying another graph, which would spoil the one that is being recorded."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
