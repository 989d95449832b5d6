"""Each part of a fast step against Keras's own, and the reasons for falling back."""

from k3torch.training import fast_step
from k3torch.training.fast_step import Unsupported
import keras
import numpy as np
import pytest
import torch

X = torch.randn(8, 5, generator=torch.Generator().manual_seed(0))
Y = (X[:, :2] > 0).float()
WEIGHTS = torch.linspace(0.5, 2, 8)


def build(*layers, loss="mse", optimizer="sgd", outputs=2, **compiling):
    keras.utils.set_random_seed(0)
    last = keras.layers.Dense(outputs, "sigmoid")
    model = keras.Sequential([keras.Input((5,)), *(layers or [keras.layers.Dense(4, "relu")]), last])
    model.compile(optimizer, loss, **compiling)
    model.train_on_batch(X[:, :5], Y[:, :outputs])
    model.reset_metrics()
    return model


LAYERS = {
    "dense": lambda: [keras.layers.Dense(4, "tanh", use_bias=False)],
    "activation": lambda: [keras.layers.Dense(4), keras.layers.Activation("gelu")],
    "flatten": lambda: [keras.layers.Flatten(), keras.layers.Dense(3, "linear")],
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_forward_pass_is_that_of_the_model(name):
    model = build(*LAYERS[name]())
    torch.testing.assert_close(fast_step.forward(model)(X, True), model(X, training=True))


def test_dropout_acts_in_training_alone():
    model = build(keras.layers.Dropout(0.5))
    forward = fast_step.forward(model)
    torch.testing.assert_close(forward(X, False), model(X, training=False))
    assert not torch.allclose(forward(X, True), forward(X, False))


def test_an_input_of_another_kind_goes_through_keras():
    model = build()
    np.testing.assert_allclose(fast_step.forward(model)(X.numpy(), False).detach(), model(X).detach(), rtol=1e-6)
    with pytest.raises(ValueError, match="shape"):
        fast_step.forward(model)(X[:, :3], False)


def test_wrap_gets_all_layers_but_the_first():
    wrapped = []

    def wrap(function):
        wrapped.append(function)
        return lambda x, training: function(x, training) + 1

    model = build()
    torch.testing.assert_close(fast_step.forward(model, wrap)(X, False), model(X) + 1)
    assert len(wrapped) == 1


def branched():
    inputs = keras.Input((5,))
    hidden = keras.layers.Dense(5)(inputs)
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Add()([hidden, inputs])))


def hooked():
    model = build()
    model.layers[0].register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (branched, "not a chain of layers"),
        (hooked, "torch hooks"),
        (lambda: build(keras.layers.Dense(3, activity_regularizer="l2")), "activity regularizer"),
        (lambda: build(keras.layers.BatchNormalization()), "BatchNormalization"),
        (lambda: build(keras.layers.Dense(3, dtype="mixed_bfloat16")), "several dtypes"),
    ],
)
def test_models_whose_forward_pass_is_not_supported(make, reason):
    with pytest.raises(Unsupported, match=reason):
        fast_step.forward(make())


@pytest.mark.parametrize(
    "loss",
    [
        "mse",
        "binary_crossentropy",
        keras.losses.BinaryCrossentropy(from_logits=True),
        keras.losses.BinaryCrossentropy(label_smoothing=0.2),
        keras.losses.Huber(delta=0.3),
        keras.losses.MeanSquaredError(reduction="sum"),
        keras.losses.BinaryCrossentropy(reduction="sum"),
    ],
    ids=["mse", "binary_crossentropy", "from_logits", "label_smoothing", "huber", "summed mse", "summed crossentropy"],
)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["", "weighted"])
def test_losses_of_several_outputs_a_sample(loss, weights):
    model = build(keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(0.3)), loss=loss)
    y_pred = model(X).detach()
    found = fast_step.loss(model)(Y, y_pred, weights)
    torch.testing.assert_close(found, model.compute_loss(None, Y, y_pred, weights), rtol=1e-5, atol=1e-6)


def test_a_weighted_loss_is_not_supported():
    with pytest.raises(Unsupported, match="not one unweighted loss"):
        fast_step.loss(build(loss="mse", loss_weights=2.0))


@pytest.mark.parametrize("loss", ["mse", keras.losses.BinaryCrossentropy()], ids=["mse", "binary_crossentropy"])
def test_masked_outputs_count_as_in_keras(loss):
    """A mask reaches the loss on the outputs; the first sample is left out."""
    model = build(loss=loss)
    y_pred = model(X).detach()
    y_pred._keras_mask = torch.arange(len(X)) > 0
    found = fast_step.loss(model)(Y, y_pred, None)
    torch.testing.assert_close(found, model.compute_loss(None, Y, y_pred, None))
    assert found != fast_step.loss(model)(Y, y_pred.clone(), None)


def test_metrics_are_updated_in_their_own_variables():
    given = {"metrics": ["accuracy", "mae", keras.metrics.AUC()], "weighted_metrics": ["mse"]}
    model, reference = build(**given), build(metrics=["accuracy", "mae", keras.metrics.AUC()], weighted_metrics=["mse"])
    y_pred = model(X).detach()
    fast_step.metrics(model)(Y, y_pred, WEIGHTS)
    reference.compute_metrics(X, Y, y_pred, WEIGHTS)
    for mine, theirs in zip(model.metrics_variables, reference.metrics_variables, strict=True):
        np.testing.assert_allclose(mine.numpy(), theirs.numpy(), rtol=1e-5)


def test_adding_to_a_mean():
    mean = keras.metrics.Mean()
    add = fast_step.mean_adder(mean)
    add(torch.tensor(6.0, requires_grad=True), 3)
    add(torch.tensor(2.0), 1)
    assert float(mean.result()) == 2


def test_a_step_of_the_optimizer_decays_constrains_and_counts():
    def make():
        keras.utils.set_random_seed(0)
        optimizer = keras.optimizers.SGD(0.5, weight_decay=0.1)
        return build(keras.layers.Dense(4, kernel_constraint=keras.constraints.MaxNorm(0.3)), optimizer=optimizer)

    model, reference = make(), make()
    gradients = [torch.ones(tuple(variable.shape)) for variable in model.trainable_variables]
    with torch.no_grad():
        fast_step.weights(model)(gradients, model.trainable_variables)
        reference.optimizer.apply(gradients, reference.trainable_variables)
    for mine, theirs in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert int(model.optimizer.iterations) == int(reference.optimizer.iterations) == 2
    assert np.linalg.norm(model.get_weights()[0], axis=0).max() <= 0.3001


def test_missing_gradients_are_left_to_keras():
    model = build()
    before = model.get_weights()
    with torch.no_grad(), pytest.warns(UserWarning, match="Gradients do not exist"):
        fast_step.weights(model)([torch.ones(5, 4), None, None, None], model.trainable_variables)
    np.testing.assert_allclose(before[0] - model.get_weights()[0], 0.01, rtol=1e-4)
    np.testing.assert_array_equal(before[2], model.get_weights()[2])


@pytest.mark.parametrize(
    ("optimizer", "reasons"),
    [
        (lambda: keras.optimizers.SGD(clipnorm=1.0), "clipped gradients"),
        (lambda: keras.optimizers.SGD(use_ema=True, loss_scale_factor=2.0), "use_ema.* and loss_scale_factor"),
        (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "loss scaling"),
        (lambda: keras.optimizers.SGD(gradient_accumulation_steps=2), "gradient accumulation"),
    ],
)
def test_settings_of_the_optimizer_that_are_not_supported(optimizer, reasons):
    with pytest.raises(Unsupported, match=reasons):
        fast_step.weights(build(optimizer=optimizer()))
