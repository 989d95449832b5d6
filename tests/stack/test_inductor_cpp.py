"""Where a private part of torch is missing or has changed, training goes on uncompiled, with one line."""

import ast
import importlib
from pathlib import Path
import pkgutil
import sys
from unittest import mock

import k3torch
from k3torch.stack import inductor_cpp, model_stack
from k3torch.stack.batch_loop import Samples
from k3torch.stack.graphs import trace
from k3torch.stack.inductor_cpp import MAKE_FX, PRIVATE_PARTS
from k3torch.stack.model_stack import ModelStack
from k3torch.stack.reasons import CompilerChanged, UnsupportedGraph, UntraceableStep
import keras
import numpy as np
import pytest
import torch


def step_seed():
    return torch.zeros((), dtype=torch.int64)


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
    stack.train_epoch([np.arange(7), np.arange(7)[::-1]])
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
COMPILER_PARTS = [path for path in PRIVATE_PARTS if path != MAKE_FX]


@pytest.mark.parametrize("error", [ImportError, AttributeError])
@pytest.mark.parametrize("path", COMPILER_PARTS)
def test_a_missing_part_leaves_training_uncompiled(always_compile, expected, monkeypatch, path, error):
    remove(monkeypatch, path, error)
    assert_uncompiled(expected, f"PyTorch {torch.__version__} has no {path.replace(':', '.')}")


# What torch itself cannot trace without stays.
@pytest.mark.parametrize("path", [p for p in COMPILER_PARTS if "_guards" not in p and "ops.prims" not in p])
def test_a_part_with_other_arguments_leaves_training_uncompiled_or_right(always_compile, expected, monkeypatch, path):
    def changed(*, an_argument_of_a_later_version):
        """Raise a TypeError for every call that we know of."""

    monkeypatch.setattr(*owner_of(path), changed)
    notices = []
    for mine, theirs in zip(weights_and_notices(notices), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-6)
    assert len(notices) <= 1


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
    right = inductor_cpp.small_product
    monkeypatch.setattr(inductor_cpp, "small_product", lambda a, b: right(a, b) * 1.01)
    assert_uncompiled(expected, "disagrees with torch operators: input")


def test_where_kernels_are_no_longer_intercepted_nothing_is_changed(always_compile, expected, monkeypatch):
    # Inductor's Python function then runs for real while it is recorded, and the recorded loop is empty.
    monkeypatch.setattr(inductor_cpp._Recorder, "kernel", inductor_cpp.private_part(inductor_cpp.CPP_KERNEL))
    assert_uncompiled(expected)


def test_where_inductor_fails_the_reason_is_said(monkeypatch):
    from torch._inductor import compile_fx
    from torch._inductor.exc import InductorError

    def fail(*_):
        raise InductorError(KeyError("buf46"), None)

    mine = [torch.ones(2), step_seed()]
    monkeypatch.setattr(compile_fx, "compile_fx_inner", fail)
    with pytest.raises(UnsupportedGraph, match=r"Inductor cannot compile the step .*buf46"):
        inductor_cpp.cpp_source([(trace(lambda x, c: (x.add_(1), None)[1], mine), mine)])


def test_the_source_has_a_function_and_scratch_for_each_graph():
    def two_passes(x, c):
        x.copy_(torch.softmax(torch.softmax(x, 0), 1))
        c.add_(1)

    mine = [torch.ones(20, 30), step_seed()]
    source = inductor_cpp.cpp_source([(trace(two_passes, mine), mine)] * 2)
    for number in (0, 1):
        assert f'extern "C" const char* run_{number}(int64_t times' in source
        assert f'extern "C" int64_t scratch_{number} = ' in source
    assert mine[0].eq(1).all()


@pytest.mark.parametrize("module", ["extern_kernels", "aten", "inductor_ops", "torch"])
def test_a_graph_that_calls_operators_beside_its_loops_is_refused(module):
    names = {"empty_strided_cpu": torch.empty_strided, module: mock.MagicMock()}
    exec(f"class Runner:\n    def call(self, inputs):\n        {module}.sort(inputs[0])", names)
    recorder = inductor_cpp._Recorder(0, [torch.ones(2)])
    with pytest.raises(UnsupportedGraph, match=rf"more than loops over numbers \({module}\.sort\)$"):
        recorder._record(names["Runner"]().call)


def test_private_errors_become_reasons_and_interrupts_pass():
    with pytest.raises(CompilerChanged, match="TypeError: other"), inductor_cpp.private_use():
        raise TypeError("other\narguments")
    with pytest.raises(KeyboardInterrupt), inductor_cpp.private_use():
        raise KeyboardInterrupt


def test_no_other_file_uses_private_parts_of_torch():
    """Whatever is imported from, or read of, torch's private modules, is in inductor_cpp.py."""
    for path in Path(k3torch.__path__[0]).rglob("*.py"):
        if path.name == "inductor_cpp.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = {
                ast.Import: lambda n: [alias.name for alias in n.names],
                ast.ImportFrom: lambda n: [n.module or ""],
                ast.Attribute: lambda n: [ast.unparse(n)],
            }.get(type(node), lambda n: [])(node)
            for name in names:
                parts = name.split(".")
                private = [
                    part
                    for part in parts[1:]
                    # torch.utils._python_dispatch is documented, and fixed_randomness does without it.
                    if part.startswith("_") and not part.startswith(("__", "_foreach", "_python_dispatch"))
                ]
                assert not (parts[0] == "torch" and (private or "experimental" in parts)), f"{path.name}: {name}"
