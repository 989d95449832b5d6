"""A part of the fast step that differs from Keras is found on the first batches, named in one warning, and replaced."""

import warnings

from k3torch import FastModel
from k3torch.data.loaders import array_loader
from k3torch.training import fast_step, fused_losses, fused_optimizers
from k3torch.training.verified_step import BATCHES, Verification, signature
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(40, 5)).astype("float32")
Y = (X.sum(axis=1, keepdims=True) > 0).astype("float32")
WEIGHTS = np.linspace(0.2, 3, 40).astype("float32")


def build(model_class=FastModel, optimizer="adam", **compiling):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(6, activation="relu")(inputs)
    model = model_class(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile(optimizer, **{"loss": "binary_crossentropy", "metrics": ["accuracy"], **compiling})
    return model


def fitted(model, *arrays):
    """Return the history and the weights, and the warnings on the way."""
    loader = array_loader(*(arrays or (X, Y)), batch_size=8)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        history = model.fit(loader, validation_data=loader, epochs=3, shuffle=False, verbose=0).history
    said = [str(warning.message) for warning in caught if "falls back to Keras" in str(warning.message)]
    return history, model.get_weights(), said


def assert_equal_to_keras(found, expected):
    for name in expected[0]:
        np.testing.assert_allclose(found[0][name], expected[0][name], rtol=1e-4, err_msg=name)
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_right_step_is_verified_without_a_warning_and_leaves_no_trace():
    """Neither weights, nor metrics, nor random numbers tell that the first batches were taken twice."""
    unverified = build()
    unverified._symbolic_build(data_batch=(X[:1], Y[:1]))
    unverified._prepare_parts()
    unverified._verification.counts = dict.fromkeys(
        [(kind, signature((torch.from_numpy(X[:8]), torch.from_numpy(Y[:8])))) for kind in BATCHES], 2
    )
    expected, found = fitted(unverified), fitted(build())
    assert found[2] == []
    assert found[0] == expected[0]
    for a, b in zip(found[1], expected[1], strict=True):
        np.testing.assert_array_equal(a, b)


def break_loss(monkeypatch):
    mean = fused_losses._MEANS[keras.losses.binary_crossentropy]
    monkeypatch.setitem(fused_losses._MEANS, keras.losses.binary_crossentropy, lambda y, p: 1.01 * mean(y, p))


def break_gradient(monkeypatch):
    """The value is right, its gradient is not."""
    mean = fused_losses._MEANS[keras.losses.binary_crossentropy]
    monkeypatch.setitem(
        fused_losses._MEANS,
        keras.losses.binary_crossentropy,
        lambda y, p: mean(y, p) + 0.01 * (mean(y, p) - mean(y, p).detach()),
    )


def break_metric(monkeypatch):
    monkeypatch.setattr(fused_losses, "fused_metric", fused_losses.fused_metric)
    monkeypatch.setattr(fast_step, "fused_metric", lambda _: lambda y, y_pred: (y_pred > 0.4).float().eq(y).sum())


def break_epsilon(monkeypatch):
    adam = fused_optimizers._adam

    def other(optimizer, *arguments):
        optimizer.epsilon *= 2
        adam(optimizer, *arguments)
        optimizer.epsilon /= 2

    monkeypatch.setattr(fused_optimizers, "_adam", other)


def break_forward(monkeypatch):
    monkeypatch.setitem(fast_step.TORCH_ACTIVATIONS, keras.activations.relu, lambda x: torch.relu(x) * 1.001)


def break_by_an_error(monkeypatch):
    monkeypatch.setitem(fast_step.TORCH_ACTIVATIONS, keras.activations.relu, lambda x: x.no_such_attribute)


@pytest.mark.parametrize(
    ("broken", "part"),
    [
        (break_loss, "its loss"),
        (break_gradient, "its loss"),
        (break_metric, "its metrics"),
        (break_epsilon, "its optimizer"),
        (break_forward, "its forward pass"),
        (break_by_an_error, "its forward pass (otherwise this differs: AttributeError"),
    ],
)
def test_a_broken_part_is_replaced_by_keras_and_named(monkeypatch, broken, part):
    expected = fitted(build(keras.Model))
    broken(monkeypatch)
    found = fitted(build())
    assert_equal_to_keras(found, expected)
    (line,) = found[2]
    assert line.startswith(f"FastModel falls back to Keras for {part}")


def test_a_metric_that_forgets_the_weight_is_found(monkeypatch):
    compiling = {"metrics": [], "weighted_metrics": ["mse"]}
    expected = fitted(build(keras.Model, **compiling), X, Y, WEIGHTS)
    monkeypatch.setattr(
        keras.metrics.MeanSquaredError, "update_state", keras.metrics.MeanSquaredError.update_state, raising=False
    )
    choose = fast_step.metrics

    def forgets(model):
        update = choose(model)
        return lambda y, y_pred, _: update(y, y_pred, None)

    monkeypatch.setattr(fast_step, "metrics", forgets)
    found = fitted(build(**compiling), X, Y, WEIGHTS)
    assert_equal_to_keras(found, expected)
    assert "its metrics" in found[2][0]


def test_a_step_that_no_part_explains_falls_back_as_a_whole(monkeypatch):
    expected = fitted(build(keras.Model))
    step = FastModel._fast_train_step

    def wrong(self, data, parts):
        logs = step(self, data, parts)
        np.random.random()
        return logs

    monkeypatch.setattr(FastModel, "_fast_train_step", wrong)
    found = fitted(build())
    assert_equal_to_keras(found, expected)
    assert found[2] == [
        "FastModel falls back to Keras for its whole train step (otherwise this differs: the random state of NumPy)"
    ]


def test_two_training_batches_and_one_test_batch_of_each_kind_are_verified(monkeypatch):
    ran = []
    run = Verification.run
    monkeypatch.setattr(Verification, "run", lambda self, m, kind, *a: ran.append(kind) or run(self, m, kind, *a))
    model = build()
    fitted(model)
    assert ran == ["train", "train", "test"]
    fitted(model)  # the same settings: verified already
    assert ran == ["train", "train", "test"]
    fitted(model, X, Y, WEIGHTS)  # batches of another kind
    assert ran == ["train", "train", "test"] * 2
    model.compile("sgd", "binary_crossentropy")
    fitted(model)
    assert ran == ["train", "train", "test"] * 3


def test_what_changes_between_fits_is_seen():
    """Parts hold functions of the layers as they were: a changed layer has them chosen anew."""
    histories = []
    for kind in (keras.Model, FastModel):
        model = build(kind, optimizer="sgd")
        fitted(model)
        model.layers[1].activation = keras.activations.tanh
        model.layers[2].trainable = False
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        fitted(model)
        model.layers[1].activation = keras.activations.relu  # without compiling
        histories.append(fitted(model))
    assert_equal_to_keras(histories[1], histories[0])


def test_an_empty_batch_raises_as_in_keras():
    for kind in (keras.Model, FastModel):
        model = build(kind)
        fitted(model)
        empty = torch.utils.data.DataLoader([(torch.from_numpy(X[:0]), torch.from_numpy(Y[:0]))], batch_size=None)
        with pytest.raises(RuntimeError):
            model.fit(empty, verbose=0, shuffle=False)


def test_signatures_tell_structure_dtype_and_shape_apart_but_not_the_number_of_samples():
    x, y = torch.ones(4, 3), torch.ones(4, 1)
    assert signature((x, y)) == signature((x[:2], y[:2]))
    others = [
        (x, y, y),
        (x[:, :2], y),
        (x.double(), y),
        (x.to_sparse_csr(), y),
        ([x], y),
        ({"a": x}, y),
        (x[:0], y[:0]),
    ]
    assert len({str(signature(other)) for other in [(x, y), *others]}) == 1 + len(others)


def test_what_is_built_after_training_has_the_weights_that_it_has_after_keras_trained():
    weights = []
    for kind in (keras.Model, FastModel):
        keras.utils.set_random_seed(0)
        fitted(build(kind))
        weights.append([keras.layers.Dense(3).build((2, 3)) or keras.random.normal((2,)).tolist() for _ in range(2)])
    assert weights[0] == weights[1]
