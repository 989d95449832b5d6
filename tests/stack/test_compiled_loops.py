"""Compiled C++ loops give the graphs' numbers, are kept on disk, and are refused where they do not."""

import tempfile

from k3torch.stack import compiled_loops, inductor_cpp
from k3torch.stack.batch_loop import Samples
from k3torch.stack.compiled_loops import compile_loops, is_cached, library_name
from k3torch.stack.model_stack import ModelStack
from k3torch.stack.reasons import CompilerChanged, CompilerUnavailable, UnsupportedGraph, WrongResult
import keras
import numpy as np
import pytest
from tests.stack import small_steps
import torch
from torch._inductor import config


def decay(x, velocity):
    """An update with a temporary in it, whose result depends on how often it ran."""
    updated = velocity * 0.5 + x.sum(1, keepdim=True)
    velocity.copy_(updated)
    x.sub_(updated.tanh() * 0.1)


def inputs():
    torch.manual_seed(0)
    return [torch.randn(3, 5), torch.zeros(3, 1)]


def examples(function, state):
    return [small_steps.without_batch(function, state)]


def compiled(function, state):
    """Return the loop of a step without samples: a function that runs it so many times, and the seed."""
    (loop,) = compile_loops(examples(function, state))
    bound = loop.bind(state, [], seed := small_steps.seed())
    return lambda times: bound(1, times), seed


def test_a_loop_does_what_the_graph_does_as_often_as_asked(cache):
    mine, reference = inputs(), inputs()
    run, seed = compiled(decay, mine)
    run(3)
    run(4)
    for _ in range(7):
        decay(*reference)
    for tensor, expected in zip(mine, reference, strict=True):
        torch.testing.assert_close(tensor, expected)
    assert seed == 7


def test_compiling_and_checking_change_no_input_and_no_random_numbers(cache):
    mine = [torch.ones(8)]
    state = torch.get_rng_state()
    compile_loops(examples(lambda x: x.copy_(torch.bernoulli(x, 0.5)), mine))
    assert mine[0].tolist() == [1] * 8
    assert torch.equal(torch.get_rng_state(), state)


def test_one_loop_serves_other_tensors_and_views(cache):
    mine, stacked = inputs(), [torch.stack([tensor] * 2) for tensor in inputs()]
    (loop,) = compile_loops(examples(decay, mine))
    seeds = torch.zeros(2, dtype=torch.int64)
    loop.bind([tensor[1] for tensor in stacked], [], seeds[1])(1, 2)
    loop.bind(mine, [], small_steps.seed())(1, 2)
    assert all(torch.equal(ours[1], tensor) for ours, tensor in zip(stacked, mine, strict=True))
    assert seeds.tolist() == [0, 2]


def test_a_compiled_library_is_loaded_and_not_compiled_again(cache, monkeypatch):
    steps = examples(decay, inputs())
    assert not is_cached(steps)
    compile_loops(steps)
    assert is_cached(steps)
    monkeypatch.setattr(inductor_cpp, "cpp_sources", lambda _: pytest.fail("it was compiled before"))
    assert len(compile_loops(steps)) == 1


def test_another_constant_is_another_library():
    def scaled(factor):
        return examples(lambda x: x.mul_(factor), inputs()[:1])

    assert library_name(scaled(2.0)) == library_name(scaled(2.0)) != library_name(scaled(3.0))


def test_random_numbers_are_fair_differ_from_step_to_step_and_follow_the_seed(cache):
    def draw(out, total):
        out.copy_(torch.bernoulli(out, 0.3))
        total.add_(out)

    out, total = torch.zeros(1000), torch.zeros(1000)
    run, seed = compiled(draw, [out, total])
    run(1)
    first = out.clone()
    run(99)
    assert abs(total.mean() - 30) < 0.6  # its standard error is 0.14
    assert abs(total.var() - 21) < 5  # the binomial's 100 * 0.3 * 0.7: steps draw independently
    assert not torch.equal(first, out)
    seed.zero_()
    run(1)
    assert torch.equal(first, out)


# A linear model: its step has matrix products, and a mean over the samples of a batch.
def linear_step(state, batch):
    weights, total = state
    x, y = batch
    error = x @ weights - y
    return [weights - 0.1 * x.T @ error / len(x), total + error.square().sum(0)]


def linear_state(width=4):
    torch.manual_seed(1)
    return [torch.randn(width, 3), torch.zeros(3)]


def linear_arrays(samples, width=4):
    torch.manual_seed(2)
    return [torch.randn(samples, width), torch.randn(samples, 3)]


def linear(samples, sizes, width=4, any_size=True):
    return small_steps.with_batch(linear_step, linear_state(width), linear_arrays(samples, width), sizes, any_size)


@pytest.mark.parametrize("order", [None, [8, 2, 0, 4, 10, 3, 1, 7, 9, 6, 5]])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 10, 11, 16])
def test_an_epoch_is_the_steps_of_its_batches(batch_size, order):
    example = linear(11, (batch_size,) if batch_size < 12 else (11,))
    (loop,) = compile_loops([example])
    mine, expected, seed = linear_state(), linear_state(), small_steps.seed()
    indices = torch.arange(11) if order is None else torch.tensor(order)
    loop.bind(mine, example.arrays, seed).epoch(batch_size, 11, None if order is None else indices)
    parts = indices.split(batch_size)
    for part in parts:
        expected = linear_step(expected, [array[part] for array in example.arrays])
    for tensor, reference in zip(mine, expected, strict=True):
        torch.testing.assert_close(tensor, reference)
    assert seed == len(parts)


def test_one_library_serves_any_number_of_samples_batches_and_models(cache, monkeypatch):
    compile_loops([linear(20, (4, 3))])
    monkeypatch.setattr(inductor_cpp, "cpp_sources", lambda _: pytest.fail("it was compiled before"))
    for samples, sizes in [(20, (4,)), (8, (2,)), (33, (16, 1)), (500, (128, 77))]:
        assert library_name([linear(samples, sizes)]) == library_name([linear(20, (4, 3))])
        (loop,) = compile_loops([example := linear(samples, sizes)])
        states = [linear_state(), linear_state()]
        for state in states:
            loop.bind(state, example.arrays, small_steps.seed()).epoch(sizes[0], samples)
            torch.testing.assert_close(state, states[0], rtol=0, atol=0)


def test_another_width_and_batches_of_one_sample_alone_are_other_libraries():
    names = [library_name([linear(20, (4,), **other)]) for other in ({}, {"width": 5}, {"any_size": False})]
    assert len(set(names)) == 3


def test_a_loop_says_for_which_sizes_it_is(cache):
    """Inductor chooses to compute a sum in one pass, for up to 4096 numbers here."""

    def sums(sizes):
        return small_steps.with_batch(lambda s, b: [s[0] + b[0].sum()], [torch.zeros(())], [torch.ones(20, 1)], sizes)

    (loop,) = compile_loops([example := sums((4, 3))])
    assert [bool(loop.valid(size)) for size in (-1, 0, 1, 2, 4096, 4097)] == [False, False, True, True, True, False]
    compile_loops([sums((4, 5000))])  # each model looks whether its own batches are among the sizes
    assert is_cached([example])  # it serves other sizes


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda x: x.copy_(torch.linalg.inv(x)), "more than loops over numbers and matrix products .*ops"),
        (lambda x: x.copy_(torch.linalg.qr(x)[0]), "more than loops over numbers and matrix products .*ops"),
        (lambda x: x.copy_((x.bfloat16() @ x.bfloat16()).float()), "matrix products .a product of torch.bfloat16"),
    ],
)
def test_what_is_more_than_loops_and_products_is_refused(cache, function, why):
    with pytest.raises(UnsupportedGraph, match=why):
        compile_loops(examples(function, [torch.eye(128)]))
    assert not list((cache / "compiled").glob("*.so"))


def test_without_a_compiler_it_says_so_whatever_ran_before(cache, monkeypatch):
    with config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        for function in (decay, lambda x, v: x.copy_(torch.linalg.inv(x))):
            with pytest.raises(CompilerUnavailable, match="no C\\+\\+ compiler works here"):
                compile_loops(examples(function, [torch.eye(3), torch.zeros(3, 1)]))
    assert not list((cache / "compiled").glob("*.so"))


def test_a_compiler_that_fails_on_everything_is_no_compiler(cache, tmp_path):
    script = tmp_path / "c++"
    script.write_text('#!/bin/sh\n[ "$1" = --version ] || { echo broken >&2; exit 1; }\necho 1.0\n')
    script.chmod(0o755)
    with (
        config.patch({"cpp.cxx": (None, str(script))}),
        pytest.raises(CompilerUnavailable, match="no C\\+\\+ compiler works here"),
    ):
        compile_loops(examples(decay, inputs()))


def test_code_that_does_not_compile_is_not_blamed_on_the_compiler(cache, monkeypatch):
    monkeypatch.setattr(inductor_cpp, "cpp_sources", lambda _: ["no C++"])
    with pytest.raises(CompilerChanged, match=r"PyTorch .* differs"):
        compile_loops(examples(decay, inputs()))


def test_a_wrong_number_is_found_when_it_is_compiled_and_when_it_is_loaded(cache, monkeypatch):
    steps = examples(decay, inputs())
    right = inductor_cpp.cpp_sources
    monkeypatch.setattr(
        inductor_cpp, "cpp_sources", lambda pairs: (each.replace("0.5", "0.501") for each in right(pairs))
    )
    with pytest.raises(WrongResult, match="the graph of a step"):
        compile_loops(steps)
    assert not list((cache / "compiled").glob("*.so"))  # the next process compiles it again

    monkeypatch.setattr(compiled_loops.compiled_check, "difference_from_graphs", lambda *_: None)
    compile_loops(steps)
    monkeypatch.undo()
    monkeypatch.setenv("K3TORCH_CACHE", str(cache))
    with pytest.raises(WrongResult):
        compile_loops(steps)
    assert not list((cache / "compiled").glob("*.so"))


def test_a_library_that_cannot_be_loaded_is_a_reason_and_no_crash(cache, monkeypatch):
    monkeypatch.setattr(compiled_loops.cpp_build, "build_library", lambda _, path: path.write_bytes(b"no library"))
    with pytest.raises(CompilerChanged, match="OSError"):
        compile_loops(examples(decay, inputs()))
    assert not list((cache / "compiled").glob("*.so"))  # the next process compiles it again


def test_an_index_out_of_bounds_is_raised_and_does_not_end_the_process(cache):
    def pick(out, table, indices):
        out.copy_(table[indices])

    mine = [torch.zeros(3), torch.arange(4.0), torch.tensor([0, 1, 2])]
    run, _ = compiled(pick, mine)
    run(1)
    assert mine[0].tolist() == [0, 1, 2]
    mine[2][1] = 9
    with pytest.raises(IndexError, match=r"^index out of bounds"):
        run(1)


def test_nothing_is_read_from_the_folder_that_all_users_share(cache, monkeypatch, tmp_path):
    """Another user could have made torch's default folder, and torch unpickles what it finds there."""
    shared = tmp_path / "shared"
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    shared.mkdir()
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    mine = [torch.ones(3)]
    run, _ = compiled(lambda x: x.add_(2), mine)
    run(1)
    assert mine[0].tolist() == [3, 3, 3]
    assert not list(shared.glob("torchinductor*"))
    assert cache.stat().st_mode & 0o077 == 0


def test_batches_beyond_the_compilers_assumption_train_uncompiled_with_one_line(monkeypatch, cache):
    monkeypatch.setattr("k3torch.stack.model_stack.WORTH_COMPILING", 0)
    monkeypatch.setattr("k3torch.stack.model_stack.WORTH_LOOKING", 0)

    def build():
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    draw = np.random.default_rng(0)
    size = 5000
    samples = Samples(draw.normal(size=(size, 3)).astype("float32"), draw.normal(size=(size, 1)).astype("float32"))
    notices, results, reference = [], [], build()
    stack = ModelStack([build()], [samples], [samples], size, epochs=1, notice=notices.append)
    stack.train(range(1), lambda model, epoch: np.arange(size), lambda done: results.append(done) or True)
    history = reference.fit(samples.x, samples.y, size, shuffle=False, verbose=0).history
    np.testing.assert_allclose(results[0].training[:, 0], [history["loss"][0], history["mae"][0]], rtol=1e-5)
    for mine, theirs in zip(stack.unstack()[0].get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)
    assert notices == ["training uncompiled: the compiled step is not for batches of 5000 samples"]


@pytest.mark.slow
def test_code_of_torchs_compiler_runs_in_the_same_process(cache):
    compiled(decay, inputs())[0](1)
    function = torch.compile(lambda x: torch.relu(x + 1) * 2)  # its header has a variable of the same name as ours
    assert function(torch.tensor([-3.0, 0.5])).tolist() == [0.0, 3.0]
