"""Both engines agree; what cannot be stacked says why; bad input is refused."""

from k3torch import InputError, cross_validate
from k3torch.validation import engines
from k3torch.validation.curves import best_epoch, smooth
from k3torch.validation.folds import make_folds
import keras
import numpy as np
import pytest
from sklearn.model_selection import GroupKFold, StratifiedKFold

rng = np.random.default_rng(3)
X, Y = rng.normal(3, 2, (22, 3)), rng.normal(size=22)


def build(optimizer="rmsprop"):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def both(**choices):
    return [cross_validate(build, X, Y, epochs=2, batch_size=4, engine=e, **choices) for e in ("stacked", "fit")]


@pytest.mark.parametrize("normalize", ["fold", "train", None])
def test_engines_agree_on_uneven_folds_and_repeats(normalize):
    stacked, fit = both(folds=4, repeats=2, normalize=normalize)
    assert stacked.scores.shape == (2, 4)
    assert list(stacked.history) == ["loss", "mae", "val_loss", "val_mae"]
    for name, values in stacked.history.items():
        np.testing.assert_allclose(values, fit.history[name], rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(stacked.scores, stacked.history["val_mae"][..., -1])
    assert stacked.interval.low < stacked.mean < stacked.interval.high


def test_class_and_sample_weights_agree():
    stacked, fit = both(folds=2, sample_weight=np.linspace(0.5, 2, 22), class_weight={0: 3.0})
    np.testing.assert_allclose(stacked.scores, fit.scores, rtol=1e-3)


def test_a_stack_cut_into_several_gives_the_same(monkeypatch):
    whole = cross_validate(build, X, Y, epochs=2, batch_size=4)
    monkeypatch.setattr(engines, "STACK_BYTES", 1)
    parts = cross_validate(build, X, Y, epochs=2, batch_size=4)
    np.testing.assert_allclose(whole.scores, parts.scores, rtol=1e-4)


def test_the_same_seed_gives_the_same_digits():
    first, second = (cross_validate(build, X, Y, epochs=2, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first.history["val_loss"], second.history["val_loss"])


@pytest.mark.parametrize("optimizer", ["Adafactor", "Nadam"])
def test_what_is_not_exact_falls_back_and_says_why(optimizer, capsys):
    result = cross_validate(lambda: build(optimizer.lower()), X, Y, folds=2, epochs=1, batch_size=4)
    assert result.engine == "fit"
    assert optimizer in capsys.readouterr().err
    with pytest.raises(InputError, match=optimizer):
        cross_validate(lambda: build(optimizer.lower()), X, Y, folds=2, epochs=1, engine="stacked")


def test_folds_are_consecutive_then_shuffled():
    first, later = make_folds(4, X, Y), make_folds(4, X, Y, repeat=1)
    assert next(part.tolist() for _, part in first) == [0, 1, 2, 3, 4, 5]
    assert sorted(np.concatenate([part for _, part in later])) == list(range(22))
    assert later[0][1].tolist() != first[0][1].tolist()


def test_stratified_and_grouped_folds():
    labels, groups = np.arange(22) % 2, np.arange(22) // 3
    for _, part in make_folds(StratifiedKFold(2), X, labels, repeat=1):
        assert abs(labels[part].mean() - 0.5) < 0.1
    for training, part in make_folds(GroupKFold(3), X, Y, groups, repeat=1):
        assert not set(groups[training]) & set(groups[part])


@pytest.mark.parametrize("folds", [1, 23, "four", [], [([0], [0])], [([0], [22])], [([0], [])]])
def test_bad_folds_are_refused(folds):
    with pytest.raises(InputError, match="expected"):
        cross_validate(build, X, Y, folds=folds)


def test_smoothing_and_the_best_epoch():
    np.testing.assert_allclose(smooth([1.0, 0.0, 0.0]), [1.0, 0.9, 0.81])
    assert best_epoch(np.abs(np.arange(60) - 30.0)) > 31


def _tiny(optimizer="sgd", activation="relu"):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, activation=activation)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(optimizer, "mse")
    return model


def _rows(n=40):
    x = np.random.default_rng(0).normal(size=(n, 3))
    return x, x.sum(axis=1)


def test_a_sequential_without_input_is_stacked_and_a_subclass_is_fitted():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    def sequential():
        model = keras.Sequential([keras.layers.Dense(4), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def subclass():
        model = Net()
        model.compile("sgd", "mse")
        return model

    scores = {e: cross_validate(sequential, *_rows(), folds=2, epochs=2, engine=e).scores for e in ("auto", "fit")}
    assert cross_validate(sequential, *_rows(), folds=2, epochs=1).engine == "stacked"
    np.testing.assert_allclose(scores["auto"], scores["fit"], rtol=1e-5)
    assert cross_validate(subclass, *_rows(), folds=2, epochs=1).engine == "fit"


def test_models_that_differ_or_scale_the_loss_are_fitted(capsys):
    activations = iter(["relu", "tanh"])
    assert cross_validate(lambda: _tiny(activation=next(activations)), *_rows(), folds=2, epochs=1).engine == "fit"
    assert "the models differ" in capsys.readouterr().err
    scaled = lambda: _tiny(keras.optimizers.SGD(loss_scale_factor=8.0))  # noqa: E731
    assert cross_validate(scaled, *_rows(), folds=2, epochs=1).engine == "fit"


@pytest.mark.parametrize("method", ["train_step", "test_step", "compute_loss", "compute_metrics"])
def test_a_model_with_a_method_of_its_own_is_fitted(method, capsys):
    called = []

    def own(self, *args, **kwargs):
        called.append(method)
        return getattr(keras.Model, method)(self, *args, **kwargs)

    kind = type("Net", (keras.Sequential,), {method: own})

    def build():
        model = kind([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    assert cross_validate(build, *_rows(), folds=2, epochs=1).engine == "fit"
    assert called
    assert "of its own" in capsys.readouterr().err


def test_models_of_one_plan_are_stacked_whatever_keras_numbers(capsys):
    def build():
        inputs = keras.Input((3,))
        model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Dense(4)(inputs)))
        model.compile(keras.optimizers.Adam(), "binary_crossentropy", metrics=[keras.metrics.AUC()])
        return model

    x, y = _rows()
    assert cross_validate(build, x, (y > 0) * 1.0, folds=2, epochs=1).engine == "stacked"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 1.5}, "expected batch_size as a whole number of 1 or more, got 1.5"),
        ({"epochs": True}, "expected epochs as a whole number of 1 or more, got True"),
        ({"seed": -1}, "expected seed as a whole number"),
        ({"class_weight": "balanced"}, "expected class_weight as class to number"),
        ({"class_weight": {0: -1}}, "expected class_weight as class to number"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    with pytest.raises(InputError, match=message):
        cross_validate(_tiny, *_rows(), folds=2, **arguments)


def test_a_metric_of_several_numbers_is_refused():
    def build():
        model = _tiny()
        model.compile("sgd", "mse", metrics=[keras.metrics.F1Score()])
        return model

    with pytest.raises(InputError, match="expected metrics of one number, got f1_score"):
        cross_validate(build, *_rows(), folds=2, epochs=1)


@pytest.mark.parametrize("shared", ["model", "optimizer"])
def test_a_model_or_optimizer_that_is_not_new_is_refused(shared):
    model, optimizer = _tiny(), keras.optimizers.SGD()
    build = (lambda: model) if shared == "model" else (lambda: _tiny(optimizer))
    with pytest.raises(InputError, match="anew"):
        cross_validate(build, *_rows(), folds=2, epochs=1)


def test_what_fit_refuses_is_told_in_its_own_words():
    def two_outputs():
        inputs = keras.Input((3,))
        model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
        model.compile("sgd", ["mse", "mse"])
        return model

    with pytest.raises(ValueError, match="structure"):
        cross_validate(two_outputs, *_rows(), folds=2, epochs=1)
