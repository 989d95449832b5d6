"""The stateless steps give the numbers of Keras's own steps, and change no variable."""

from k3torch.stack import stateless
from k3torch.stack.reasons import UntraceableStep
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(4, 3)).astype("float32"), DRAW.normal(size=(4, 1)).astype("float32")
WEIGHTS = np.array([0.5, 1, 2, 4], "float32")


def build(optimizer=None):
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(5, "tanh", kernel_regularizer="l2", activity_regularizer="l1")
    model = keras.Sequential([keras.Input((3,)), hidden, keras.layers.BatchNormalization(), keras.layers.Dense(1)])
    model.compile(optimizer or keras.optimizers.Adam(0.1, beta_1=0.8), "mse", metrics=["mae"])
    stateless.build(model, X, Y)
    return model


def state_of(model):
    return [variable.value.detach().clone() for variable in stateless.variables(model)]


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_train_step_is_that_of_keras(weights):
    model, reference = build(), build()
    before = state_of(model)
    tensors = [None if part is None else torch.from_numpy(part) for part in (X, Y, weights)]
    after = stateless.train_step(model)(state_of(model), *tensors)
    reference.train_on_batch(X, Y, sample_weight=weights)
    for new, variable in zip(after, stateless.variables(reference), strict=True):
        torch.testing.assert_close(new, variable.value.detach(), rtol=1e-4, atol=1e-6)
    for old, kept in zip(before, state_of(model), strict=True):
        assert torch.equal(old, kept)
    results = stateless.results(model)(after[len(after) - len(model.metrics_variables) :])
    expected = reference.get_metrics_result()
    assert stateless.metric_names(model) == list(expected) == ["loss", "mae"]
    np.testing.assert_allclose(results, list(expected.values()), rtol=1e-5)


def test_a_test_step_only_adds_to_the_metrics():
    model = build()
    before = state_of(model)
    after = stateless.test_step(model)(state_of(model), torch.from_numpy(X), torch.from_numpy(Y), None)
    sums = len(model.metrics_variables)
    assert all(torch.equal(old, new) for old, new in zip(before[:-sums], after[:-sums], strict=True))
    expected = model.evaluate(X, Y, verbose=0)
    np.testing.assert_allclose(stateless.results(model)(after[-sums:]), expected, rtol=1e-5)


def test_the_optimizer_keeps_its_own_methods():
    model = build()
    stateless.train_step(model)(state_of(model), torch.from_numpy(X), torch.from_numpy(Y), None)
    assert not {"_backend_update_step", "_apply_weight_decay"} & set(vars(model.optimizer))


def test_build_makes_all_variables_and_leaves_the_metrics_at_zero():
    model = build()
    assert len(model.optimizer.variables) == 2 + 2 * len(model.trainable_variables)
    assert all(float(variable.value.sum()) == 0 for variable in model.metrics_variables)


def test_metrics_are_returned_as_given():
    auc = keras.metrics.AUC()
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae", auc, keras.losses.mean_squared_error])
    assert stateless.given_metrics(model) == ["mae", auc, keras.losses.mean_squared_error]
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    plain.compile("sgd", "mse")
    assert stateless.given_metrics(plain) == []


@pytest.mark.parametrize("part", ["_compile_metrics", "_user_metrics"])
def test_where_keras_has_changed_metrics_are_copies(without_keras_parts, part):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae", keras.metrics.F1Score(average=None)])
    without_keras_parts(part)
    name, f1 = stateless.given_metrics(model)
    assert name == "mae"
    assert (type(f1), f1.average) == (keras.metrics.F1Score, None)


def test_without_the_method_that_builds_it_says_so(without_keras_parts):
    model = build()
    without_keras_parts("_symbolic_build")
    with pytest.raises(UntraceableStep, match=r"no Sequential\._symbolic_build"):
        stateless.build(model, X, Y)
