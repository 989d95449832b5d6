import random

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.training.model_state import State
from k3torch.training.state_comparison import compare_steps, in_short
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)
X = torch.from_numpy(DRAW.normal(size=(32, 5)).astype("float32"))
Y = torch.from_numpy(DRAW.normal(size=(32, 1)).astype("float32"))


class Counts(keras.layers.Layer):
    """A layer with state in Python."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def call(self, x):
        self.calls += 1
        return x


class HoldsTorch(keras.layers.Layer):
    """A layer whose parameters are no Keras variables."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def call(self, x):
        return self.linear(x)


def built(*layers, optimizer="adam", loss="mse", metrics=("mae",), weighted_metrics=None):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(8, activation="relu"), *layers])
    model.add(keras.layers.Dense(1))
    model.compile(optimizer=optimizer, loss=loss, metrics=list(metrics), weighted_metrics=weighted_metrics)
    model._symbolic_build(data_batch=(X[:1].numpy(), Y[:1].numpy()))
    return model


def step(model, x=X, y=Y, sample_weight=None):
    data = (x, y) if sample_weight is None else (x, y, sample_weight)
    return lambda: keras.Model.train_step(model, data)


def test_torch_parameters_and_buffers_belong_to_the_state():
    model = built(layer := HoldsTorch())
    layer.linear.module.register_buffer("seen", torch.zeros(()))

    def also_torch():
        step(model)()
        layer.linear.module.weight.data.mul_(2)
        layer.linear.module.seen.add_(1)

    problems = compare_steps(model, also_torch, step(model))
    assert len(problems) == 2
    assert sum("seen" in problem for problem in problems) == 1


def test_a_gradient_that_one_step_alone_leaves_is_a_difference():
    model = built()

    def without_gradient():
        step(model)()
        model.layers[0].kernel.value.grad = None

    for steps in ((step(model), without_gradient), (without_gradient, step(model))):
        (problem,) = compare_steps(model, *steps)
        assert model.layers[0].kernel.path in problem


def test_the_same_step_agrees_also_with_random_layers():
    model = built(keras.layers.Dropout(0.5), keras.layers.GaussianNoise(0.1, seed=3), Counts())
    for _ in range(3):
        assert compare_steps(model, step(model), step(model)) == []


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "nadam", "adagrad", "lion", "ftrl"])
def test_sums_in_another_order_agree(optimizer):
    """The same samples in reverse: other rounding errors, the same step."""
    model = built(optimizer=optimizer)
    for _ in range(3):
        assert compare_steps(model, step(model), step(model, X.flip(0), Y.flip(0))) == []


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-4, 1.0, 1e4]), optimizer=st.sampled_from(["sgd", "adam"])
)
def test_any_order_of_any_samples_agrees(seed, scale, optimizer):
    draw = np.random.default_rng(seed)
    x = torch.from_numpy((scale * draw.normal(size=(17, 5))).astype("float32"))
    y = torch.from_numpy(draw.normal(size=(17, 1)).astype("float32"))
    order = torch.from_numpy(draw.permutation(17))
    model = built(optimizer=optimizer)
    assert compare_steps(model, step(model, x, y), step(model, x[order], y[order])) == []


@pytest.mark.parametrize(("factor", "kept"), [(1 + 1e-7, "fast"), (1.01, "keras")])
def test_the_model_keeps_the_fast_step_where_both_agree_and_keras_step_otherwise(factor, kept):
    model = built(optimizer="sgd")
    kernel = model.layers[0].kernel
    start = State(model)
    update = {}

    def scaled():
        step(model)()
        with torch.no_grad():
            change = kernel.value - start.tensors[kernel.path]
            kernel.value.copy_(start.tensors[kernel.path] + factor * change)
        update["fast"] = kernel.numpy().copy()

    step(model)()
    update["keras"] = kernel.numpy().copy()
    start.restore()
    problems = compare_steps(model, step(model), scaled)
    assert problems == ([] if kept == "fast" else [kernel.path])
    np.testing.assert_array_equal(kernel.numpy(), update[kept])


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop", "adam", "adagrad", "lion"])
def test_a_loss_off_by_one_percent_is_found(optimizer):
    model = built(optimizer=optimizer)
    compute_loss = model.compute_loss

    def off():
        model.compute_loss = lambda *a, **k: 1.01 * compute_loss(*a, **k)
        try:
            step(model)()
        finally:
            model.compute_loss = compute_loss

    assert any("gradient" in problem for problem in compare_steps(model, step(model), off))


def test_a_gradient_off_by_a_thousandth_is_found_though_the_loss_is_right():
    model = built(optimizer="adam")

    def off():
        hook = model.layers[0].kernel.value.register_hook(lambda gradient: gradient * 1.001)
        step(model)()
        hook.remove()

    assert any("gradient" in problem for problem in compare_steps(model, step(model), off))


def test_a_metric_that_forgets_the_weight_is_found():
    model = built(weighted_metrics=["mse"])
    weight = torch.linspace(0.5, 2, len(X))

    def forgets():
        model.compute_metrics = lambda x, y, y_pred, sample_weight: keras.Model.compute_metrics(model, x, y, y_pred)
        step(model, sample_weight=weight)()
        del model.compute_metrics

    problems = compare_steps(model, step(model, sample_weight=weight), forgets)
    assert problems
    assert not any("kernel" in problem for problem in problems)


@pytest.mark.parametrize("optimizer", [keras.optimizers.Adam, keras.optimizers.RMSprop])
def test_an_optimizer_with_another_epsilon_is_found_on_the_same_gradients(optimizer):
    model = built(optimizer=optimizer())
    gradients = [torch.full_like(v.value, 1e-3) for v in model.trainable_variables]

    def apply(epsilon):
        def run():
            model.optimizer.epsilon = epsilon
            with torch.no_grad():
                model.optimizer.apply(gradients, model.trainable_variables)
            model.optimizer.epsilon = 1e-7

        return run

    assert compare_steps(model, apply(1e-7), apply(1e-7)) == []
    assert any("kernel" in problem for problem in compare_steps(model, apply(1e-7), apply(2e-7)))


def test_state_in_python_is_found_and_put_back():
    model = built(layer := Counts())
    calls = layer.calls

    def without_python():
        before = layer.calls
        step(model)()
        layer.calls = before

    assert compare_steps(model, step(model), without_python) == ["'calls' of Counts"]
    assert layer.calls == calls + 1


@pytest.mark.parametrize(
    ("draw", "library"),
    [(lambda: torch.rand(()), "torch"), (np.random.normal, "NumPy"), (random.random, "Python")],
)
def test_a_random_number_that_only_one_draws_is_found(draw, library):
    model = built()

    def draws():
        step(model)()
        draw()

    assert compare_steps(model, draws, step(model)) == [f"the random state of {library}"]


def test_nan_agrees_with_nan_and_with_nothing_else():
    model = built(optimizer="sgd")
    bad = Y.clone()
    bad[0] = float("nan")
    assert compare_steps(model, step(model, y=bad), step(model, y=bad)) == []
    model = built(optimizer="sgd")
    assert compare_steps(model, step(model, y=bad), step(model))


def test_three_problems_are_named_and_the_others_counted():
    assert in_short(["a", "b", "c"]) == "a, b, c"
    assert in_short(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
