import random

from k3torch.training.model_state import GRADIENT, State, layers_of, named_tensors
import keras
import numpy as np
import torch

X, Y = (np.random.default_rng(0).normal(size=(6, n)).astype("float32") for n in (5, 1))


class Counts(keras.layers.Layer):
    """A layer of the caller's own, with state in Python."""

    def __init__(self):
        super().__init__()
        self.calls_so_far = 0

    def call(self, x):
        self.calls_so_far += 1
        return x


class HoldsTorch(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(5)

    def call(self, x):
        return self.norm(x)


def built(*layers):
    model = keras.Sequential([keras.Input((5,)), *layers, keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    model._symbolic_build(data_batch=(X[:1], Y[:1]))
    return model


def step(model):
    model.train_step((torch.from_numpy(X), torch.from_numpy(Y)))


def test_a_restored_state_is_the_state_before():
    parts = (
        Counts(),
        HoldsTorch(),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.Dropout(0.5, seed=1),
    )
    model = built(*parts)
    model.train()
    before = State(model)
    drawn = [torch.rand(()).item(), np.random.random(), random.random()]
    step(model)
    after = State(model)
    changed = [name for name in before.tensors if not torch.equal(before.tensors[name], after.tensors[name])]
    for part in ("kernel", "moving_mean", "momentum", "iteration", "running_mean", "seed_generator_state", "total"):
        assert any(part in name for name in changed), part
    assert before.values != after.values
    before.restore()
    again = State(model)
    for name, tensor in before.tensors.items():
        assert torch.equal(tensor, again.tensors[name]), name
    assert before.values == again.values
    assert [torch.rand(()).item(), np.random.random(), random.random()] == drawn


def test_a_copy_does_not_follow_the_model():
    model = built()
    state = State(model)
    kept = {name: tensor.clone() for name, tensor in state.tensors.items()}
    step(model)
    for name, tensor in kept.items():
        assert torch.equal(tensor, state.tensors[name])


def test_gradients_are_copied_and_named():
    model = built()
    assert not any(name.startswith(GRADIENT) for name in State(model).tensors)
    step(model)
    state = State(model)
    for variable in model.trainable_variables:
        assert torch.equal(state.tensors[GRADIENT + variable.path], variable.value.grad)


def test_layers_are_found_wherever_they_are_held():
    class Holds(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.parts = {"first": keras.layers.Dense(5, name="in a dict")}
            self.rest = [(keras.layers.Dense(5, name="in a list"),)]

        def call(self, x):
            return self.rest[0][0](self.parts["first"](x))

    nested = keras.Sequential([keras.Input((5,)), keras.layers.Dense(5, name="nested")], name="inner")
    names = {layer.name for layer in layers_of(built(Holds(), nested))}
    assert {"in a dict", "in a list", "nested", "inner"} <= names


def test_every_tensor_is_named_once():
    model = built(keras.layers.Dense(5), keras.layers.Dense(5), HoldsTorch())
    pairs = list(named_tensors(model))
    assert len({id(each.tensor) for each in pairs}) == len({each.name for each in pairs}) == len(pairs)


def test_copying_and_restoring_draws_no_random_number():
    """Keras makes its global seed generator at first use, by a number of Python's generator."""
    keras.utils.set_random_seed(3)
    model = built()
    keras.src.backend.common.global_state.set_global_attribute("global_seed_generator", None)
    keras.utils.set_random_seed(3)
    expected = random.random(), np.random.random(), torch.rand(()).item()
    keras.utils.set_random_seed(3)
    State(model).restore()
    assert (random.random(), np.random.random(), torch.rand(()).item()) == expected
