"""The custom training loop against fit."""

from k3torch.training import custom_loop
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(100, 8)).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def batches():
    data = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return torch.utils.data.DataLoader(data, batch_size=32)


def build(kind, optimizer):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8,))
    outputs = keras.layers.Dense(1, "sigmoid")(keras.layers.Dense(5, "relu")(inputs))
    model = kind(inputs, outputs)
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_the_loop_is_what_fit_does(optimizer):
    fitted, looped = build(keras.Model, optimizer), build(FastModel, optimizer)

    expected = fitted.fit(batches(), validation_data=batches(), epochs=3, verbose=0, shuffle=False).history
    history = custom_loop.train(looped, batches(), batches(), epochs=3)

    for name, values in expected.items():
        np.testing.assert_allclose([epoch[name] for epoch in history], values, rtol=1e-4, err_msg=name)
    for a, b in zip(fitted.variables, looped.variables, strict=True):
        np.testing.assert_allclose(np.array(b), np.array(a), rtol=1e-4, atol=1e-6)
    assert int(looped.optimizer.iterations) == 12
    assert looped.evaluate(batches(), verbose=0) == pytest.approx(
        [history[-1]["val_loss"], history[-1]["val_accuracy"]], rel=1e-5
    )


@pytest.mark.parametrize("penalty", ["l1", "l2", "l1l2"])
def test_penalties_on_weights_count_as_in_fit(penalty):
    histories, models = [], []
    for kind in (keras.Model, FastModel):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8,))
        outputs = keras.layers.Dense(1, "sigmoid", kernel_regularizer=penalty, bias_regularizer="l2")(inputs)
        models.append(kind(inputs, outputs))
        models[-1].compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    expected = models[0].fit(batches(), validation_data=batches(), epochs=2, verbose=0, shuffle=False).history
    histories = custom_loop.train(models[1], batches(), batches(), epochs=2)
    for name, values in expected.items():
        np.testing.assert_allclose([epoch[name] for epoch in histories], values, rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(models[1].get_weights()[0], models[0].get_weights()[0], rtol=1e-4, atol=1e-6)
