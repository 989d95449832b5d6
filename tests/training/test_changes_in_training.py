"""A callback, or the caller between two fits, may change the model: a FastModel follows as keras.Model does."""

import warnings

from k3torch import FastModel
import keras
import numpy as np
import pytest

X, Y = (np.random.default_rng(0).normal(size=(40, n)).astype("float32") for n in (4, 1))


class Act:
    def __init__(self, factor):
        self.factor = factor

    def __call__(self, x):
        return x * self.factor


def build(model_class):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, activation=Act(1.0), name="hidden")(inputs)
    model = model_class(inputs, keras.layers.Dense(1, name="output")(hidden))
    model.compile(keras.optimizers.SGD(0.01), "mse", metrics=["mae"])
    return model


def new_optimizer(model):
    model.optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    model.optimizer.build(model.trainable_variables)


def hidden(model):
    return model.get_layer("hidden")


def scaled_loss(model):
    compute = type(model).compute_loss
    model.compute_loss = lambda *a, **k: 0.5 * compute(model, *a, **k)


def scaled_call(model):
    call = hidden(model).call
    hidden(model).call = lambda *a, **k: 0.5 * call(*a, **k)


CHANGES = {
    "optimizer": new_optimizer,
    "activation": lambda m: setattr(hidden(m), "activation", keras.activations.relu),
    "activation object": lambda m: setattr(hidden(m), "activation", Act(3.0)),
    "activity regularizer": lambda m: setattr(hidden(m), "activity_regularizer", keras.regularizers.L2(1.0)),
    "regularizer of a variable": lambda m: setattr(hidden(m).kernel, "regularizer", keras.regularizers.L2(1.0)),
    "constraint of a variable": lambda m: setattr(hidden(m).kernel, "constraint", keras.constraints.MaxNorm(0.1)),
    "clipnorm": lambda m: setattr(m.optimizer, "clipnorm", 0.01),
    "global_clipnorm": lambda m: setattr(m.optimizer, "global_clipnorm", 0.01),
    "learning rate": lambda m: setattr(m.optimizer, "learning_rate", 0.1),
    "hook of a layer": lambda m: hidden(m).register_forward_hook(lambda module, args, output: 0.5 * output),
    "hook of the model": lambda m: m.register_forward_hook(lambda module, args, output: 0.5 * output),
    "backward hook": lambda m: hidden(m).register_full_backward_pre_hook(lambda module, g: (0.5 * g[0],)),
    "compute_loss": scaled_loss,
    "call of a layer": scaled_call,
    "trainable": lambda m: setattr(hidden(m), "trainable", False),
}


class At(keras.callbacks.Callback):
    def __init__(self, change, when):
        super().__init__()
        self.change, self.when, self.batches = change, when, 0

    def on_epoch_begin(self, epoch, logs=None):
        if (self.when, epoch) == ("epoch", 1):
            self.change(self.model)


class AtBatch(At):
    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == 4:
            self.change(self.model)


@pytest.mark.parametrize("when", ["epoch", "batch", "between fits"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_takes_effect_as_in_keras(name, when):
    histories = []
    for kind in (keras.Model, FastModel):
        model, change = build(kind), CHANGES[name]
        callback = {"epoch": At, "batch": AtBatch}.get(when)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = {"batch_size": 8, "shuffle": False, "verbose": 0, "validation_data": (X, Y)}
            history = model.fit(X, Y, epochs=3, callbacks=[callback(change, when)] if callback else [], **fit).history
            if when == "between fits":
                change(model)
                history = model.fit(X, Y, epochs=2, **fit).history
        histories.append(history)
    for metric in histories[0]:
        np.testing.assert_allclose(histories[1][metric], histories[0][metric], rtol=1e-5, err_msg=metric)


def test_losses_that_a_call_adds_later():
    def make(base):
        class Anneals(base):
            def __init__(self):
                super().__init__()
                self.hidden, self.out, self.steps = keras.layers.Dense(3), keras.layers.Dense(1), 0

            def call(self, x):
                self.steps += 1
                h = self.hidden(x)
                if self.steps > 6:
                    self.add_loss(keras.ops.mean(h**2))
                return self.out(h)

        keras.utils.set_random_seed(1)
        model = Anneals()
        model.compile(keras.optimizers.SGD(0.01), "mse")
        return model

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, found = (
            make(kind).fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
            for kind in (keras.Model, FastModel)
        )
    assert found == pytest.approx(expected, rel=1e-5)
