from k3torch import FastModel
from k3torch.training.step_parts import choose_parts, settings_of
import keras
import numpy as np
import torch

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def build(*layers, **compiling):
    inputs = outputs = keras.Input((4,))
    for layer in layers or (keras.layers.Dense(3, activation="relu"), keras.layers.Dense(1)):
        outputs = layer(outputs)
    model = FastModel(inputs, outputs)
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiling})
    model._symbolic_build(data_batch=(X[:1], X[:1, :1]))
    return model


def test_a_supported_model_has_fast_parts_alone():
    choice = choose_parts(build(metrics=["mae"]))
    assert choice.reasons == []
    for name in ("forward", "loss", "update_metrics", "update_weights"):
        assert getattr(choice.parts, name) is not getattr(choice.keras_parts, name)


def test_keras_parts_by_hand():
    parts = choose_parts(build(metrics=["mae"], weighted_metrics=["mse"], loss_weights=[2.0])).keras_parts
    y, y_pred, weights = torch.tensor([[1.0], [3.0]]), torch.tensor([[2.0], [5.0]]), torch.tensor([3.0, 0.0])
    assert parts.loss(y, y_pred, None).item() == 2 * (1 + 4) / 2
    assert parts.loss(y, y_pred, weights).item() == 2 * (3 * 1 + 0 * 4) / 2
    assert parts.log_names == ("loss", "mae", "mse")
    model = build(metrics=["mae"], weighted_metrics=["mse"])
    parts = choose_parts(model).keras_parts
    parts.update_metrics(y, y_pred, weights)
    assert model.get_metrics_result() == {"loss": 0, "mae": 1.5, "mse": 1}


def test_an_unsupported_part_is_keras_own_and_the_others_are_fast():
    choice = choose_parts(build(keras.layers.Dense(3), keras.layers.BatchNormalization(), keras.layers.Dense(1)))
    (reason,) = choice.reasons
    assert "BatchNormalization" in reason
    assert choice.parts.forward is choice.keras_parts.forward
    assert choice.parts.update_weights is not choice.keras_parts.update_weights


def test_a_model_with_its_own_loss_method_has_no_parts():
    class Own(FastModel):
        def compute_loss(self, *arguments, **named):
            return super().compute_loss(*arguments, **named)

    inputs = keras.Input((4,))
    model = Own(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    assert choose_parts(model) == type(choose_parts(model))(None, None, ["compute_loss"])


def test_settings_stay_equal_through_training_and_change_with_what_parts_depend_on():
    model = build(metrics=["mae"])
    model.fit(X, X[:, :1], verbose=0, validation_data=(X, X[:, :1]))
    before = settings_of(model)
    model.fit(X, X[:, :1], verbose=0, validation_data=(X, X[:, :1]), epochs=2)
    model.predict(X, verbose=0)
    assert settings_of(model) == before

    for change in (
        lambda: setattr(model.layers[1], "activation", keras.activations.tanh),
        lambda: setattr(model.layers[1], "trainable", False),
        lambda: setattr(model.optimizer, "clipnorm", 1.0),
        lambda: model.layers[1].register_forward_hook(lambda *_: None),
        lambda: model.compile("sgd", "mae"),
    ):
        before = settings_of(model)
        change()
        assert settings_of(model) != before
