"""Recording what runs on a CUDA device as a CUDA graph."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
import functools
from typing import Any
import warnings

from k3torch import runtime
import torch

Run = Callable[[], object]
_failed: list[Any] = []  # graphs whose capture failed: the allocator goes on asking them which memory is theirs


@functools.cache
def _side_stream() -> Any:
    """Return the stream of all warm-ups and captures: libraries keep a workspace for each stream that they see."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]


def warm_up(run: Run) -> None:
    """Call ``run`` on the stream of ``record``: libraries allocate workspaces, which a capture does not allow."""
    side = _side_stream()
    side.wait_stream(torch.cuda.current_stream())
    try:
        with torch.cuda.stream(side):
            run()
    finally:
        torch.cuda.current_stream().wait_stream(side)


def record(run: Run, pool: Any = None, **options: Any) -> Any:
    """Return the kernels that ``run`` launches as a CUDA graph.

    ``run`` is called twice. The first call computes, with an error where it would synchronise with the device, which a
    graph cannot hold. The second call is recorded, and computes nothing.

    Args:
        run: launches the same kernels each time.
        pool: of the memory, ``torch.cuda.graph_pool_handle()``; by default the graph has a pool of its own.
        options: of ``torch.cuda.graph``.

    Raises:
        RuntimeError: if ``run`` does anything that a graph cannot hold, such as reading a number from the device.
    """
    with _synchronisation_is_an_error():
        warm_up(run)
    try:
        return _recorded(run, pool, **options)
    except RuntimeError:
        # The random generators of torch still count the draws of the failed capture, and refuse to draw outside of
        # one. A capture that succeeds ends that.
        with suppress(RuntimeError):
            _recorded(lambda: torch.zeros(1, device="cuda"), None)
        raise


def _recorded(run: Run, pool: Any, **options: Any) -> Any:
    graph, side = torch.cuda.CUDAGraph(), _side_stream()
    # The destruction of another graph would end this capture with an error. torch.cuda.graph sets the stream too, but
    # leaves it set if the capture fails. Threads that load batches may go on copying them to pinned memory: only this
    # thread must not do what a graph cannot hold.
    options |= {"pool": pool, "stream": side, "capture_error_mode": "thread_local"}
    try:
        with runtime.garbage_collection_paused(), torch.cuda.stream(side), torch.cuda.graph(graph, **options):
            run()
    except BaseException:
        _failed.append(graph)
        raise
    return graph


@contextmanager
def _synchronisation_is_an_error() -> Iterator[None]:
    """Raise an error where the host would synchronise with the device.

    A capture that fails for this reason would leave torch's allocator and random generators as if it went on.
    """
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
