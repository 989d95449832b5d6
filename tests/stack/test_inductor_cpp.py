"""Graphs as loops of machine code: the same numbers, kept on disk, refused where there is more to them than loops."""

from k3torch.stack import inductor_cpp
from k3torch.stack.graphs import trace
import pytest
import torch
from torch._inductor import config


def decay(x, velocity, clock):
    """An update with a temporary in it, whose result depends on how often it ran."""
    fresh = velocity * 0.5 + x.sum(1, keepdim=True)
    velocity.copy_(fresh)
    x.sub_(fresh.tanh() * 0.1)
    clock.add_(1)


def inputs():
    torch.manual_seed(0)
    return [torch.randn(3, 5), torch.zeros(3, 1), torch.zeros((), dtype=torch.int64)]


def test_a_loop_does_what_the_graph_does_as_often_as_asked(cache):
    mine, reference = inputs(), inputs()
    graph = trace(decay, mine)
    (loop,) = inductor_cpp.loops([(graph, mine)], compile_missing=True)
    run = loop.bind(mine)
    run(3)
    run(4)
    for _ in range(7):
        decay(*reference)
    for tensor, expected in zip(mine, reference, strict=True):
        torch.testing.assert_close(tensor, expected)
    assert mine[2] == 7


def test_one_code_serves_other_tensors_and_views(cache):
    mine, stacked = inputs(), [torch.stack([tensor] * 2) for tensor in inputs()]
    (loop,) = inductor_cpp.loops([(trace(decay, mine), mine)], compile_missing=True)
    loop.bind([tensor[1] for tensor in stacked])(2)
    loop.bind(mine)(2)
    assert all(torch.equal(ours[1], tensor) for ours, tensor in zip(stacked, mine, strict=True))
    assert stacked[2].tolist() == [0, 2]


def test_made_code_is_loaded_and_not_made_again(cache, monkeypatch):
    mine = inputs()
    graph = trace(decay, mine)
    assert inductor_cpp.loops([(graph, mine)], compile_missing=False) == []
    inductor_cpp.loops([(graph, mine)], compile_missing=True)
    monkeypatch.setattr(inductor_cpp, "_source", lambda _: pytest.fail("it was made before"))
    assert len(inductor_cpp.loops([(graph, mine)], compile_missing=False)) == 1


def test_random_numbers_are_fair_differ_from_step_to_step_and_follow_the_seed(cache):
    def draw(out, total, clock):
        out.copy_(torch.bernoulli(out, 0.3))
        total.add_(out)
        clock.add_(1)

    out, total, clock = torch.zeros(1000), torch.zeros(1000), torch.zeros((), dtype=torch.int64)
    (loop,) = inductor_cpp.loops([(trace(draw, [out, total, clock]), [out, total, clock])], compile_missing=True)
    run = loop.bind([out, total, clock])
    run(1)
    first = out.clone()
    run(99)
    assert abs(total.mean() - 30) < 0.6  # its standard error is 0.14
    assert abs(total.var() - 21) < 5  # the binomial's 100 * 0.3 * 0.7: steps draw independently
    assert not torch.equal(first, out)
    clock.zero_()
    run(1)
    assert torch.equal(first, out)


@pytest.mark.parametrize(
    ("function", "why"),
    [(lambda x, c: x.copy_(x @ x), "large matrix"), (lambda x, c: x.copy_(torch.linalg.inv(x)), "ops")],
)
def test_what_is_more_than_loops_is_refused(cache, function, why):
    mine = [torch.eye(128), torch.zeros((), dtype=torch.int64)]
    with pytest.raises(inductor_cpp.UnsupportedGraph, match=why):
        inductor_cpp.loops([(trace(lambda x, c: (function(x, c), None)[1], mine), mine)], compile_missing=True)
    assert not list((cache / "compiled").glob("*.so"))


def test_without_a_compiler_it_says_so(cache):
    mine = inputs()
    with config.patch({"cpp.cxx": (None, "no-such-compiler")}), pytest.raises(inductor_cpp.CompilerUnavailable):
        inductor_cpp.loops([(trace(decay, mine), mine)], compile_missing=True)
    assert not list((cache / "compiled").glob("*.so"))


def test_where_inductor_fails_the_reason_is_said(cache, monkeypatch):
    from torch._inductor import compile_fx
    from torch._inductor.exc import InductorError

    def fail(*_):
        raise InductorError(KeyError("buf46"), None)

    mine = inputs()
    monkeypatch.setattr(compile_fx, "compile_fx_inner", fail)
    with pytest.raises(inductor_cpp.UnsupportedGraph, match="buf46"):
        inductor_cpp.loops([(trace(decay, mine), mine)], compile_missing=True)
    assert not list(cache.rglob("*.so"))


def test_an_index_out_of_bounds_is_raised_and_does_not_end_the_process(cache):
    def pick(out, table, rows):
        out.copy_(table[rows])

    mine = [torch.zeros(3), torch.arange(4.0), torch.tensor([0, 1, 2])]
    (loop,) = inductor_cpp.loops([(trace(pick, mine), mine)], compile_missing=True)
    loop.bind(mine)(1)
    assert mine[0].tolist() == [0, 1, 2]
    mine[2][1] = 9
    with pytest.raises(IndexError, match=r"^index out of bounds"):
        loop.bind(mine)(1)
