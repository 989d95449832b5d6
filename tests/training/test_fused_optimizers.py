"""Fused optimizers against Keras's own updates, with settings off their defaults."""

from k3torch import kernels
from k3torch.training.fused_optimizers import fused_update, keras_update
import keras
from keras import optimizers
import numpy as np
import pytest
import torch

FUSED = {
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "rho": lambda: optimizers.RMSprop(0.01, rho=0.5),
    "rmsprop epsilon": lambda: optimizers.RMSprop(0.01, epsilon=0.1),
    "adam": lambda: optimizers.Adam(0.01),
    "betas": lambda: optimizers.Adam(0.01, beta_1=0.3, beta_2=0.6),
    "adam epsilon": lambda: optimizers.Adam(0.01, epsilon=0.1),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, beta_2=0.5),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.5),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)),
}
KERAS = {
    "rmsprop momentum": lambda: optimizers.RMSprop(0.01, momentum=0.5),
    "rmsprop centered": lambda: optimizers.RMSprop(0.01, centered=True),
    "nadam": lambda: optimizers.Nadam(0.01),
    "sgd": lambda: optimizers.SGD(0.01, momentum=0.9),
}


def after(make, update_of, steps=4):
    """Weights and optimizer variables after a few updates with changing gradients."""
    draw = np.random.default_rng(0)
    variables = [keras.Variable(draw.normal(size=shape).astype("float32")) for shape in ((3, 4), (4,))]
    optimizer = make()
    optimizer.build(variables)
    update = update_of(optimizer)
    with torch.no_grad():
        for _ in range(steps):
            update([torch.from_numpy(draw.normal(size=v.shape).astype("float32")) for v in variables], variables)
            optimizer.iterations.value.add_(1)
    return [variable.numpy() for variable in [*variables, *optimizer.variables]]


@pytest.mark.usefixtures("with_and_without_loops")
@pytest.mark.parametrize("name", FUSED | KERAS)
def test_updates_are_kerass(name):
    make = (FUSED | KERAS)[name]
    for mine, theirs in zip(after(make, fused_update), after(make, keras_update), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "fused"), [*((n, True) for n in FUSED), *((n, False) for n in KERAS)])
def test_which_optimizers_are_fused(name, fused, monkeypatch):
    from k3torch.training import fused_optimizers

    optimizer = (FUSED | KERAS)[name]()
    optimizer.build([keras.Variable(np.zeros(2, "float32"))])
    asked = []
    monkeypatch.setattr(fused_optimizers, "keras_update", asked.append)
    fused_update(optimizer)
    assert (not asked) is fused


def one_step(optimizer, gradient):
    variable = keras.Variable(np.array([1.0], "float32"))
    optimizer.build([variable])
    with torch.no_grad():
        fused_update(optimizer)([torch.tensor([gradient])], [variable])
    return variable.numpy()[0]


def test_rmsprop_has_epsilon_inside_the_root():
    # velocity = 0.5 * 2**2 = 2; 1 - 0.1 * 2 / sqrt(2 + 2)
    assert one_step(optimizers.RMSprop(0.1, rho=0.5, epsilon=2.0), 2.0) == pytest.approx(0.9)


def test_adam_has_epsilon_outside_the_root():
    # mean 0.1 * 2, square 0.001 * 4, bias-corrected rate 0.1 * sqrt(0.001) / 0.1
    expected = 1 - 0.1 * np.sqrt(0.001) / 0.1 * 0.2 / (np.sqrt(0.004) + 0.5)
    assert one_step(optimizers.Adam(0.1, epsilon=0.5), 2.0) == pytest.approx(expected, rel=1e-6)


def test_variables_are_found_by_identity_and_not_by_position():
    first, second = (keras.Variable(np.ones(1, "float32")) for _ in range(2))
    optimizer = optimizers.RMSprop(0.1, rho=0.5)
    optimizer.build([first, second])
    with torch.no_grad():
        fused_update(optimizer)([torch.tensor([2.0])], [second])
    velocities = [variable.value.item() for variable in optimizer.variables if "velocity" in variable.path]
    assert velocities == [0, 2]
    assert first.value.item() == 1


class Loops:
    """Notes the shape of each weight that it is to update."""

    def __init__(self):
        self.updated = []

    def rmsprop(self, *arguments):
        self.updated.append(tuple(arguments[-1].shape))


@pytest.mark.parametrize(
    ("shape", "threads", "used"),
    [((3, 4), 64, True), ((2**10, 2**10 + 1), 64, False), ((2**10, 2**10 + 1), 4, True)],
)
def test_large_weights_are_updated_by_many_threads_where_there_are(monkeypatch, shape, threads, used):
    loops = Loops()
    monkeypatch.setattr(kernels, "load", lambda: loops)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    variable = keras.Variable(np.ones(shape, "float32"))
    optimizer = optimizers.RMSprop(0.1)
    optimizer.build([variable])
    with torch.no_grad():
        fused_update(optimizer)([torch.ones(shape)], [variable])
    assert loops.updated == ([shape] if used else [])


def test_the_loops_are_not_used_for_a_gradient_in_another_order_in_memory(monkeypatch):
    loops = Loops()
    monkeypatch.setattr(kernels, "load", lambda: loops)
    variable = keras.Variable(np.ones((2, 3), "float32"))
    optimizer = optimizers.RMSprop(0.1, rho=0.0, epsilon=0.0)
    optimizer.build([variable])
    gradient = torch.tensor([[1.0, -2.0], [3.0, -4.0], [5.0, -6.0]]).T
    with torch.no_grad():
        fused_update(optimizer)([gradient], [variable])
    assert loops.updated == []
    np.testing.assert_allclose(variable.numpy(), 1 - 0.1 * np.sign(gradient.numpy()))
