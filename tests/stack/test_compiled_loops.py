"""Compiled C++ loops give the graphs' numbers, are kept on disk, and are refused where they do not."""

import tempfile

from k3torch.stack import compiled_loops, inductor_cpp
from k3torch.stack.compiled_loops import compile_loops, library_name
from k3torch.stack.graphs import TracedGraph, trace
from k3torch.stack.reasons import CompilerChanged, CompilerUnavailable, UnsupportedGraph, WrongResult
import pytest
import torch
from torch._inductor import config


def decay(x, velocity, step_seed):
    """An update with a temporary in it, whose result depends on how often it ran."""
    updated = velocity * 0.5 + x.sum(1, keepdim=True)
    velocity.copy_(updated)
    x.sub_(updated.tanh() * 0.1)
    step_seed.add_(1)


def inputs():
    torch.manual_seed(0)
    return [torch.randn(3, 5), torch.zeros(3, 1), torch.zeros((), dtype=torch.int64)]


def traced(function, tensors):
    return [TracedGraph(trace(function, tensors), tensors, "a step")]


def test_a_loop_does_what_the_graph_does_as_often_as_asked(cache):
    mine, reference = inputs(), inputs()
    (loop,) = compile_loops(traced(decay, mine), compile_missing=True)
    run = loop.bind(mine)
    run(3)
    run(4)
    for _ in range(7):
        decay(*reference)
    for tensor, expected in zip(mine, reference, strict=True):
        torch.testing.assert_close(tensor, expected)
    assert mine[2] == 7


def test_compiling_and_checking_change_no_input_and_no_random_numbers(cache):
    def draw(x, step_seed):
        x.copy_(torch.bernoulli(x, 0.5))
        step_seed.add_(1)

    mine = [torch.ones(8), torch.zeros((), dtype=torch.int64)]
    state = torch.get_rng_state()
    compile_loops(traced(draw, mine), compile_missing=True)
    assert mine[0].tolist() == [1] * 8
    assert mine[1] == 0
    assert torch.equal(torch.get_rng_state(), state)


def test_one_loop_serves_other_tensors_and_views(cache):
    mine, stacked = inputs(), [torch.stack([tensor] * 2) for tensor in inputs()]
    (loop,) = compile_loops(traced(decay, mine), compile_missing=True)
    loop.bind([tensor[1] for tensor in stacked])(2)
    loop.bind(mine)(2)
    assert all(torch.equal(ours[1], tensor) for ours, tensor in zip(stacked, mine, strict=True))
    assert stacked[2].tolist() == [0, 2]


def test_a_compiled_library_is_loaded_and_not_compiled_again(cache, monkeypatch):
    graphs = traced(decay, inputs())
    assert compile_loops(graphs, compile_missing=False) is None
    compile_loops(graphs, compile_missing=True)
    monkeypatch.setattr(inductor_cpp, "cpp_source", lambda _: pytest.fail("it was compiled before"))
    assert len(compile_loops(graphs, compile_missing=False)) == 1


def test_another_constant_is_another_library():
    def scaled(factor):
        return traced(lambda x, step_seed: (x.mul_(factor), None)[1], inputs()[::2])

    assert library_name(scaled(2.0)) == library_name(scaled(2.0)) != library_name(scaled(3.0))


def test_random_numbers_are_fair_differ_from_step_to_step_and_follow_the_seed(cache):
    def draw(out, total, step_seed):
        out.copy_(torch.bernoulli(out, 0.3))
        total.add_(out)
        step_seed.add_(1)

    out, total, step_seed = torch.zeros(1000), torch.zeros(1000), torch.zeros((), dtype=torch.int64)
    (loop,) = compile_loops(traced(draw, [out, total, step_seed]), compile_missing=True)
    run = loop.bind([out, total, step_seed])
    run(1)
    first = out.clone()
    run(99)
    assert abs(total.mean() - 30) < 0.6  # its standard error is 0.14
    assert abs(total.var() - 21) < 5  # the binomial's 100 * 0.3 * 0.7: steps draw independently
    assert not torch.equal(first, out)
    step_seed.zero_()
    run(1)
    assert torch.equal(first, out)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x, c: x.copy_(x @ x), "more than loops over numbers .large matrix products"),
        (lambda x, c: x.copy_(torch.linalg.inv(x)), "more than loops over numbers .*ops"),
    ],
)
def test_what_is_more_than_loops_is_refused(cache, function, why):
    mine = [torch.eye(128), torch.zeros((), dtype=torch.int64)]
    with pytest.raises(UnsupportedGraph, match=why):
        compile_loops(traced(lambda x, c: (function(x, c), None)[1], mine), compile_missing=True)
    assert not list((cache / "compiled").glob("*.so"))


def test_without_a_compiler_it_says_so_whatever_ran_before(cache, monkeypatch):
    with config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        for function in (decay, lambda x, v, c: (x.copy_(torch.linalg.inv(x)), None)[1]):
            mine = [torch.eye(3), torch.zeros(3, 1), torch.zeros((), dtype=torch.int64)]
            with pytest.raises(CompilerUnavailable, match="no C\\+\\+ compiler works here"):
                compile_loops(traced(function, mine), compile_missing=True)
    assert not list((cache / "compiled").glob("*.so"))


def test_a_compiler_that_fails_on_everything_is_no_compiler(cache, tmp_path):
    script = tmp_path / "c++"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo broken >&2; exit 1; }\necho 1.0\n')
    script.chmod(0o755)
    with (
        config.patch({"cpp.cxx": (None, str(script))}),
        pytest.raises(CompilerUnavailable, match="no C\\+\\+ compiler works here"),
    ):
        compile_loops(traced(decay, inputs()), compile_missing=True)


def test_code_that_does_not_compile_is_not_blamed_on_the_compiler(cache, monkeypatch):
    monkeypatch.setattr(inductor_cpp, "cpp_source", lambda _: "no C++")
    with pytest.raises(CompilerChanged, match=r"PyTorch .* differs"):
        compile_loops(traced(decay, inputs()), compile_missing=True)


def test_a_wrong_number_is_found_when_it_is_compiled_and_when_it_is_loaded(cache, monkeypatch):
    graphs = traced(decay, inputs())
    right = inductor_cpp.cpp_source
    monkeypatch.setattr(inductor_cpp, "cpp_source", lambda pairs: right(pairs).replace("0.5", "0.501"))
    with pytest.raises(WrongResult, match="the graph of a step"):
        compile_loops(graphs, compile_missing=True)
    assert not list((cache / "compiled").glob("*.so"))  # the next process compiles it again

    monkeypatch.setattr(compiled_loops.compiled_check, "difference_from_graphs", lambda *_: None)
    compile_loops(graphs, compile_missing=True)
    monkeypatch.undo()
    monkeypatch.setenv("K3TORCH_CACHE", str(cache))
    with pytest.raises(WrongResult):
        compile_loops(graphs, compile_missing=False)
    assert not list((cache / "compiled").glob("*.so"))


def test_a_library_that_cannot_be_loaded_is_a_reason_and_no_crash(cache, monkeypatch):
    monkeypatch.setattr(inductor_cpp, "build_library", lambda source, path: path.write_bytes(b"no library"))
    with pytest.raises(CompilerChanged, match="OSError"):
        compile_loops(traced(decay, inputs()), compile_missing=True)


def test_an_index_out_of_bounds_is_raised_and_does_not_end_the_process(cache):
    def pick(out, table, indices):
        out.copy_(table[indices])

    mine = [torch.zeros(3), torch.arange(4.0), torch.tensor([0, 1, 2])]
    (loop,) = compile_loops(traced(pick, mine), compile_missing=True)
    loop.bind(mine)(1)
    assert mine[0].tolist() == [0, 1, 2]
    mine[2][1] = 9
    with pytest.raises(IndexError, match=r"^index out of bounds"):
        loop.bind(mine)(1)


def test_nothing_is_read_from_the_folder_that_all_users_share(cache, monkeypatch, tmp_path):
    """Another user could have made torch's default folder, and torch unpickles what it finds there."""
    shared = tmp_path / "shared"
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    shared.mkdir()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    graph = trace(lambda x, step_seed: x.add_(2), [torch.ones(3), torch.zeros((), dtype=torch.int64)])
    traced = TracedGraph(graph, [torch.ones(3), torch.zeros((), dtype=torch.int64)], "sum")
    (loop,) = compile_loops([traced], compile_missing=True)
    loop.bind(traced.inputs)(1)
    assert traced.inputs[0].tolist() == [3, 3, 3]
    assert not list(shared.glob("torchinductor*"))
    assert cache.stat().st_mode & 0o077 == 0
