"""Constants are computed once; the capture itself needs CUDA, and is followed without a GPU in test_cuda_shapes.py."""

import gc
import inspect
import re
from types import SimpleNamespace

from k3torch.stack import cuda_graphs, graphs
from k3torch.stack.compiled_check import disagreement
from k3torch.stack.cuda_graphs import capture, compute_constants
import pytest
import torch


def step(x, total):
    factor = torch.full((2,), 3.0, device=x.device)
    noise = torch.rand(2, device=x.device)
    own = torch.zeros(2, device=x.device)
    own.add_(x)
    x.mul_(factor.sqrt() + torch.arange(2, device=x.device))
    total.add_(own + 0 * noise)


def operators(graph):
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def test_what_does_not_depend_on_the_inputs_is_computed_once():
    inputs = [torch.tensor([1.0, 2.0]), torch.zeros(2)]
    plain = graphs.trace(step, inputs)
    expected = [tensor.clone() for tensor in inputs]
    for _ in range(2):
        plain(*expected)

    graph = graphs.trace(step, inputs)
    compute_constants(graph)

    left = operators(graph)
    assert "aten.full.default" not in left
    assert "aten.sqrt.default" not in left
    assert "aten.arange.default" not in left
    assert "aten.rand.default" in left  # drawn anew in each run
    assert "aten.zeros.default" in left  # written into
    found = [tensor.clone() for tensor in inputs]
    for _ in range(2):
        graph(*found)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("compiled", [True, False])
def test_each_run_before_the_first_replay_begins_with_the_values_that_the_inputs_keep(monkeypatch, compiled):
    """A second run of a step would be the step of the batch after the last, if there is one batch."""
    starts = []

    def run():
        starts.append(inputs[0].tolist())
        inputs[0].add_(1)

    def compile_and_run(*_):
        run()
        return run

    def record(run):
        run()
        return SimpleNamespace(replay=run)

    inputs = [torch.tensor([1.0, 2.0]), torch.zeros(2)]
    graph = graphs.trace(step, inputs)
    monkeypatch.setattr(cuda_graphs, "_compiled", compile_and_run)
    monkeypatch.setattr(cuda_graphs, "_without_gradients", lambda *_: run())
    monkeypatch.setattr(cuda_graphs, "record", record)
    replay = capture(graph, inputs, pytest.fail, disagreement if compiled else None)
    assert inputs[0].tolist() == [1, 2]
    replay()
    assert starts == [[1, 2]] * (3 if compiled else 2)


@pytest.mark.parametrize(
    ("factor", "reason"),
    [(1.0, None), (1.001, r"disagree with torch operators: input 0 of shape \(2,\), by"), (None, "ValueError: no")],
)
def test_fused_kernels_that_compute_something_else_are_not_used(monkeypatch, factor, reason):
    def compiled(graph, dynamic):
        def run(*inputs):
            if factor is None:
                raise ValueError("no\nand more")
            graph(*inputs)
            inputs[0].mul_(factor)

        return run

    monkeypatch.setattr(torch, "compile", compiled)
    monkeypatch.setattr(cuda_graphs, "warm_up", lambda run: run())
    inputs, notices = [torch.tensor([1.0, 2.0]), torch.zeros(2)], []
    run = cuda_graphs._compiled(graphs.trace(step, inputs), inputs, notices.append, disagreement)
    assert (run is None) == (reason is not None)
    assert len(notices) == (reason is not None)
    assert all(re.match(f"training uncompiled, which is slower: .*{reason}", said) for said in notices)


@pytest.mark.cuda
@pytest.mark.skipif(
    "check_input_liveness" not in inspect.signature(torch.cuda.graph.__init__).parameters,
    reason="needs a newer PyTorch",
)
def test_a_captured_graph_keeps_its_inputs_values_and_all_that_its_kernels_read():
    inputs = [torch.tensor([1.0, 2.0], device="cuda"), torch.zeros(2, device="cuda")]
    notices = []
    run = capture(graphs.trace(step, inputs), inputs, notices.append, check_liveness=True)
    assert notices == []
    assert inputs[0].tolist() == [1, 2]
    gc.collect()
    torch.cuda.empty_cache()
    for _ in range(2):
        run()  # raises if memory is freed that the kernels read
    torch.testing.assert_close(inputs[0].cpu(), torch.tensor([3.0, 2 * (3**0.5 + 1) ** 2]))
    torch.testing.assert_close(inputs[1].cpu(), torch.tensor([1 + 3**0.5, 2 + 2 * (3**0.5 + 1)]))


@pytest.mark.cuda
def test_a_graph_that_cannot_be_captured_runs_uncaptured_and_says_so():
    def reads(x):
        x.add_(x.cpu().to(x.device))

    x = torch.ones(1, device="cuda")
    notices = []
    run = capture(graphs.trace(reads, [x]), [x], notices.append)
    run()
    assert x.item() == 2
    assert len(notices) == 1
    assert "no CUDA graph" in notices[0]
