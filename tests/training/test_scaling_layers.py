"""A model with scaling layers returns, for raw samples, what the trained model returned for scaled ones."""

from k3torch import FastModel, FastSequential
from k3torch.data.scaling import Standardizer
from k3torch.training import scaling_layers
from k3torch.training.scaling_layers import normalization_layer, with_scaling_layers
import keras
import numpy as np
import pytest

rng = np.random.default_rng(0)
X = rng.normal([5, -300, 1e4], [1, 10, 100], (40, 3))
X[:, 2] = 7  # a constant feature
Y = 1000 + 5000 * X[:, :1] + rng.normal(size=(40, 1))
FEATURES, TARGETS = Standardizer.fit(X), Standardizer.fit(Y)


def chain(kind):
    inputs = keras.Input((3,), name="table")
    hidden = keras.layers.Dropout(0.1)(keras.layers.Dense(4, "tanh", name="first")(inputs))
    return kind(inputs, keras.layers.Dense(1)(hidden))


def branched(kind):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(3, "tanh", name="first")(inputs)
    return kind(inputs, keras.layers.Dense(1)(keras.layers.add([hidden, inputs])))


def sequential(kind, *inputs):
    return kind([*inputs, keras.layers.Dense(4, "tanh", name="first"), keras.layers.Dense(1)])


@keras.saving.register_keras_serializable("test_scaling_layers")
class Subclass(keras.Model):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.first = keras.layers.Dense(1)

    def call(self, x):
        return self.first(x)


@keras.saving.register_keras_serializable("test_scaling_layers")
class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


MODELS = {
    "functional": (lambda: chain(keras.Model), type(chain(keras.Model))),
    "branched": (lambda: branched(keras.Model), type(chain(keras.Model))),
    "FastModel": (lambda: chain(FastModel), FastModel),
    "own step": (lambda: chain(OwnStep), OwnStep),
    "Sequential": (lambda: sequential(keras.Sequential, keras.Input((3,))), keras.Sequential),
    "no input layer": (lambda: sequential(keras.Sequential), keras.Sequential),
    "FastSequential": (lambda: sequential(FastSequential, keras.Input((3,))), FastSequential),
    "subclass": (Subclass, keras.Sequential),
}


def trained(name):
    keras.utils.set_random_seed(1)
    model = MODELS[name][0]()
    model.compile(keras.optimizers.Adam(0.01), "mse", metrics=["mae", keras.metrics.MeanAbsolutePercentageError()])
    x, y = FEATURES.transform(X).astype("float32"), TARGETS.transform(Y).astype("float32")
    model.fit(x, y, epochs=2, verbose=0)
    return model, TARGETS.std * model.predict(x, verbose=0) + TARGETS.mean


@pytest.mark.parametrize("name", MODELS)
def test_raw_samples_give_predictions_in_the_unit_of_the_targets(name, tmp_path):
    model, expected = trained(name)
    whole = with_scaling_layers(model, features=FEATURES, targets=TARGETS)
    assert isinstance(whole, MODELS[name][1])
    assert isinstance(next(layer for layer in whole.layers if not isinstance(layer, keras.layers.InputLayer)),
                      keras.layers.Normalization)  # fmt: skip
    np.testing.assert_allclose(whole.predict(X, verbose=0), expected, rtol=1e-5)
    found = whole.evaluate(X, Y, verbose=0, return_dict=True)
    assert found["mae"] == pytest.approx(np.abs(expected - Y).mean(), rel=1e-4)
    whole.save(tmp_path / "whole.keras")
    loaded = keras.saving.load_model(tmp_path / "whole.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), whole.predict(X, verbose=0))


@pytest.mark.parametrize("name", MODELS)
def test_training_goes_on_with_the_optimizer_state(name):
    model, _ = trained(name)
    optimizer, before = model.optimizer, model.count_params()
    whole = with_scaling_layers(model, features=FEATURES)
    assert whole.optimizer is optimizer
    assert int(optimizer.iterations.value) == 4
    whole.fit(X, Y, epochs=1, verbose=0)
    assert int(optimizer.iterations.value) == 6
    assert whole.count_params() == before + 7  # three means, three variances, a count


@pytest.mark.parametrize("name", ["functional", "branched", "FastModel", "Sequential"])
def test_the_output_of_a_layer_can_be_the_output_of_another_model(name):
    whole = with_scaling_layers(trained(name)[0], features=FEATURES, targets=TARGETS)
    first = whole.get_layer("first")
    found = keras.Model(whole.inputs[0], first.output).predict(X, verbose=0)
    kernel, bias = first.get_weights()
    np.testing.assert_allclose(found, np.tanh(FEATURES.transform(X) @ kernel + bias), rtol=1e-4, atol=1e-5)


def test_only_targets_and_nothing_at_all():
    model, expected = trained("functional")
    scaled = FEATURES.transform(X).astype("float32")
    assert with_scaling_layers(model) is model
    whole = with_scaling_layers(model, targets=TARGETS)
    np.testing.assert_allclose(whole.predict(scaled, verbose=0), expected, rtol=1e-5)


def test_several_targets_have_a_scale_each(tmp_path):
    targets = Standardizer(np.array([1.0, -2.0]), np.array([10.0, 1000.0]))
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    raw = model.predict(X, verbose=0)
    whole = with_scaling_layers(model, targets=targets)
    whole.save(tmp_path / "whole.keras")
    for found in (whole, keras.saving.load_model(tmp_path / "whole.keras")):
        np.testing.assert_allclose(found.predict(X, verbose=0), raw * [10, 1000] + [1, -2], rtol=1e-5)


def test_the_layer_scales_each_feature_of_a_sample_and_a_constant_one_by_1():
    series = rng.normal(3, 2, (10, 4, 2))
    series[:, 1, 0] = 0.1
    layer = normalization_layer(Standardizer.fit(series))
    std = series.std(axis=0)
    std[1, 0] = 1
    np.testing.assert_allclose(layer(series.astype("float32")).numpy(), (series - series.mean(axis=0)) / std, atol=1e-5)


def test_scaling_stays_float32_in_a_mixed_precision_model():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = chain(keras.Model)
        model.compile("sgd", "mse")
        whole = with_scaling_layers(model, features=FEATURES, targets=TARGETS)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {layer.compute_dtype for layer in (whole.layers[1], whole.layers[-1])} == {"float32"}
    assert whole.predict(X, verbose=0).dtype == np.float32


@pytest.mark.parametrize("part", ["graph", "record"])
def test_without_keras_private_parts_the_model_is_the_same(monkeypatch, part):
    model, expected = trained("functional")
    if part == "graph":  # then the model is a layer of the new one
        monkeypatch.setattr(scaling_layers, "Functional", type(None))
    else:
        record = model._compile_config.serialize()
        monkeypatch.setattr(model, "get_compile_config", lambda: record)
        del model._compile_config
    whole = with_scaling_layers(model, features=FEATURES, targets=TARGETS)
    assert (model in whole.layers) == (part == "graph")
    np.testing.assert_allclose(whole.predict(X, verbose=0), expected, rtol=1e-5)
    assert list(whole.evaluate(X, Y, verbose=0, return_dict=True)) == ["loss", "mae", "mean_absolute_percentage_error"]
