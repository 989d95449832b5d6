"""Captures need CUDA (test_cuda.py); without one, what surrounds them is tested."""

from contextlib import contextmanager
import gc
from types import SimpleNamespace

from k3torch.training import cuda_capture
from k3torch.training.cuda_capture import record
import pytest
import torch


@pytest.fixture
def device(monkeypatch):
    """Stands in for a CUDA device: notes what is asked of it, and may refuse to end a capture."""
    noted = SimpleNamespace(events=[], mode=1, stream="default", failures=0)

    @contextmanager
    def stream(name):
        before, noted.stream = noted.stream, name
        try:
            yield
        finally:
            noted.stream = before

    @contextmanager
    def graph(captured, pool, stream, capture_error_mode, **options):
        noted.events.append(capture_error_mode)
        yield
        if noted.failures:
            noted.failures -= 1
            noted.stream = "left over"  # as torch.cuda.graph leaves it
            raise RuntimeError("operation failed due to a previous error during capture")
        noted.events.append("end")

    side = SimpleNamespace(wait_stream=lambda other: noted.events.append("side waits"))
    current = SimpleNamespace(wait_stream=lambda other: noted.events.append("host's stream waits"))
    monkeypatch.setattr(cuda_capture, "_side_stream", lambda: side)
    monkeypatch.setattr(cuda_capture, "_failed", [])
    fakes = {
        "CUDAGraph": lambda: "graph", "current_stream": lambda: current, "stream": stream, "graph": graph,
        "get_sync_debug_mode": lambda: noted.mode, "set_sync_debug_mode": lambda mode: setattr(noted, "mode", mode),
    }  # fmt: skip
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    monkeypatch.setattr(torch, "zeros", lambda *_, device: noted.events.append(f"a kernel on {device}"))
    return noted


def test_what_is_recorded_runs_once_where_synchronisation_is_an_error(device):
    modes = []
    assert record(lambda: modes.append((device.mode, gc.isenabled()))) == "graph"
    assert modes == [("error", True), (1, False)]
    assert gc.isenabled()
    assert device.events == ["side waits", "host's stream waits", "thread_local", "end"]


def test_what_synchronises_is_not_captured(device):
    def run():
        raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
        record(run)
    assert device.events == ["side waits", "host's stream waits"]
    assert device.mode == 1


@pytest.mark.parametrize("failures", [1, 2])
def test_after_a_failed_capture_one_that_succeeds_resets_the_random_generators(device, failures):
    device.failures = failures
    with pytest.raises(RuntimeError, match="operation failed"):
        record(lambda: None)
    assert device.events[-1] == ("end" if failures == 1 else "a kernel on cuda")
    assert device.events.count("a kernel on cuda") == 1
    assert device.stream == "default"
    assert cuda_capture._failed == ["graph"] * failures
