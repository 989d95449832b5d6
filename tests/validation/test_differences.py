"""Models are compared by what they compute, not by the names and seeds that Keras makes up."""

from k3torch.validation.differences import difference_between_models
import keras
import numpy as np
import pytest
import torch


def built(*layers, optimizer="sgd", loss="mse", metrics=None, **compiling):
    model = keras.Sequential([keras.Input((3,)), *(layers or [keras.layers.Dense(1)])])
    model.compile(optimizer, loss, metrics=metrics, **compiling)
    return model


def chained(units=4, seed=None, name=None, learning_rate=0.1):
    """A functional model with a branch and a nested model."""
    inputs = keras.Input((3,))
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(units), keras.layers.Dropout(0.5, seed=seed)])
    hidden = keras.layers.Dense(units, kernel_initializer=keras.initializers.HeNormal(seed=seed), name=name)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Add()([inner(inputs), hidden])))
    model.compile(keras.optimizers.Adam(learning_rate), "mse", metrics=[keras.metrics.AUC(), "mae"])
    return model


def test_names_and_seeds_do_not_count():
    assert difference_between_models(chained(), chained()) is None
    assert difference_between_models(chained(seed=1, name="hidden"), chained(seed=2, name="first")) is None
    assert difference_between_models(built(), built(keras.layers.Dense(1, name="last"))) is None


def test_the_second_auc_is_auc_1_and_not_another_metric():
    first, second = (built(metrics=[keras.metrics.AUC(), keras.metrics.AUC()]) for _ in range(2))
    assert second.get_compile_config()["metrics"][0]["config"]["name"] != "auc"
    assert difference_between_models(first, second) is None


class Constants(keras.layers.Layer):
    """A custom layer whose configuration holds an array and an object."""

    def __init__(self, values, extra=None, **kwargs):
        super().__init__(**kwargs)
        self.values, self.extra = values, extra

    def call(self, x):
        return x

    def get_config(self):
        return {**super().get_config(), "values": self.values, "extra": self.extra}


class Setting:
    """An object that Keras can serialise and that has no __eq__."""

    def __init__(self, value):
        self.value = value

    def get_config(self):
        return {"value": self.value}


def scaled(factor):
    def error(y, y_pred):
        return factor * keras.ops.mean(y - y_pred)

    return error


def scaled_activation(factor):
    def activation(x):
        return factor * x

    return activation


Dense = keras.layers.Dense
L2 = keras.regularizers.L2
DIFFERENT = {
    "layer 2: units 64 and 32": lambda i: built(Dense(2), Dense((64, 32)[i])),
    "layer 1: activation relu and tanh": lambda i: built(Dense(1, ("relu", "tanh")[i])),
    "layer 1: Dense and Flatten": lambda i: built((Dense(3), keras.layers.Flatten())[i]),
    "layer 1: kernel_regularizer l2": lambda i: built(Dense(1, kernel_regularizer=L2((0.1, 0.2)[i]))),
    "layer 1: kernel_regularizer None and L2": lambda i: built(Dense(1, kernel_regularizer=(None, L2(0.1))[i])),
    "optimizer: learning_rate 0.1": lambda i: built(optimizer=keras.optimizers.SGD((0.1, 0.2)[i])),
    "optimizer: SGD and RMSprop": lambda i: built(optimizer=("sgd", "rmsprop")[i]),
    "optimizer: learning_rate decay_rate 0.5 and 0.6": lambda i: built(
        optimizer=keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 2, (0.5, 0.6)[i]))
    ),
    "loss mse and mae": lambda i: built(loss=("mse", "mae")[i]),
    "loss 1 function scaled.<locals>.error and another of that name": lambda i: built(loss=scaled((1, 2)[i])),
    "metrics 1 function scaled": lambda i: built(metrics=[scaled((1, 2)[i])]),
    "metrics 1 threshold 0.5 and 0.6": lambda i: built(metrics=[keras.metrics.BinaryAccuracy(threshold=(0.5, 0.6)[i])]),
    "metrics 1 name 'a' and 'b'": lambda i: built(metrics=[keras.metrics.MeanSquaredError(("a", "b")[i])]),
    "layer 1: values 2 2.0 and 3.0": lambda i: built(Constants(np.array([1.0, (2.0, 3.0)[i]]))),
    "layer 1: values 1 and 2 entries": lambda i: built(Constants(torch.ones((1, 2)[i]))),
    "layer 1: extra 1 and 2": lambda i: built(Constants(1, extra=Setting((1, 2)[i]))),
    "layer 1: activation function scaled_activation.<locals>.activation and another": lambda i: built(
        Dense(1, activation=scaled_activation((1, 2)[i]))
    ),
    "layer 1, layer 1: units 4 and 5": lambda i: built(keras.Sequential([keras.Input((3,)), Dense((4, 5)[i])])),
}


@pytest.mark.parametrize("said", DIFFERENT)
def test_a_difference_is_named(said):
    make = DIFFERENT[said]
    found = difference_between_models(make(0), make(1))
    assert found is not None
    assert found.startswith(said)
    assert difference_between_models(make(0), make(0)) is None
    assert "\n" not in found


def test_numbers_of_layers_metrics_and_inputs():
    assert difference_between_models(built(Dense(2)), built(Dense(2), Dense(1))) == "2 and 3 layers"
    assert "None and" in difference_between_models(built(), built(metrics=["mae"]))
    wide = keras.Sequential([keras.Input((4,)), Dense(1)])
    wide.compile("sgd", "mse")
    assert "4" in difference_between_models(built(), wide)


def test_layers_that_are_wired_differently_differ():
    def wired(swapped):
        inputs = keras.Input((3,))
        hidden = Dense(3)(inputs)
        model = keras.Model(inputs, keras.layers.Subtract()([hidden, inputs] if swapped else [inputs, hidden]))
        model.compile("sgd", "mse")
        return model

    assert difference_between_models(wired(False), wired(False)) is None
    assert difference_between_models(wired(False), wired(True)) is not None


def test_arrays_and_tensors_in_one_array_are_compared_by_dtype_and_value():
    def layer(values):
        return built(Constants(values))

    nan = np.array([np.nan, 1], "float32")
    assert difference_between_models(layer(nan), layer(nan.copy())) is None
    assert difference_between_models(layer(nan), layer(nan.astype("float64"))) is not None


def test_the_name_of_a_layer_inside_a_configuration_does_not_count():
    def wrapped(units, name):
        return built(Constants(1, extra=Dense(units, name=name)))

    assert difference_between_models(wrapped(2, "a"), wrapped(2, "b")) is None
    assert difference_between_models(wrapped(2, "a"), wrapped(3, "a")) == "layer 1: extra units 2 and 3"


def test_arrays_that_a_function_captures_are_compared():
    first, second = np.array([1.0, 2.0]), torch.tensor([1.0, 3.0])
    assert difference_between_models(built(loss=scaled(first)), built(loss=scaled(first.copy()))) is None
    for other in (first + 1, second):
        found = difference_between_models(built(loss=scaled(first)), built(loss=scaled(other)))
        assert found == "loss 1 function scaled.<locals>.error and another of that name"
    assert difference_between_models(built(loss=scaled(second)), built(loss=scaled(second.clone()))) is None


class Optional(keras.layers.Layer):
    """A custom layer whose configuration has the key ``extra`` only where it is set."""

    def __init__(self, extra=None):
        super().__init__()
        self.extra = extra

    def call(self, x):
        return x

    def get_config(self):
        return super().get_config() | ({} if self.extra is None else {"extra": self.extra})


def test_a_setting_that_one_configuration_lacks_is_named():
    assert difference_between_models(built(Optional()), built(Optional(3))) == "layer 1: extra missing and 3"
    assert difference_between_models(built(Optional(3)), built(Optional())) == "layer 1: extra 3 and missing"


def test_a_layer_without_a_configuration_is_a_reason():
    class Opaque(keras.layers.Layer):
        def __init__(self, function):
            super().__init__()
            self.function = function

        def call(self, x):
            return x

    models = [built(Opaque(object())) for _ in range(2)]
    assert difference_between_models(*models).startswith("no configuration to compare")
