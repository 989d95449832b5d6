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


class Doubled(keras.layers.Layer):
    """Looks at torch's switch between training and prediction."""

    def call(self, x):
        return 2 * x if self.training else x


class Subclass(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.doubled, self.last = MultiHotDense(8), Doubled(), keras.layers.Dense(1, "sigmoid")

    def call(self, x):
        return self.last(self.doubled(self.hidden(x)))


def subclass():
    model = Subclass()
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


MODELS = {
    "dropout": lambda: imdb_classifier(WORDS, model_class=FastModel, dropout=0.5),
    "wide": lambda: imdb_classifier(WORDS, model_class=FastModel, units=(32,), optimizer="adam", dropout=0.2),
    "plain": lambda: imdb_classifier(WORDS, kernel_regularizer="l2", max_norm=1.0, optimizer="sgd", momentum=0.9),
    "own": own_step,
    "averaged": lambda: imdb_classifier(WORDS, optimizer=keras.optimizers.SGD(0.1, use_ema=True)),
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
    together = Together(models)
    figures = together.evaluate(loader(False), verbose=0, return_dict=True)
    outputs = together.predict(loader(False), verbose=0)
    for name, model in models.items():
        assert figures[f"{name}_loss"] == model.evaluate(loader(False), verbose=0, return_dict=True)["loss"]
        np.testing.assert_array_equal(outputs[name], model.predict(loader(False), verbose=0))
    assert together.evaluate(loader(False), verbose=0)[: len(figures)] == list(figures.values())


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


def test_models_that_cannot_train_are_refused():
    inputs = keras.Input((WORDS,))
    uncompiled = FastModel(inputs, keras.layers.Dense(1)(inputs))
    with pytest.raises(InputError, match="expected compiled models, got \\['b'\\]"):
        Together({"a": imdb_classifier(WORDS), "b": uncompiled})
    with pytest.raises(InputError, match="got none"):
        Together({})
