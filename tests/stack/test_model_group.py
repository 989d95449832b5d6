"""Both kinds of groups do what a stack asks of them, with the same numbers."""

import inspect

from k3torch.stack import compiled_loops, stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.compiled_models import CompiledModel
from k3torch.stack.mapped_models import MappedModels
from k3torch.stack.model_group import ModelGroup
from k3torch.stack.traced_steps import StepGraphs
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)
TRAINING, VALIDATION = (Samples(*(DRAW.normal(size=(n, width)).astype("float32") for width in (3, 1))) for n in (7, 5))


def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile("rmsprop", "mse", metrics=["mae"])
    stateless.build(model, TRAINING.x, TRAINING.y)
    return model


def compiled_model():
    model = build()
    group = CompiledModel(model, StepGraphs(model, TRAINING, {3, 1, 2}), TRAINING, VALIDATION, 3)
    group.bind(compiled_loops.compile_loops(group.examples()))
    return group


def mapped_models():
    return MappedModels([build()], [TRAINING], [VALIDATION], 3)


METHODS = [name for name in vars(ModelGroup) if not name.startswith("_") and callable(getattr(ModelGroup, name))]


@pytest.mark.parametrize("kind", [CompiledModel, MappedModels])
def test_both_kinds_have_its_methods_with_its_arguments(kind):
    assert METHODS == ["load", "train", "validate", "write_back", "state", "batches", "after_steps"]
    for name in METHODS:
        expected = inspect.signature(getattr(ModelGroup, name))
        assert inspect.signature(getattr(kind, name)) == expected, name
    assert isinstance(kind.stacked, bool)


def test_both_kinds_compute_the_same():
    groups = [compiled_model(), mapped_models()]
    order = DRAW.permutation(7)
    results = []
    for group in groups:
        after = group.after_steps("training", 0, 1)
        group.load([order])
        epochs = [group.train(), group.validate()]
        group.write_back()
        assert [epoch.shape for epoch in epochs] == [(2, 1)] * 2
        assert [epoch.dtype for epoch in epochs] == [np.float32] * 2
        results.append([*after.state, after.metrics, *epochs, *group.models[0].get_weights()])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(torch.as_tensor(mine), torch.as_tensor(other), rtol=1e-5, atol=1e-6)
