"""Models trained together end as each of them does alone, to the last bit."""

from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.models.layers import MultiHotDense
from k3torch.training.step import FastModel
from k3torch.training.together import Together
import keras
import numpy as np
import pytest
import torch

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:.*own way")
WORDS = 40


def loader(shuffle=True):
    draw = np.random.default_rng(0)
    ids = draw.integers(0, WORDS, 100 * 8)
    bags = bag_of_words(ids, np.arange(101) * 8, WORDS)
    return bag_loader(BagDataset(bags, bags[:, :5].sum(1) > 1), 16, shuffle=shuffle, seed=3)


def own_step():
    class Net(FastModel):
        def compute_loss(self, *args, **kwargs):
            return 2 * super().compute_loss(*args, **kwargs)

    return imdb_classifier(WORDS, model_class=Net)


class Noisy(keras.layers.Layer):
    """Looks at torch's switch between training and prediction, and draws random numbers in both."""

    def call(self, x):
        return torch.nn.functional.dropout(2 * x if self.training else x, 0.2)


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.noisy, self.last = MultiHotDense(8), Noisy(), keras.layers.Dense(1, "sigmoid")

    def call(self, x):
        return self.last(self.noisy(self.hidden(x)))

    def predict_step(self, data):
        return 100 * super().predict_step(data)

    def reset_metrics(self):
        super().reset_metrics()
        self.batches = 0

    def train_step(self, data):
        self.batches += 1
        return super().train_step(data) | {"batches": self.batches}


def subclass():
    model = Subclass()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


MODELS = {
    "dropout": lambda: imdb_classifier(WORDS, model_class=FastModel, dropout=0.5),
    "wide": lambda: imdb_classifier(WORDS, model_class=FastModel, units=(32,), optimizer="adam", dropout=0.2),
    "plain": lambda: imdb_classifier(WORDS, kernel_regularizer="l2", max_norm=1.0, optimizer="sgd", momentum=0.9),
    "own": own_step,
    "subclass": subclass,
}


@pytest.fixture
def models():
    made = {}
    for name, build in MODELS.items():
        keras.utils.set_random_seed(1)
        made[name] = build()
    return made


def fitted(model, epochs=2, **how):
    return model.fit(loader(), validation_data=loader(False), epochs=epochs, verbose=0, shuffle=False, **how).history


def test_each_ends_as_it_does_alone(models):
    keras.utils.set_random_seed(7)
    together = Together(models)
    found, more = fitted(together), fitted(together, epochs=1)

    for name, build in MODELS.items():
        keras.utils.set_random_seed(1)
        alone = build()
        keras.utils.set_random_seed(7)
        for history, all_histories in ((fitted(alone), found), (fitted(alone, epochs=1), more)):
            for key, values in history.items():
                prefix, figure = ("val_", key[4:]) if key.startswith("val_") else ("", key)
                assert all_histories[f"{prefix}{name}_{figure}"] == values
        for mine, by_itself in zip(models[name].variables, alone.variables, strict=True):
            np.testing.assert_array_equal(np.array(mine), np.array(by_itself))
        for mine, by_itself in zip(models[name].optimizer.variables, alone.optimizer.variables, strict=True):
            np.testing.assert_array_equal(np.array(mine), np.array(by_itself))


def test_what_all_report_is_reported_as_their_mean(models):
    history = fitted(Together(models))
    for figure in ("val_loss", "accuracy"):
        prefix, plain = ("val_", figure[4:]) if figure.startswith("val_") else ("", figure)
        each = [history[f"{prefix}{name}_{plain}"] for name in models]
        np.testing.assert_allclose(history[figure], np.mean(each, axis=0), rtol=1e-6)


def test_evaluate_and_predict_go_by_name(models):
    keras.utils.set_random_seed(7)
    together = Together(models)
    figures = together.evaluate(loader(False), verbose=0, return_dict=True)
    outputs = together.predict(loader(False), verbose=0)
    for name, model in models.items():
        keras.utils.set_random_seed(7)
        assert figures[f"{name}_loss"] == model.evaluate(loader(False), verbose=0, return_dict=True)["loss"]
        np.testing.assert_array_equal(outputs[name], model.predict(loader(False), verbose=0))
    keras.utils.set_random_seed(7)
    assert Together(models).evaluate(loader(False), verbose=0) == list(figures.values())


def test_a_callback_sees_every_figure_of_every_batch(models):
    seen = []
    callback = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["dropout_loss"]))
    fitted(Together(models), epochs=1, callbacks=[callback])
    assert len(seen) == 7
    assert all(float(loss) > 0 for loss in seen)


def test_no_figure_is_worked_out_that_nobody_reads(models, monkeypatch):
    calls = []
    monkeypatch.setattr(type(models["dropout"]), "get_metrics_result", lambda self: calls.append(self) or {"loss": 1.0})
    fitted(Together(models), epochs=1)
    assert sum(model is models["dropout"] for model in calls) < 14  # the batches of training and validation


def test_afterwards_each_model_is_its_own_again(models):
    fitted(Together(models), epochs=1)
    x, y = next(iter(loader(False)))
    for model in models.values():
        assert model.train_on_batch(x, y, return_dict=True)["loss"] > 0


def test_a_callback_stops_all_models_and_brings_back_the_best(models):
    stop = keras.callbacks.EarlyStopping("val_loss", patience=0, min_delta=9, restore_best_weights=True)
    checkpoint = {}
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, _: checkpoint.setdefault("first", models["dropout"].get_weights())
    )
    history = fitted(Together(models), epochs=5, callbacks=[stop, keep])
    assert len(history["loss"]) == 2
    for now, first in zip(models["dropout"].get_weights(), checkpoint["first"], strict=True):
        np.testing.assert_array_equal(now, first)


def test_weights_can_be_saved_in_between(models, tmp_path):
    path = tmp_path / "{epoch}.weights.h5"
    together = Together(models)
    fitted(together, callbacks=[keras.callbacks.ModelCheckpoint(str(path), save_weights_only=True)])
    last = models["wide"].get_weights()
    together.load_weights(tmp_path / "1.weights.h5")
    assert (models["wide"].get_weights()[0] != last[0]).any()
    together.load_weights(tmp_path / "2.weights.h5")
    np.testing.assert_array_equal(models["wide"].get_weights()[0], last[0])


def uncompiled():
    inputs = keras.Input((WORDS,))
    return keras.Model(inputs, keras.layers.Dense(1)(inputs))


def sharing():
    first = imdb_classifier(WORDS)
    second = keras.Model(first.input, first.output)
    second.compile("sgd", "mse")
    return {"a": first, "b": second}


REFUSED = {
    "got none": dict,
    "expected compiled models, got 'b'": lambda: {"a": imdb_classifier(WORDS), "b": uncompiled()},
    "got 'a' with use_ema": lambda: {"a": imdb_classifier(WORDS, optimizer=keras.optimizers.SGD(use_ema=True))},
    "got 'val': choose another": lambda: {"val": imdb_classifier(WORDS)},
    "got some that share them": sharing,
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_would_go_wrong_is_refused(message):
    with pytest.raises(InputError, match=message):
        Together(REFUSED[message]())


def test_it_is_not_compiled_itself(models):
    with pytest.raises(InputError, match="compile each of its models"):
        Together(models).compile("sgd", "mse")
