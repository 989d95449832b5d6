"""FastModel against Keras's own steps: weights, optimizer variables, metrics and logs after several batches."""

import re
import warnings

from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.loaders import class_weights
from k3torch.models.layers import SparseDense
from k3torch.training import epoch_bar, progress
from k3torch.training.fast_model import FastModel, FastSequential
import keras
from keras import losses, optimizers
import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # two test processes share two cores
WORDS, ROWS, BATCH = 50, 200, 32
DRAW = np.random.default_rng(0)
DENSE = (DRAW.random((ROWS, WORDS)) < 0.2).astype("float32")
LABELS = (DENSE[:, :5].sum(1) > 1).astype("float32")


def loader(weights=None, shuffle=False):
    rows, ids = np.nonzero(DENSE)
    bags = bag_of_words(ids, np.searchsorted(rows, np.arange(ROWS + 1)), WORDS)
    return bag_loader(BagDataset(bags, LABELS, weights), BATCH, shuffle=shuffle, seed=3)


def build(kind, optimizer="rmsprop", loss="binary_crossentropy", outputs=1, layers=None, **compiling):
    """The same model, weights and seeds for each kind of model class."""
    keras.utils.set_random_seed(1)
    inputs = x = keras.Input((WORDS,))
    last = keras.layers.Dense(outputs, activation="sigmoid" if outputs == 1 else "softmax")
    for layer in [*(layers() if layers else [SparseDense(6, activation="relu")]), last]:
        x = layer(x)
    model = kind(inputs, x)
    model.compile(optimizer() if callable(optimizer) else optimizer, loss, **{"metrics": ["accuracy"], **compiling})
    return model


def both_fitted(*args, epochs=2, weights=None, data=None, **kwargs):
    """Keras's and ours after the same training, with their histories."""
    found = []
    for kind in (keras.Model, FastModel):
        model = build(kind, *args, **kwargs)
        batches, validation = data or (loader(weights, shuffle=True), loader(weights))
        history = model.fit(batches, validation_data=validation, epochs=epochs, verbose=0, shuffle=False).history
        found.append((model, history))
    return found


def assert_same(found, rtol=1e-4, atol=1e-5):
    (theirs, their_history), (ours, our_history) = found
    for a, b in zip(theirs.variables, ours.variables, strict=True):
        np.testing.assert_allclose(np.array(b), np.array(a), rtol=rtol, atol=atol, err_msg=a.path)
    for a, b in zip(theirs.optimizer.variables, ours.optimizer.variables, strict=True):
        np.testing.assert_allclose(np.array(b), np.array(a), rtol=1e-3, atol=atol, err_msg=a.path)
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations) > 0
    assert list(our_history) == list(their_history)
    for name, values in their_history.items():
        np.testing.assert_allclose(our_history[name], values, rtol=1e-4, atol=1e-5, err_msg=name)


OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.1),
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "nesterov": lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "rmsprop momentum": lambda: optimizers.RMSprop(0.001, momentum=0.5),
    "rmsprop centered": lambda: optimizers.RMSprop(0.001, centered=True),
    "rmsprop decay": lambda: optimizers.RMSprop(0.01, weight_decay=0.1),
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "adagrad": lambda: optimizers.Adagrad(0.05),
    "adadelta": lambda: optimizers.Adadelta(1.0),
    "adamax": lambda: optimizers.Adamax(0.01),
    "nadam": lambda: optimizers.Nadam(0.01),
    "ftrl": lambda: optimizers.Ftrl(0.1),
    "lion": lambda: optimizers.SGD(0.1) if not hasattr(optimizers, "Lion") else optimizers.Lion(0.001),
    "adafactor": lambda: optimizers.Adafactor(0.01),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)),
}
KERAS_PARTS = {
    "clipnorm": lambda: optimizers.RMSprop(0.01, clipnorm=0.05),
    "clipvalue": lambda: optimizers.Adam(0.01, clipvalue=0.01),
    "global_clipnorm": lambda: optimizers.SGD(0.1, global_clipnorm=0.05),
    "accumulation": lambda: optimizers.RMSprop(0.01, gradient_accumulation_steps=3),
    "ema": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.8),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_supported_and_gives_keras_numbers(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*falls back to Keras")
        found = both_fitted(OPTIMIZERS[name])

    assert_same(found)


@pytest.mark.parametrize("name", KERAS_PARTS)
def test_what_is_not_supported_falls_back_to_keras_and_says_so_once(name):
    with pytest.warns(UserWarning, match="falls back to Keras for") as said:
        found = both_fitted(KERAS_PARTS[name])

    assert len([w for w in said if "falls back" in str(w.message)]) == 1
    assert_same(found)


@pytest.mark.parametrize(
    "loss",
    [
        "binary_crossentropy",
        "mse",
        "mae",
        "hinge",
        losses.BinaryCrossentropy(label_smoothing=0.1),
        losses.BinaryFocalCrossentropy(),
        losses.Huber(),
    ],
    ids=lambda loss: loss if isinstance(loss, str) else loss.name,
)
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_and_metrics_with_and_without_weights(loss, weighted):
    weights = class_weights(LABELS, {0: 0.5, 1: 2.0}) if weighted else None
    metrics = [
        "accuracy",
        "mae",
        "mse",
        "binary_crossentropy",
        keras.metrics.BinaryCrossentropy(name="smooth", label_smoothing=0.1),
        keras.metrics.BinaryAccuracy(name="strict", threshold=0.7),
        keras.metrics.AUC(),
    ]

    found = []
    for kind in (keras.Model, FastModel):
        chosen = [type(m).from_config(m.get_config()) if isinstance(m, keras.metrics.Metric) else m for m in metrics]
        model = build(kind, loss=loss, metrics=chosen, weighted_metrics=["accuracy"])
        found.append((model, model.fit(loader(weights), validation_data=loader(weights), epochs=2, verbose=0,
                                       shuffle=False).history))  # fmt: skip

    assert_same(found)


@pytest.mark.parametrize("loss", ["categorical_crossentropy", "sparse_categorical_crossentropy"])
def test_several_classes(loss):
    classes = DRAW.integers(0, 3, ROWS)
    targets = np.eye(3, dtype="float32")[classes] if loss.startswith("cat") else classes.astype("float32")
    data = [
        torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.from_numpy(DENSE), torch.from_numpy(targets)), batch_size=BATCH
        )
    ] * 2

    assert_same(both_fitted(loss=loss, outputs=3, data=data))


LAYERS = {
    "regularised": lambda: [SparseDense(6, activation="relu", kernel_regularizer=keras.regularizers.L1L2(0.01, 0.01))],
    "dropout": lambda: [SparseDense(6, activation="relu"), keras.layers.Dropout(0.5), keras.layers.Dense(4, "tanh")],
    "constraint": lambda: [SparseDense(6, kernel_constraint=keras.constraints.MaxNorm(0.2))],
    "frozen": lambda: [SparseDense(6), keras.layers.Dense(4, trainable=False)],
}
KERAS_LAYERS = {
    "activity": lambda: [SparseDense(6, activity_regularizer="l2")],
    "batch norm": lambda: [SparseDense(6), keras.layers.BatchNormalization()],
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_that_are_supported(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*falls back to Keras")
        found = both_fitted(layers=LAYERS[name])

    assert_same(found)


@pytest.mark.parametrize("name", KERAS_LAYERS)
def test_layers_that_need_their_call_method_keep_it(name):
    with pytest.warns(UserWarning, match="falls back to Keras for"):
        found = both_fitted(layers=KERAS_LAYERS[name])

    assert_same(found)


def test_mixed_bfloat16():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = both_fitted(epochs=1)
    finally:
        keras.config.set_dtype_policy("float32")

    assert_same(found, rtol=2e-2, atol=2e-3)


def test_dense_arrays_and_sequential():
    found = []
    for kind in (keras.Sequential, FastSequential):
        keras.utils.set_random_seed(1)
        model = kind([keras.Input((WORDS,)), keras.layers.Dense(4, "relu"), keras.layers.Dense(1, "sigmoid")])
        model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
        found.append((model, model.fit(DENSE, LABELS, epochs=2, shuffle=False, verbose=0,
                                       validation_split=0.2).history))  # fmt: skip

    assert_same(found)


def test_train_and_test_on_batch_take_numpy():
    models = [build(kind) for kind in (keras.Model, FastModel)]

    for method in ("train_on_batch", "test_on_batch"):
        theirs, ours = (getattr(model, method)(DENSE, LABELS) for model in models)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    np.testing.assert_allclose(
        models[1].evaluate(loader(), verbose=0), models[0].evaluate(loader(), verbose=0), rtol=1e-5
    )


class Reader(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(dict(logs))


def test_callbacks_that_read_batches_get_numbers_and_others_cost_none(monkeypatch):
    seen = []
    for kind in (keras.Model, FastModel):
        reader = Reader()
        build(kind).fit(loader(), epochs=1, verbose=0, shuffle=False, callbacks=[reader])
        seen.append(reader.seen)
    for theirs, ours in zip(*seen, strict=True):
        assert ours.keys() == theirs.keys()
        np.testing.assert_allclose(list(ours.values()), list(theirs.values()), rtol=1e-5)

    model, asked = build(FastModel), []
    read = FastModel.get_metrics_result
    monkeypatch.setattr(FastModel, "get_metrics_result", lambda self: asked.append(1) or read(self))
    model.fit(loader(), validation_data=loader(), epochs=1, verbose=0, shuffle=False)  # verifies the fast step
    asked.clear()
    model.fit(loader(), validation_data=loader(), epochs=3, verbose=0, shuffle=False)
    assert len(asked) <= 3 * 2 + 3  # once an epoch for each loader, and the names; not once a batch (7 batches)


def test_learning_rate_callbacks_act():
    found = []
    for kind in (keras.Model, FastModel):
        model = build(kind, lambda: optimizers.RMSprop(0.01))
        schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 / (epoch + 1))
        found.append((model, model.fit(loader(), epochs=3, verbose=0, shuffle=False, callbacks=[schedule]).history))

    assert_same(found)
    assert found[1][1]["learning_rate"] == pytest.approx([0.01, 0.005, 0.01 / 3])


def test_saved_training_goes_on_as_if_never_stopped(tmp_path):
    straight, stopped = (build(FastModel, "adam") for _ in range(2))
    straight.fit(loader(), epochs=4, verbose=0, shuffle=False)
    stopped.fit(loader(), epochs=2, verbose=0, shuffle=False)
    stopped.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    loaded.fit(loader(), epochs=2, verbose=0, shuffle=False)

    assert isinstance(loaded, FastModel)
    for a, b in zip(straight.variables, loaded.variables, strict=True):
        np.testing.assert_array_equal(np.array(b), np.array(a))


def test_an_overridden_compute_loss_is_kept():
    class Mine(FastModel):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean((y - y_pred) ** 4)

    with pytest.warns(UserWarning, match="falls back to Keras for compute_loss"):
        history = build(Mine).fit(loader(), epochs=1, verbose=0, shuffle=False).history
    assert history["loss"][0] < 0.2


def test_torch_hooks_run():
    model, ran = build(FastModel), []
    model.layers[1].register_forward_hook(lambda *_: ran.append(1))

    with pytest.warns(UserWarning, match="torch hooks"):
        model.fit(loader(), epochs=1, verbose=0, shuffle=False)
    assert len(ran) >= 7  # one a batch


@pytest.mark.slow
def test_the_compiled_step_gives_the_same():
    found = [(model := build(kind, jit_compile=jit), model.fit(loader(), epochs=2, verbose=0, shuffle=False).history)
             for kind, jit in ((keras.Model, False), (FastModel, True))]  # fmt: skip

    assert_same(found)


@pytest.mark.cuda
def test_nothing_waits_inside_an_epoch_on_cuda():
    with keras.device("cuda"):
        model = build(FastModel)
        model.fit(loader(), epochs=1, verbose=0, shuffle=False)
    x, y = (part.to("cuda") for part in next(iter(loader())))
    model._logs_are_read = False
    torch.cuda.set_sync_debug_mode("error")
    try:
        with keras.device("cuda"):
            model.train_step((x, y))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_subclasses_work_beside_functional_models():
    class Net(FastModel):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    class Chain(FastModel):
        def __init__(self):
            inputs = keras.Input((3,))
            super().__init__(inputs, keras.layers.Dense(1)(inputs))

    inputs = keras.Input((3,))
    for model in (FastModel(inputs, keras.layers.Dense(1)(inputs)), Chain(), Net()):
        assert isinstance(model, FastModel)
        model.compile("sgd", "mse")
        model.fit(np.ones((2, 3), "float32"), np.ones(2), verbose=0)
        assert model(np.ones((2, 3), "float32")).shape == (2, 1)


def metrics_printed(text):
    """Return the metrics in Keras's progress bar: ["loss: 0.6543", ...], those of each update of a line."""
    return re.findall(r"\w+: \d[\d.e-]*", text)


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_keras_prints_the_same_metrics(verbose, capsys):
    printed = []
    for kind in (keras.Model, FastModel):
        model = build(kind)
        model.fit(loader(), validation_data=loader(), epochs=2, shuffle=False, verbose=verbose)
        model.evaluate(loader(), verbose=verbose)
        printed.append(metrics_printed(capsys.readouterr().out))
    theirs, ours = printed
    assert len(theirs) >= 2 * 4 + 2
    assert ours[-2:] == theirs[-2:]
    assert {"val_loss", "val_accuracy"} <= {entry.split(":")[0] for entry in ours}


@pytest.mark.parametrize(("place", "verbose"), [("log", "auto"), ("log", 2), ("terminal", "auto"), ("log", 0)])
def test_metrics_are_read_once_an_epoch_unless_keras_draws_its_bar(monkeypatch, place, verbose, capsys):
    monkeypatch.setattr(progress, "place", lambda: place)
    model, reads, read = build(FastModel), [], keras.Model.get_metrics_result
    model.fit(loader(), validation_data=loader(), shuffle=False, verbose=0)  # compares the first batches with Keras
    monkeypatch.setattr(keras.Model, "get_metrics_result", lambda self: reads.append(1) or read(self))
    model.fit(loader(), validation_data=loader(), epochs=3, shuffle=False, verbose=verbose)
    assert len(reads) == 3 * 2
    expected = 3 if (place, verbose) in (("log", "auto"), ("log", 2)) else 0
    assert capsys.readouterr().out.count("val_loss") == expected


def test_a_failed_fit_closes_its_bar(monkeypatch):
    monkeypatch.setattr(progress, "place", lambda: "terminal")
    monkeypatch.setattr(epoch_bar, "place", lambda: "log")
    monkeypatch.setattr(progress.EpochBar.__init__, "__defaults__", (1,))  # a bar of verbose=1 is drawn in a log
    seen = []

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(progress.EpochBar.any_drawn())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(FastModel).fit(loader(), shuffle=False, callbacks=[Stop()])
    assert seen == [True]
    assert not progress.EpochBar.any_drawn()


@pytest.mark.parametrize("hook", ["on_batch_end", "on_train_batch_end", "on_test_batch_end"])
def test_every_hook_that_reads_batches_gets_numbers(hook):
    seen = []
    for kind in (keras.Model, FastModel):
        read = []
        hooks = {hook: lambda self, batch, logs, read=read: read.append(logs)}
        callback = type("Reader", (keras.callbacks.Callback,), hooks)
        model = build(kind)
        for _ in range(2):  # the second time without the verification of the first batches
            model.fit(loader(), epochs=1, verbose=0, shuffle=False, callbacks=callback())  # no list
            model.evaluate(loader(), verbose=0, callbacks=[callback()])
        seen.append([list(logs.values()) for logs in read])
    assert len(seen[0]) == 2 * 7
    # Keras calls on_batch_end in another thread, so its order may vary.
    np.testing.assert_allclose(sorted(seen[1]), sorted(seen[0]), rtol=1e-4)


def test_the_loss_is_summed_and_weighted_as_compiled():
    x, y = np.zeros((3, 2), "float32"), np.array([[1.0], [0.0], [1.0]], "float32")  # outputs are 0.5
    for compiling, expected in (
        ({"loss": losses.BinaryCrossentropy(reduction="sum")}, 3 * np.log(2)),
        ({"loss": losses.BinaryCrossentropy(), "loss_weights": [2.0]}, 2 * np.log(2)),
        (
            {"loss": losses.BinaryCrossentropy(from_logits=True)},
            (2 * np.log1p(np.exp(-0.5)) + np.log1p(np.exp(0.5))) / 3,
        ),
        ({"loss": losses.MeanSquaredError(reduction="sum"), "loss_weights": [0.5]}, 0.5 * 3 * 0.25),
    ):
        inputs = keras.Input((2,))
        model = FastModel(inputs, keras.layers.Dense(1, "sigmoid")(inputs))
        model.compile(optimizers.SGD(0.0), **compiling)
        history = model.fit(x, y, batch_size=3, epochs=2, verbose=0).history
        assert history["loss"] == pytest.approx([expected] * 2, rel=1e-5)
        assert model.evaluate(x, y, verbose=0) == pytest.approx(expected, rel=1e-5)


def test_several_labels_by_hand():
    """Outputs of 0.5 and 0.75 for three samples; a hit needs an output above 0.5."""
    y = np.array([[1, 1], [0, 0], [0, 1]], "float32")
    inputs = keras.Input((1,))
    model = FastModel(inputs, keras.layers.Dense(2, "sigmoid", kernel_initializer="zeros")(inputs))
    model.layers[1].bias.assign([0.0, np.log(3)])
    model.compile(optimizers.SGD(0.0), "binary_crossentropy", metrics=["binary_accuracy", "mae", "mse"])
    history = model.fit(np.zeros((3, 1), "float32"), y, batch_size=3, epochs=2, verbose=0).history
    assert history["loss"] == pytest.approx([(3 * np.log(2) + 2 * np.log(4 / 3) + np.log(4)) / 6] * 2, rel=1e-5)
    assert history["binary_accuracy"] == pytest.approx([4 / 6] * 2)
    assert history["mae"] == pytest.approx([(3 * 0.5 + 2 * 0.25 + 0.75) / 6] * 2)
    assert history["mse"] == pytest.approx([(3 * 0.25 + 2 * 0.0625 + 0.5625) / 6] * 2)


def test_predict_passes_its_arguments_on():
    model = FastModel(inputs := keras.Input((2,)), keras.layers.Dense(1)(inputs))
    batches = []
    watch = keras.callbacks.LambdaCallback(on_predict_batch_end=lambda batch, logs: batches.append(batch))
    model.predict(np.zeros((6, 2)), batch_size=2, verbose=0, callbacks=[watch])
    assert batches == [0, 1, 2]


def test_predict_is_silent_with_verbose_0_and_prints_a_line_of_a_log_by_default(capsys):
    model = FastModel(inputs := keras.Input((2,)), keras.layers.Dense(1)(inputs))
    model.predict(np.zeros((6, 2)), verbose=0)
    assert capsys.readouterr().out == ""
    model.predict(np.zeros((6, 2)))
    assert "1/1" in capsys.readouterr().out
