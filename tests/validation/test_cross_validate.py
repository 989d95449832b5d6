"""What models are trained on, what a score is, that both engines agree, and what is refused.

The tests of meaning compare with results computed by NumPy or by hand; ``train_recorded`` shows what models receive.
"""

from concurrent.futures import ThreadPoolExecutor

from k3torch import InputError, cross_validate
from k3torch.validation import engines
from k3torch.validation.result import Interrupted
import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.model_selection import GroupKFold, StratifiedKFold, TimeSeriesSplit

rng = np.random.default_rng(3)
X, Y = rng.normal(3, 2, (22, 3)), rng.normal(size=22)


def build(optimizer="rmsprop"):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=["mae"])
    return model


def both(**arguments):
    return [cross_validate(build, X, Y, epochs=2, batch_size=4, engine=e, **arguments) for e in ("stacked", "fit")]


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


@pytest.mark.parametrize("optimizer", ["adafactor", "nadam", "lion", "ftrl"])
def test_every_optimizer_gives_the_scores_of_fit(optimizer, capsys):
    arguments = {"folds": 2, "epochs": 2, "batch_size": 4}
    expected = cross_validate(lambda: build(optimizer), X, Y, engine="fit", **arguments)
    found = cross_validate(lambda: build(optimizer), X, Y, **arguments)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-3)
    assert len(capsys.readouterr().err.splitlines()) == (found.engine == "fit")
    assert found.engine == "stacked" or optimizer != "nadam"


def test_a_step_that_differs_from_keras_falls_back_to_fit_and_says_in_what(capsys):
    """NumPy's random numbers would be drawn once, when the step is traced."""

    class Noise(keras.layers.Layer):
        def call(self, x):
            return x * (1 + 0.1 * float(np.random.normal()))

    def noisy():
        model = keras.Sequential([keras.Input((3,)), Noise(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    expected = cross_validate(noisy, *_samples(), folds=2, epochs=2, engine="fit")
    found = cross_validate(noisy, *_samples(), folds=2, epochs=2)
    np.testing.assert_array_equal(found.scores, expected.scores)
    said = capsys.readouterr().err
    assert said.startswith("training with fit, fold after fold: its step differs from Keras's own: in training, ")
    assert "the random state of NumPy" in said
    assert said.count("\n") == 1
    with pytest.raises(InputError, match="differs from Keras's own"):
        cross_validate(noisy, *_samples(), folds=2, epochs=1, engine="stacked")


def _tiny(optimizer="sgd", activation="relu"):
    inputs = keras.Input((3,))
    hidden = keras.layers.Dense(4, activation=activation)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    model.compile(optimizer, "mse")
    return model


def _samples(n=40):
    x = np.random.default_rng(0).normal(size=(n, 3))
    return x, x.sum(axis=1)


def test_a_sequential_without_input_and_a_subclass_are_stacked():
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

    for build_model in (sequential, subclass):
        found, expected = (
            cross_validate(build_model, *_samples(), folds=2, epochs=2, engine=e) for e in ("auto", "fit")
        )
        assert found.engine == "stacked"
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)


def test_models_that_differ_are_fitted_and_a_scaled_loss_gives_the_scores_of_fit(capsys):
    activations = iter(["relu", "tanh"])
    assert cross_validate(lambda: _tiny(activation=next(activations)), *_samples(), folds=2, epochs=1).engine == "fit"
    assert "the models differ" in capsys.readouterr().err
    scaled = lambda: _tiny(keras.optimizers.SGD(loss_scale_factor=8.0))  # noqa: E731
    expected = cross_validate(scaled, *_samples(), folds=2, epochs=1, engine="fit")
    np.testing.assert_allclose(
        cross_validate(scaled, *_samples(), folds=2, epochs=1).scores, expected.scores, rtol=1e-5
    )


@pytest.mark.parametrize("method", ["train_step", "test_step", "compute_loss", "compute_metrics"])
def test_a_model_that_overrides_a_step_is_fitted(method, capsys):
    called = []

    def override(self, *args, **kwargs):
        called.append(method)
        return getattr(keras.Model, method)(self, *args, **kwargs)

    kind = type("Net", (keras.Sequential,), {method: override})

    def build():
        model = kind([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    assert cross_validate(build, *_samples(), folds=2, epochs=1).engine == "fit"
    assert called
    assert "training with fit" in capsys.readouterr().err


def test_models_that_differ_in_generated_names_alone_are_stacked(capsys):
    def build():
        inputs = keras.Input((3,))
        model = keras.Model(inputs, keras.layers.Dense(1, activation="sigmoid")(keras.layers.Dense(4)(inputs)))
        model.compile(keras.optimizers.Adam(), "binary_crossentropy", metrics=[keras.metrics.AUC()])
        return model

    x, y = _samples()
    assert cross_validate(build, x, (y > 0) * 1.0, folds=2, epochs=1).engine == "stacked"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"batch_size": 1.5, "seed": 2**32},
            "batch_size as a whole number of 1 or more, got 1.5; expected seed as a whole number from 0 to",
        ),
        ({"class_weight": "balanced"}, "class_weight as a dict"),
        ({"class_weight": {"0": 9}}, "class_weight with integer classes and finite weights of 0 or more, got {.0.: 9}"),
        ({"sample_weight": ["1"] * 40}, "numbers as sample_weight, got .1. in sample 0"),
        ({"callbacks": ["x"]}, "callbacks as a list of Keras callbacks"),
        ({"groups": 5}, "a splitter that takes groups"),
        ({"groups": 5, "folds": GroupKFold(2)}, r"groups of shape \(40,\)"),
        ({"folds": 41}, "from 2 folds to 40"),
        ({"x": [[1, 2], [3]]}, "x as an array of numbers"),
        ({"x": scipy.sparse.eye_array(40, format="lil")}, "x in CSR, CSC or COO format, got lil"),
        ({"y": np.zeros((40, 0))}, "y with at least one number a sample"),
        ({"y": np.full(40, 1e39)}, "finite float32 numbers as y, got 1e.39 in sample 0"),
        ({"build_model": None}, "build_model as a function"),
        ({"build_model": lambda: None}, r"build_model\(\) to return a compiled Keras model, got None"),
    ],
)
def test_arguments_that_cannot_be_used(arguments, message):
    x, y = _samples()
    with pytest.raises(InputError, match=f"^expected {message}"):
        cross_validate(**{"build_model": _tiny, "x": x, "y": y, "folds": 2, **arguments})


def test_a_metric_of_several_values_is_refused():
    def build():
        model = _tiny()
        model.compile("sgd", "mse", metrics=[keras.metrics.F1Score()])
        return model

    with pytest.raises(InputError, match="expected metrics of a single value, got f1_score"):
        cross_validate(build, *_samples(), folds=2, epochs=1)


@pytest.mark.parametrize("shared", ["model", "optimizer"])
def test_a_model_or_optimizer_of_an_earlier_call_is_refused(shared):
    model, optimizer = _tiny(), keras.optimizers.SGD()
    build = (lambda: model) if shared == "model" else (lambda: _tiny(optimizer))
    with pytest.raises(InputError, match="got one of an earlier call"):
        cross_validate(build, *_samples(), folds=2, epochs=1)


def test_an_error_of_fit_reaches_the_caller():
    def two_outputs():
        inputs = keras.Input((3,))
        model = keras.Model(inputs, [keras.layers.Dense(1)(inputs), keras.layers.Dense(1)(inputs)])
        model.compile("sgd", ["mse", "mse"])
        return model

    with pytest.raises(ValueError, match="structure"):
        cross_validate(two_outputs, *_samples(), folds=2, epochs=1)


def train_recorded(x, y, *, batch_size=100, epochs=1, optimizer="sgd", metrics=(), **arguments):
    """Cross-validate, and return the batches that each model received: {"train": [(x, y, ...)], "test": [...]}."""
    received = []

    def build_recorder():
        batches = {"train": [], "test": []}
        received.append(batches)

        class Recorder(keras.Sequential):
            def train_step(self, data):
                batches["train"].append(tuple(part.numpy().copy() for part in data))
                return super().train_step(data)

            def test_step(self, data):
                batches["test"].append(tuple(part.numpy().copy() for part in data))
                return super().test_step(data)

        model = Recorder([keras.layers.Dense(1)])
        model.compile(optimizer, "mse", metrics=list(metrics))
        return model

    cross_validate(build_recorder, x, y, epochs=epochs, batch_size=batch_size, engine="fit", **arguments)
    return received


def orders(recorded):
    """Return the order of samples of each epoch, where x is 0, 1, 2, ... and a batch is an epoch."""
    return [batch[0][:, 0].astype(int).tolist() for batch in recorded["train"]]


TABLE = np.array([[0.0, 10.0], [2.0, 10.0], [4.0, 40.0], [100.0, -7.0]])
LAST = [([0, 1, 2], [3])]
BY_HAND = {  # (training, validation)
    # Columns 0, 2, 4 and 10, 10, 40: means 2 and 20, deviations sqrt(8 / 3) and sqrt(200).
    "fold": (
        np.array([[-2, -10], [0, -10], [2, 20]]) / np.sqrt([8 / 3, 200]),
        np.array([[98, -27]]) / np.sqrt([8 / 3, 200]),
    ),
    "train": tuple(np.split((TABLE - [26.5, 13.25]) / TABLE.std(axis=0), [3])),
    None: (TABLE[:3], TABLE[3:]),
}


@pytest.mark.parametrize("normalize", BY_HAND)
def test_models_receive_features_scaled_by_the_training_samples_or_by_all(normalize):
    (recorded,) = train_recorded(TABLE, np.zeros(4), folds=LAST, normalize=normalize, shuffle=False)
    training, validation = BY_HAND[normalize]
    np.testing.assert_allclose(recorded["train"][0][0], training, rtol=1e-6)
    np.testing.assert_allclose(recorded["test"][0][0], validation, rtol=1e-6)


@pytest.mark.parametrize(("normalize", "leaks"), [("fold", False), ("train", True), (None, False)])
def test_training_does_not_depend_on_the_validation_samples(normalize, leaks):
    changed = TABLE.copy()
    changed[3] = [-5.0, 3.0]
    before, after = (
        train_recorded(x, np.zeros(4), folds=LAST, normalize=normalize, shuffle=False)[0]["train"][0][0]
        for x in (TABLE, changed)
    )
    assert np.array_equal(before, after) is not leaks


def test_each_fold_is_scaled_by_its_own_training_samples():
    for recorded in train_recorded(X, Y, folds=3, normalize="fold"):
        np.testing.assert_allclose(recorded["train"][0][0].mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(recorded["train"][0][0].std(axis=0), 1, rtol=1e-5)
        assert np.abs(recorded["test"][0][0].mean(axis=0)).max() > 1e-3


COUNT = np.arange(12.0)
SAME_TRAINING = [(list(range(10)), [10]), (list(range(10)), [11])]


def test_orders_differ_between_epochs_folds_and_repeats_and_follow_the_seed():
    arguments = {"folds": SAME_TRAINING, "repeats": 2, "epochs": 2, "normalize": None}
    found = [orders(r) for r in train_recorded(COUNT, COUNT, seed=1, **arguments)]
    every = [order for of_model in found for order in of_model]
    assert len(set(map(tuple, every))) == 8  # 2 epochs, 2 folds, 2 repeats
    assert all(sorted(order) == list(range(10)) for order in every)
    assert [orders(r) for r in train_recorded(COUNT, COUNT, seed=1, **arguments)] == found
    assert [orders(r) for r in train_recorded(COUNT, COUNT, seed=2, **arguments)] != found


def test_without_shuffle_the_order_is_that_of_the_fold():
    (recorded,) = train_recorded(COUNT, COUNT, folds=[([3, 1, 2], [0])], epochs=2, shuffle=False, normalize=None)
    assert orders(recorded) == [[3, 1, 2], [3, 1, 2]]


def test_batches_have_the_given_size_but_for_the_last():
    (recorded,) = train_recorded(COUNT, COUNT, folds=SAME_TRAINING[:1], batch_size=4)
    assert [len(batch[0]) for batch in recorded["train"]] == [4, 4, 2]


def test_a_number_of_folds_is_consecutive_in_the_first_repeat_and_shuffled_in_the_second():
    recorded = train_recorded(COUNT, COUNT, folds=3, repeats=2, normalize=None)
    validation = [r["test"][0][0][:, 0].astype(int).tolist() for r in recorded]
    assert validation[:3] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert sorted(np.concatenate(validation[3:])) == list(range(12))
    assert set(map(frozenset, validation[3:])) != set(map(frozenset, validation[:3]))


def test_a_time_series_is_validated_after_its_training_samples_in_each_repeat():
    recorded = train_recorded(COUNT, COUNT, folds=TimeSeriesSplit(3), repeats=2, normalize=None)
    assert len(recorded) == 6
    for of_model in recorded:
        assert of_model["train"][0][0].max() < of_model["test"][0][0].min()


def test_a_generator_of_folds_serves_all_repeats():
    recorded = train_recorded(COUNT, COUNT, folds=(pair for pair in SAME_TRAINING), repeats=2, normalize=None)
    assert [r["test"][0][0].item() for r in recorded] == [10, 11, 10, 11]


def test_a_splitter_without_random_state_follows_the_seed():
    folds, labels = StratifiedKFold(2, shuffle=True), np.arange(12) % 2
    first, again, other = (
        [r["test"][0][0].ravel().tolist() for r in train_recorded(COUNT, labels, folds=folds, seed=s, normalize=None)]
        for s in (1, 1, 2)
    )
    assert first == again != other


@pytest.mark.parametrize("engine", ["stacked", "fit"])
def test_initial_weights_differ_between_folds_and_repeats_and_follow_the_seed(engine):
    def kernels(seed):
        result = cross_validate(
            lambda: _tiny(keras.optimizers.SGD(0.0)),
            *_samples(),
            folds=2,
            repeats=2,
            epochs=1,
            seed=seed,
            engine=engine,
        )
        return [model.get_weights()[0].ravel().tolist() for model in result.models]

    first = kernels(np.int64(1))
    assert len(set(map(tuple, first))) == 4
    assert kernels(1) == first
    assert not set(map(tuple, kernels(2))) & set(map(tuple, first))


@pytest.mark.parametrize("engine", ["stacked", "fit"])
def test_a_score_is_the_first_metric_of_the_returned_model_on_its_validation_samples(engine):
    result = cross_validate(build, X, Y, folds=3, repeats=2, epochs=3, batch_size=4, engine=engine)
    assert (result.metric, result.engine, len(result.models)) == ("mae", engine, 6)
    assert {name: values.shape for name, values in result.history.items()} == dict.fromkeys(
        ("loss", "mae", "val_loss", "val_mae"), (2, 3, 3)
    )
    for fold, validation in enumerate(np.split(np.arange(22), [8, 15])):  # the folds of the first repeat
        errors = result.models[fold].predict(X[validation].astype("float32"), verbose=0)[:, 0] - Y[validation]
        assert result.scores[0, fold] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
        assert result.history["val_loss"][0, fold, -1] == pytest.approx((errors**2).mean(), rel=1e-5)
    np.testing.assert_array_equal(result.scores, result.history["val_mae"][..., -1])
    assert result.validation_ratio == pytest.approx((8 / 14 + 7 / 15 + 7 / 15) / 3)


def evaluated(result, x, y):
    """Return the metric of each returned model on the raw validation samples of its fold."""
    return [
        model.evaluate(x[validation], y[validation], verbose=0, return_dict=True)[result.metric]
        for model, (_, validation) in zip(result.models, result.indices, strict=True)
    ]


@pytest.mark.parametrize("engine", ["stacked", "fit"])
@pytest.mark.parametrize("normalize", [None, "fold", "train"])
def test_returned_models_score_on_raw_samples_as_reported(engine, normalize):
    x = X * [1, 1000, 0.01] + [0, 5000, 0]
    result = cross_validate(build, x, Y, folds=3, repeats=2, epochs=3, batch_size=4, engine=engine, normalize=normalize)
    np.testing.assert_allclose(result.scores.ravel(), evaluated(result, x, Y), rtol=1e-5)
    assert isinstance(result.models[0].layers[0], keras.layers.Normalization) == (normalize is not None)


def test_scores_are_those_of_the_weights_that_a_callback_has_put_back():
    stop = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model = lambda: build(keras.optimizers.Adam(0.5))  # noqa: E731
    arguments = {"folds": 3, "epochs": 20, "batch_size": 4, "normalize_y": True, "callbacks": [stop]}
    result = cross_validate(model, X, Y, **arguments)
    np.testing.assert_allclose(result.scores.ravel(), evaluated(result, X, Y), rtol=1e-4)
    assert not np.allclose(result.scores, np.nanmax(result.history["val_mae"], axis=-1))


@pytest.mark.parametrize("engine", ["stacked", "fit"])
def test_targets_of_any_unit_give_the_same_network(engine):
    """Prices in another currency: all metrics change by the factor of the unit, the loss not at all."""
    arguments = {"folds": 3, "epochs": 3, "batch_size": 4, "engine": engine, "normalize_y": True}

    def with_mse():
        model = build("adam")
        model.compile(model.optimizer, "mse", metrics=["mae", "mse"])
        return model

    prices = 258_000 + 40_000 * Y
    plain, large = (cross_validate(with_mse, X, y, **arguments) for y in (Y, prices))
    np.testing.assert_allclose(large.history["val_loss"], plain.history["val_loss"], rtol=1e-3)
    np.testing.assert_allclose(large.history["val_mae"], 40_000 * plain.history["val_mae"], rtol=1e-3)
    np.testing.assert_allclose(large.history["mse"], 40_000**2 * plain.history["mse"], rtol=1e-3)
    np.testing.assert_allclose(large.scores.ravel(), evaluated(large, X, prices), rtol=1e-4)


def test_targets_are_scaled_by_the_training_samples_alone():
    y = np.array([1.0, 2.0, 3.0, 1000.0])
    (recorded,) = train_recorded(TABLE, y, folds=LAST, normalize_y=True, shuffle=False, metrics=["mae"])
    np.testing.assert_allclose(np.ravel(recorded["train"][0][1]), [-(1.5**0.5), 0, 1.5**0.5], atol=1e-6)
    np.testing.assert_allclose(np.ravel(recorded["test"][0][1]), 998 / (2 / 3) ** 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("metrics", "y", "message"),
    [
        ([], Y, "expected a model with a metric, such as mae, with normalize_y=True"),
        (["mape"], Y, "expected metrics that change with the unit of the targets by a factor"),
        (["mae"], np.stack([Y, Y], axis=1), r"expected one target a sample with normalize_y=True, got .* \(2,\)"),
    ],
)
def test_what_scaled_targets_cannot_be_used_with(metrics, y, message):
    def build_model():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(y.reshape(len(y), -1).shape[1])])
        model.compile("sgd", "mse", metrics=metrics)
        return model

    with pytest.raises(InputError, match=message):
        cross_validate(build_model, X, y, folds=2, epochs=1, normalize_y=True)


def test_a_frame_of_a_user_gives_the_scores_of_its_array():
    frame = pd.DataFrame(
        {"a": X[:, 0], "b": X[:, 1] > 3, "c": pd.array(X[:, 2].round(), dtype="Int64")}, index=range(5, 27)
    )
    found = cross_validate(build, frame, pd.Series(Y, index=range(5, 27)), folds=2, epochs=1, batch_size=4)
    array = np.column_stack([X[:, 0], X[:, 1] > 3, X[:, 2].round()])
    np.testing.assert_array_equal(found.scores, cross_validate(build, array, Y, folds=2, epochs=1, batch_size=4).scores)


def test_without_metrics_the_score_is_the_loss():
    result = cross_validate(_tiny, *_samples(), folds=2, epochs=2, batch_size=8)
    assert result.metric == "loss"
    assert list(result.history) == ["loss", "val_loss"]
    np.testing.assert_array_equal(result.scores, result.history["val_loss"][..., -1])


def _zero():
    """Return a model that predicts 0 and does not learn, so that the squared error is the target squared."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(keras.optimizers.SGD(0.0), "mse", metrics=["mae"], weighted_metrics=["mse"])
    return model


@pytest.mark.parametrize("engine", ["stacked", "fit"])
@pytest.mark.parametrize(
    ("weights", "loss", "val_loss"),
    [
        # Targets 1, 2, 1 to train and 2, 1 to validate; squares 1, 4, 1 and 4, 1.
        ({}, (1 + 4 + 1) / 3, (4 + 1) / 2),
        ({"class_weight": {2: 3.0}}, (1 + 3 * 4 + 1) / 3, (4 + 1) / 2),
        ({"sample_weight": [1, 2, 0, 0.5, 4]}, (1 + 2 * 4 + 0) / 3, (0.5 * 4 + 4 * 1) / 2),
        ({"sample_weight": [1, 2, 0, 0.5, 4], "class_weight": {2: 3.0}}, (1 + 6 * 4 + 0) / 3, (0.5 * 4 + 4 * 1) / 2),
    ],
)
def test_training_has_both_weights_and_validation_those_of_the_samples(engine, weights, loss, val_loss):
    folds = [([0, 1, 2], [3, 4])]
    result = cross_validate(
        _zero, np.arange(5), np.array([1, 2, 1, 2, 1]), folds=folds, epochs=1, batch_size=3, engine=engine, **weights
    )
    assert result.history["loss"].item() == pytest.approx(loss)
    assert result.history["val_loss"].item() == pytest.approx(val_loss)
    assert result.history["val_mae"].item() == pytest.approx(1.5)  # metrics=[...] takes no weights
    if "sample_weight" in weights:
        assert result.history["val_mse"].item() == pytest.approx(6 / 4.5)  # weighted_metrics divide by their sum


def test_callbacks_are_called_for_every_model():
    class Seen(keras.callbacks.Callback):
        def __init__(self):
            super().__init__()
            self.models = []

        def on_train_begin(self, logs=None):
            self.models.append(self.model)

    seen = Seen()
    result = cross_validate(build, X, Y, folds=2, repeats=2, epochs=1, batch_size=8, callbacks=[seen])
    assert result.engine == "fit"
    assert seen.models == result.models


def test_early_stopping_leaves_nan_and_the_score_is_that_of_the_last_epoch_done():
    class StopSecond(keras.callbacks.Callback):
        started = 0

        def on_train_begin(self, logs=None):
            self.started += 1

        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = self.started == 2 and epoch == 1

    result = cross_validate(build, X, Y, folds=2, epochs=4, batch_size=4, callbacks=[StopSecond()])
    curve = result.history["val_mae"][0]
    assert np.isnan(curve).tolist() == [[False] * 4, [False, False, True, True]]
    assert result.scores[0].tolist() == [curve[0, 3], curve[1, 1]]
    stopper = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1)
    result = cross_validate(_zero, np.arange(6), np.ones(6), folds=2, epochs=5, callbacks=[stopper])
    assert result.history["loss"][0].tolist() == [[1, 1, *[pytest.approx(np.nan, nan_ok=True)] * 3]] * 2
    assert result.scores.tolist() == [[1, 1]]


@pytest.mark.parametrize("engine", ["stacked", "fit"])
def test_the_score_of_a_model_that_diverged_is_nan(engine):
    def linear():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(2.0), "mse")  # each step enlarges the error
        return model

    result = cross_validate(linear, *_samples(), folds=2, epochs=30, batch_size=4, engine=engine)
    assert np.isnan(result.history["val_loss"][..., -1]).all()
    assert not np.isnan(result.history["val_loss"][..., 0]).all()
    assert np.isnan(result.scores).all()


def test_an_interrupt_keeps_what_was_done():
    class Interrupt(keras.callbacks.Callback):
        started = 0

        def on_train_begin(self, logs=None):
            self.started += 1

        def on_epoch_begin(self, epoch, logs=None):
            if self.started == 2 and epoch == 1:
                raise KeyboardInterrupt

    with pytest.raises(Interrupted) as interrupted:
        cross_validate(build, X, Y, folds=3, epochs=3, batch_size=4, callbacks=[Interrupt()])
    result = interrupted.value.result
    curve = result.history["val_mae"][0]
    assert np.isnan(curve).tolist() == [[False] * 3, [False, True, True], [True] * 3]
    np.testing.assert_array_equal(result.scores[0], [curve[0, 2], curve[1, 0], np.nan])


def test_a_batch_size_beyond_the_samples_is_one_batch():
    whole, beyond = (cross_validate(build, X, Y, folds=2, epochs=2, batch_size=size) for size in (11, 10**19))
    np.testing.assert_array_equal(whole.history["loss"], beyond.history["loss"])


def test_pandas_tables_of_mixed_columns_are_taken():
    table = pd.DataFrame({"a": np.arange(8.0), "b": list("uvuvuuvv"), "c": pd.array(range(8), dtype="Int64")})
    target = pd.Series(range(8), dtype="Int64", index=range(5, 13))
    dummies = pd.get_dummies(table)
    found, expected = (
        train_recorded(x, y, folds=2, shuffle=False)
        for x, y in ((dummies, target), (dummies.to_numpy(dtype=float), target.to_numpy(dtype=int)))
    )
    for ours, theirs in zip(found, expected, strict=True):
        for part in ("train", "test"):
            np.testing.assert_array_equal(ours[part][0][0], theirs[part][0][0])
            np.testing.assert_array_equal(ours[part][0][1], theirs[part][0][1])


def test_layers_of_an_earlier_call_are_refused():
    """The second fold would continue the training of the first."""
    layers = [keras.layers.Dense(4), keras.layers.Dense(1)]
    nested = keras.Sequential([keras.layers.Dense(2)])

    def same_layers():
        model = keras.Sequential([keras.Input((3,)), *layers])
        model.compile("sgd", "mse")
        return model

    def same_model_inside():
        model = keras.Sequential([keras.Input((3,)), nested, keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    for build_model in (same_layers, same_model_inside):
        with pytest.raises(InputError, match="a model with new layers"):
            cross_validate(build_model, *_samples(), folds=2, epochs=1)


def test_two_threads_give_what_each_gives_alone():
    """Seeds and Keras's registries are global: one cross-validation runs after the other."""
    alone = [cross_validate(lambda: _tiny("adam"), *_samples(), folds=2, epochs=2, seed=seed).scores for seed in (1, 2)]
    with ThreadPoolExecutor(2) as threads:
        both = threads.map(
            lambda seed: cross_validate(lambda: _tiny("adam"), *_samples(), folds=2, epochs=2, seed=seed).scores, (1, 2)
        )
        for found, expected in zip(both, alone, strict=True):
            np.testing.assert_array_equal(found, expected)


def _compiled(*layers, loss="mse", **compiling):
    def build_model():
        model = keras.Sequential([keras.Input((3,)), *(layer() for layer in layers)])
        model.compile("sgd", loss, **compiling)
        return model

    return build_model


DENSE = lambda units=1: lambda: keras.layers.Dense(units, "softmax" if units > 1 else None)  # noqa: E731


@pytest.mark.parametrize("engine", ["auto", "fit"])
@pytest.mark.parametrize(
    ("build_model", "y", "words"),
    [
        (_compiled(DENSE(3), loss="sparse_categorical_crossentropy"), np.arange(40) % 8, "labels and ids below"),
        (_compiled(DENSE(3), loss="sparse_categorical_crossentropy"), np.arange(40) % 3 - 1, "labels and ids below"),
        (_compiled(DENSE(), metrics=["f1_score"]), np.arange(40) % 2, "metrics of a single value, got f1_score"),
        (_tiny(), np.arange(40), "build_model as a function without arguments"),
        (lambda units: _tiny(), np.arange(40), "build_model as a function without arguments"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_one_line(build_model, y, words, engine):
    x, _ = _samples()
    with pytest.raises(InputError, match=words) as caught:
        cross_validate(build_model, x, y, folds=2, epochs=1, engine=engine)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_inputs_of_another_width_are_one_line():
    x, y = _samples()
    with pytest.raises(InputError, match=r"takes x of shape \(None, 2\)"):
        cross_validate(lambda: _tiny(), x[:, :2], y, folds=2, epochs=1)


@pytest.mark.parametrize("change", ["loss attribute", "weight regularizer", "layer attribute", "hook"])
def test_models_that_no_configuration_tells_apart_have_the_scores_of_fit(change):
    """The second model differs from the first in what get_config() does not hold."""

    class Weighted(keras.losses.Loss):
        factor = 1.0

        def call(self, y, y_pred):
            return self.factor * keras.ops.mean(keras.ops.square(y - y_pred), axis=-1)

    class Scales(keras.layers.Layer):
        factor = 1.0

        def call(self, x):
            return x * self.factor

    def builder():
        number = 0

        def build_model():
            nonlocal number
            number += 1
            loss, dense, scales = Weighted(), keras.layers.Dense(1), Scales()
            model = keras.Sequential([keras.Input((3,)), scales, dense])
            if number == 2:
                if change == "loss attribute":
                    loss.factor = 3.0
                if change == "weight regularizer":
                    dense.kernel.regularizer = keras.regularizers.L2(1.0)
                if change == "layer attribute":
                    scales.factor = 3.0
                if change == "hook":
                    scales.register_forward_hook(lambda module, args, output: 2 * output)
            model.compile("sgd", loss)
            return model

        return build_model

    arguments = {"folds": 2, "epochs": 2, "batch_size": 4}
    expected = cross_validate(builder(), *_samples(), engine="fit", **arguments)
    found = cross_validate(builder(), *_samples(), **arguments)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4)


def test_own_fit_and_own_resets_fall_back_to_fit():
    class OneEpoch(keras.Sequential):
        def fit(self, *args, **kwargs):
            return super().fit(*args, **{**kwargs, "epochs": 1})

    class Keeps(keras.metrics.MeanAbsoluteError):
        def reset_state(self):
            pass

    def one_epoch():
        model = OneEpoch([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    def keeps():
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=[Keeps(name="keeps")])
        return model

    for build_model in (one_epoch, keeps):
        assert cross_validate(build_model, *_samples(), folds=2, epochs=2).engine == "fit"
