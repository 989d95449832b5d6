"""The builders: shapes, where every argument arrives in the model, and the message for each wrong one."""

from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor, digit_classifier, imdb_classifier, table_network, vanilla_model
from k3torch.models.layers import SparseDense
import keras
import numpy as np
import pytest
import torch


def _dense(model):
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]


def _numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(
    ("build", "shapes", "activations", "loss"),
    [
        (imdb_classifier, [(10000, 16), (16, 16), (16, 1)], ["relu", "relu", "sigmoid"], "binary_crossentropy"),
        (boston_regressor, [(13, 64), (64, 64), (64, 1)], ["relu", "relu", "linear"], "mse"),
        (digit_classifier, [(784, 32), (32, 10)], ["relu", "softmax"], "sparse_categorical_crossentropy"),
    ],
)
def test_the_lectures_networks(build, shapes, activations, loss):
    model = build()
    layers = _dense(model)
    assert [tuple(layer.kernel.shape) for layer in layers] == shapes
    assert [layer.activation.__name__ for layer in layers] == activations
    assert model.loss == loss
    assert isinstance(model.optimizer, keras.optimizers.RMSprop)


@pytest.mark.parametrize("build", [imdb_classifier, boston_regressor, digit_classifier, vanilla_model])
def test_sequential_and_functional_give_the_same_output_for_the_same_weights(build):
    arguments = {"features": 5} if build is vanilla_model else {}
    functional = build(**arguments, dropout=0.5)
    sequential = build(**arguments, dropout=0.5, model_class=keras.Sequential)
    assert isinstance(sequential, keras.Sequential)
    assert not isinstance(functional, keras.Sequential)
    sequential.set_weights(functional.get_weights())
    x = np.random.default_rng(0).normal(size=(7, functional.input_shape[1])).astype("float32")
    np.testing.assert_array_equal(_numpy(sequential(x)), _numpy(functional(x)))


def test_a_subclass_of_model_is_built_through_the_functional_api():
    class Mine(keras.Model):
        pass

    model = boston_regressor(model_class=Mine)
    assert isinstance(model, Mine)
    assert _numpy(model(np.zeros((2, 13), "float32"))).shape == (2, 1)


def test_a_layers_input_shape_follows_the_layer_before_it():
    model = keras.Sequential([keras.layers.Dense(32), keras.layers.Dense(16)])
    assert model.weights == []
    model.build((None, 784))
    assert [tuple(w.shape) for w in model.weights] == [(784, 32), (32,), (32, 16), (16,)]


def test_every_argument_reaches_its_layer():
    model = vanilla_model(
        4,
        (6, 5),
        activation="tanh",
        dropout=0.25,
        kernel_initializer="ones",
        kernel_regularizer=keras.regularizers.L1(0.1),
        bias_regularizer="l2",
        activity_regularizer=keras.regularizers.L2(0.3),
        max_norm=2.0,
    )
    names = [type(layer).__name__ for layer in model.layers]
    assert names == ["InputLayer", "Dense", "Dropout", "Dense", "Dropout", "Dense"]
    *hidden, last = _dense(model)
    assert [layer.units for layer in hidden] == [6, 5]
    for layer in hidden:
        assert layer.activation.__name__ == "tanh"
        assert (_numpy(layer.kernel) == 1).all()
        assert float(layer.kernel_regularizer.l1) == pytest.approx(0.1)
        assert isinstance(layer.bias_regularizer, keras.regularizers.L2)
        assert float(layer.activity_regularizer.l2) == pytest.approx(0.3)
        assert layer.kernel_constraint.max_value == 2.0
    assert (last.kernel_regularizer, last.kernel_constraint) == (None, None)
    assert [layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("bad", "right"),
    [
        ({"optimizer": "rmsporp"}, "rmsprop"),
        ({"optimizer": "SDG"}, "sgd"),
        ({"activation": "ReLU"}, "relu"),
        ({"activation": "rleu"}, "relu"),
        ({"kernel_initializer": "glorot_unifrom"}, "glorot_uniform"),
        ({"kernel_regularizer": "l1_l2"}, "l1l2"),
        ({"loss": "binary_crosentropy"}, "binary_crossentropy"),
        ({"metrics": ["acuracy"]}, "accuracy"),
    ],
)
def test_a_misspelt_name_suggests_the_right_one(bad, right):
    with pytest.raises(InputError, match=f"did you mean '{right}'"):
        imdb_classifier(10, **bad)


def test_a_name_similar_to_none_gets_the_known_names():
    with pytest.raises(
        InputError, match="optimizer as a known name, got 'xyz', known: adadelta adafactor adagrad adam"
    ):
        imdb_classifier(10, optimizer="xyz")


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"num_words": 0}, "features as a whole number of 1 or more, got 0"), ({"units": 8}, "units as a list of widths")],
)
def test_a_builder_checks_its_arguments(bad, words):
    with pytest.raises(InputError, match=words):
        imdb_classifier(**{"num_words": 10} | bad)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"kernel_initializer": lambda shape, dtype: "a"}, "a model, got: "),
        (
            {"model_class": type("Own", (keras.Model,), {"__init__": lambda self: None})},
            "a model, got: .*takes 1 positional argument",
        ),
    ],
)
def test_what_only_keras_notices_is_one_line(bad, words):
    with pytest.raises(InputError, match=f"expected arguments of which Keras builds {words}") as caught:
        vanilla_model(4, (3, 3), **bad)
    assert "\n" not in str(caught.value)


def test_without_hidden_layers_the_last_layer_is_of_the_class_of_the_first():
    model = imdb_classifier(5, units=())
    assert [type(layer) for layer in _dense(model)] == [SparseDense]
    assert model.train_on_batch(torch.eye(5).to_sparse_csr(), np.zeros((5, 1))) is not None


def test_widths_may_come_from_numpy():
    assert [layer.units for layer in _dense(imdb_classifier(10, units=np.array([4, 3])))] == [4, 3, 1]


def test_all_bad_arguments_are_reported_at_once():
    with pytest.raises(InputError) as caught:
        boston_regressor(units=(4, 0), activation="rel", loss="mss", dropout=1.0, max_norm=0, learning_rate="fast")
    for word in (
        "1 or more, got 0",
        "'relu'",
        "'mse'",
        "got 1.0",
        "got 'fast'",
        "max_norm as a float32 number above 0, got 0",
    ):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_categorical_and_sparse_categorical_crossentropy_agree():
    sparse = digit_classifier()
    one_hot = digit_classifier(loss="categorical_crossentropy")
    one_hot.set_weights(sparse.get_weights())
    rng = np.random.default_rng(0)
    x, labels = rng.random((20, 784), "float32"), rng.integers(0, 10, 20)
    first = sparse.evaluate(x, labels, verbose=0)
    second = one_hot.evaluate(x, np.eye(10, dtype="float32")[labels], verbose=0)
    np.testing.assert_allclose(first, second, rtol=1e-5)


def test_imdb_classifier_gives_the_same_output_for_csr_and_dense_input():
    model = imdb_classifier(50)
    dense = (torch.rand(8, 50, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    np.testing.assert_allclose(_numpy(model(dense.to_sparse_csr())), _numpy(model(dense)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("classes", "outputs", "activation", "loss", "metric"),
    [(0, 1, "linear", "mse", "mae"), (2, 1, "sigmoid", "binary_crossentropy", "accuracy"),
     (3, 3, "softmax", "sparse_categorical_crossentropy", "accuracy")],
)  # fmt: skip
def test_the_network_of_a_table_has_an_output_for_its_task(classes, outputs, activation, loss, metric):
    model = table_network(5, classes, units=(4,))
    assert (model.input_shape, model.output_shape) == ((None, 5), (None, outputs))
    assert model.layers[-1].activation.__name__ == activation
    assert model.loss == loss
    x, y = np.zeros((6, 5)), np.arange(6) % max(classes, 2)
    assert list(model.fit(x, y, verbose=0).history) == (["loss", metric] if metric == "mae" else [metric, "loss"])
