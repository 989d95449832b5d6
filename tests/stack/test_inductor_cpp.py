"""Where a private part of torch is missing or has changed, training goes on uncompiled, with one line."""

import importlib
import pkgutil
import sys

from k3torch.stack import cpp_prefix, inductor_cpp, model_stack
from k3torch.stack.batch_loop import Samples
from k3torch.stack.compiled_loops import compile_loops
from k3torch.stack.cpp_recorder import Recorder
from k3torch.stack.graphs import trace
from k3torch.stack.model_stack import ModelStack
from k3torch.stack.reasons import UnsupportedGraph, UntraceableStep
from k3torch.stack.torch_internals import (
    CPP_BUILDER,
    CPP_KERNEL,
    CPP_OPTIONS,
    INVALID_ISA,
    MAKE_FX,
    PRIVATE_PARTS,
    private_part,
)
import keras
import numpy as np
import pytest
from tests.stack import small_steps
import torch


def owner_of(path):
    """The object that has a private part as its attribute, and the attribute's name."""
    module, _, attributes = path.partition(":")
    owner = importlib.import_module(module)
    *owners, name = attributes.split(".")
    for part in owners:
        owner = getattr(owner, part)
    return (owner if name in vars(owner) else type(owner)), name


def remove(monkeypatch, path, error):
    """Take a private part away from k3torch, and leave it to torch, which could not run without."""
    resolve = pkgutil.resolve_name

    def lacks(asked):
        if asked == path:
            raise error(asked)
        return resolve(asked)

    monkeypatch.setattr(pkgutil, "resolve_name", lacks)


def weights_and_notices(notices):
    """A small stack's weights after an epoch of training, from the same start each time."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    models = [keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "tanh")]) for _ in range(2)]
    for model in models:
        model.compile(keras.optimizers.RMSprop(), "mse")
    samples = Samples(rng.normal(size=(7, 3)).astype("float32"), rng.normal(size=(7, 2)).astype("float32"))
    stack = ModelStack(models, [samples] * 2, [samples] * 2, 2, epochs=1, notice=notices.append)
    orders = [np.arange(7), np.arange(7)[::-1]]
    stack.train(range(1), lambda model, epoch: orders[model], lambda done: True)
    return [weight for model in stack.unstack() for weight in model.get_weights()]


@pytest.fixture(scope="module")
def expected():
    return weights_and_notices([])  # too few steps to compile


@pytest.fixture
def always_compile(monkeypatch, cache):
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)


def assert_uncompiled(expected, named=""):
    notices = []
    weights = weights_and_notices(notices)
    for mine, theirs in zip(weights, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert len(notices) == 1
    assert notices[0].startswith("training uncompiled: ")
    assert named in notices[0]
    assert "\n" not in notices[0]


def test_with_all_parts_it_is_compiled_to_the_same_numbers(always_compile, expected):
    notices = []
    for mine, theirs in zip(weights_and_notices(notices), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert notices == []


# Without make_fx nothing can be traced at all; random numbers are looked up even by a step that draws none.
# What compiles with torch's header is used where our own lacks something.
FOR_TORCHS_HEADER = (CPP_BUILDER, CPP_OPTIONS, INVALID_ISA)
COMPILER_PARTS = [path for path in PRIVATE_PARTS if path not in (MAKE_FX, *FOR_TORCHS_HEADER)]


@pytest.mark.parametrize(
    ("path", "error"),
    [
        (COMPILER_PARTS[0], AttributeError),
        *((path, ImportError) for path in COMPILER_PARTS[::4]),
        *(pytest.param(p, ImportError, marks=pytest.mark.slow) for n, p in enumerate(COMPILER_PARTS) if n % 4),
    ],
)
def test_a_missing_part_leaves_training_uncompiled(always_compile, expected, monkeypatch, path, error):
    remove(monkeypatch, path, error)
    assert_uncompiled(expected, f"PyTorch {torch.__version__} has no {path.replace(':', '.')}")


def test_the_files_of_triton_are_not_read_for_products(monkeypatch, cache):
    """Inductor makes a key of them for its cache of measured GPU kernels, in 0.3 s."""
    codecache = importlib.import_module("torch._inductor.codecache")
    selection = importlib.import_module("torch._inductor.select_algorithm")
    monkeypatch.setattr(codecache, "triton_key", lambda: pytest.fail("the key of Triton was computed"))
    get_system = staticmethod(codecache.CacheBase.get_system.__wrapped__)  # without what it has computed before
    monkeypatch.setattr(codecache.CacheBase, "get_system", get_system)
    monkeypatch.setattr(selection, "_ALGORITHM_SELECTOR_CACHE", None)

    def product(a, b, out):
        out.copy_(a @ b)

    tensors = [torch.eye(3), torch.ones(3, 3), torch.zeros(3, 3)]
    compile_loops([small_steps.without_batch(product, tensors)])
    assert vars(codecache.CacheBase)["get_system"] is get_system


@pytest.fixture
def no_header_of_ours(monkeypatch):
    monkeypatch.setattr(cpp_prefix, "HEADER", "#error our header\n")


def test_where_our_header_lacks_something_it_is_compiled_with_torchs(always_compile, expected, no_header_of_ours):
    test_with_all_parts_it_is_compiled_to_the_same_numbers(always_compile, expected)


@pytest.mark.parametrize("path", FOR_TORCHS_HEADER)
def test_without_either_header_it_is_not_compiled(always_compile, expected, no_header_of_ours, monkeypatch, path):
    remove(monkeypatch, path, ImportError)
    assert_uncompiled(expected, f"has no {path.replace(':', '.')}")


# What torch itself cannot trace without stays.
NEEDED_BY_TORCH = ("_guards", "ops.prims", "FakeTensorMode", "ShapeEnv")


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in COMPILER_PARTS if not any(part in p for part in NEEDED_BY_TORCH)])
def test_a_part_with_other_arguments_leaves_training_uncompiled_or_right(always_compile, expected, monkeypatch, path):
    def changed(*, an_argument_of_a_later_version):
        """Raise a TypeError for every call that we know of."""

    monkeypatch.setattr(*owner_of(path), changed)
    notices = []
    for mine, theirs in zip(weights_and_notices(notices), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert len(notices) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in PRIVATE_PARTS if "_inductor" in path])
def test_a_module_that_is_gone_leaves_training_uncompiled(always_compile, expected, monkeypatch, path):
    module = path.partition(":")[0]
    monkeypatch.setitem(sys.modules, module, None)
    assert_uncompiled(expected)


def test_without_make_fx_the_reason_names_it(monkeypatch):
    remove(monkeypatch, MAKE_FX, ImportError)
    with pytest.raises(UntraceableStep, match=r"has no torch.fx.experimental.proxy_tensor.make_fx"):
        trace(lambda x: x.add_(1), [torch.ones(2)])


def test_a_wrong_product_is_found_before_it_is_used(always_compile, expected, monkeypatch):
    monkeypatch.setattr(inductor_cpp, "fused_product", lambda a, b: (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2) * 1.01)
    assert_uncompiled(expected, "disagrees with torch operators: input")


def test_where_kernels_are_no_longer_intercepted_nothing_is_changed(always_compile, expected, monkeypatch):
    # Inductor's Python function then runs for real while it is recorded, and the recorded loop is empty.
    monkeypatch.setattr(Recorder, "kernel", private_part(CPP_KERNEL))
    assert_uncompiled(expected)


def test_where_inductor_fails_the_reason_is_said(monkeypatch):
    from torch._inductor import compile_fx
    from torch._inductor.exc import InductorError

    def fail(*_):
        raise InductorError(KeyError("buf46"), None)

    example = small_steps.without_batch(lambda x: x.add_(1), [torch.ones(2)])
    monkeypatch.setattr(compile_fx, "compile_fx_inner", fail)
    with pytest.raises(UnsupportedGraph, match=r"Inductor cannot compile the step .*buf46"):
        list(inductor_cpp.cpp_sources([example[:2]]))


def test_the_sources_have_functions_for_each_step():
    mine = [torch.ones(20, 30)]
    example = small_steps.without_batch(lambda x: x.copy_(torch.softmax(torch.softmax(x, 0), 1)), mine)
    sources = list(inductor_cpp.cpp_sources([example[:2]] * 2))
    for number, source in enumerate(sources):
        assert f'extern "C" const char* run_{number}(int64_t batches, int64_t n, ' in source
        assert f'extern "C" int64_t scratch_{number}(int64_t n) {{' in source
        assert f'extern "C" int64_t valid_{number}(int64_t n) {{' in source
    assert mine[0].eq(1).all()


def scaled_rows(state, batch):
    return [state[0] + (batch[0] / len(batch[0])).sum(0)]


def test_the_source_holds_for_any_number_of_samples():
    def source(samples, any_size=True):
        example = small_steps.with_batch(scaled_rows, [torch.zeros(3)], [torch.ones(samples, 3)], any_size=any_size)
        (text,) = inductor_cpp.cpp_sources([example[:2]])
        return text

    assert source(4) == source(100)
    assert "return n > 0 && (n <= 4096);" in source(4)  # each time: what Inductor caches would lack it
    assert source(4) != source(4, any_size=False)


def test_new_tensors_may_have_as_many_rows_as_a_batch():
    def step(state, batch):
        chosen = torch.zeros(len(batch[0]), 3).index_put((torch.zeros(1, dtype=torch.int64),), batch[0][:1] * 2)
        return [state[0] + (chosen + torch.ones(2 * len(batch[0]), 3)[: len(batch[0])]).sum(0)]

    arrays = [torch.arange(30.0).reshape(10, 3)]
    (loop,) = compile_loops([small_steps.with_batch(step, [torch.zeros(3)], arrays, (4, 3))])
    loop.bind(state := [torch.zeros(3)], arrays, small_steps.seed())(5, 2)
    assert state[0].tolist() == [40, 44, 48]  # 2 * 5 * 1 + 2 * (rows 0 and 5)


def test_a_step_that_holds_for_one_size_alone_is_refused():
    def step(state, batch):
        return [state[0] + batch[0].reshape(-1, 3, 2).sum(0)[0]]  # in which an even number of samples is assumed

    graph = small_steps.trace_step(step, [torch.zeros(2)], [torch.ones(1, 3)], (6, 10), "a step")
    with pytest.raises(UnsupportedGraph):
        list(inductor_cpp.cpp_sources([(graph, [torch.zeros(2)])]))
