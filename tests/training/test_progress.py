from types import SimpleNamespace

from k3torch import processes
from k3torch.data.loaders import array_loader
from k3torch.training import progress
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import pytest
import torch


def model():
    keras.utils.set_random_seed(0)
    new = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    new.compile("sgd", "mse", metrics=["mae"])
    return new


def test_the_recorded_epochs_are_the_history_of_fit(capsys):
    x, y = np.random.RandomState(0).rand(2, 12, 2).astype("float32"), np.ones(12)
    history = []
    loader, validation = array_loader(x[0], y, batch_size=4), array_loader(x[1], y, batch_size=12)
    trained = model()
    progress.fit(trained, loader, epochs=3, title="t", history=history, validation=validation)
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    for name, values in trained.history.history.items():
        assert [epoch[name] for epoch in history] == values
    assert all(epoch["seconds"] > 0 for epoch in history)
    assert capsys.readouterr().err == ""  # no bar: not a terminal


def test_an_interrupted_fit_closes_the_bar_and_keeps_the_epochs():
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    history = []
    loader = array_loader(np.ones((4, 2)), np.ones(4), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        progress.fit(model(), loader, epochs=5, title="t", history=history, callbacks=[Stop()])
    assert [epoch["epoch"] for epoch in history] == [1, 2]


@pytest.mark.parametrize(("one_thread", "inside"), [(True, 1), (False, 2)])
def test_fit_uses_one_thread_unless_told_otherwise_and_restores_the_number(one_thread, inside):
    found, before = [], torch.get_num_threads()
    seen = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: found.append(torch.get_num_threads()))
    loader = array_loader(np.ones((4, 2)), np.ones(4), batch_size=2)
    torch.set_num_threads(2)
    try:
        progress.fit(model(), loader, epochs=1, title="t", history=[], callbacks=[seen], one_thread=one_thread)
        assert (found, torch.get_num_threads()) == ([inside], 2)
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def bars(monkeypatch):
    """What is done with bars, as (name, arguments...), in order; all are drawn."""
    calls = []

    class Bar(EpochBar):
        def open(self):
            calls.append(("open", self.title, self.total))

        def close(self):
            calls.append(("close",))

        def status(self, text):
            calls.append(("status", text))

        def begin_epoch(self, done, batches):
            super().begin_epoch(done, batches)
            calls.append(("epoch", done, batches))

        def begin_batch(self, batch, *, validation=False):
            calls.append(("validation batch" if validation else "batch", batch))

        def advance(self, metrics):
            super().advance(metrics)
            calls.append(("advance", metrics))

    monkeypatch.setattr(progress, "EpochBar", Bar)
    return calls


def array_batches():
    return array_loader(np.ones((4, 2)), np.zeros(4), batch_size=2)


def test_the_bar_of_fit_gets_epochs_batches_and_metrics_without_the_learning_rate(bars):
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)
    history, loader = [], array_batches()
    progress.fit(
        model(), loader, epochs=2, title="t", history=history, callbacks=[rate], validation=loader, steps_per_epoch=1
    )
    names = ("loss", "mae", "val_loss", "val_mae")
    first, second = ({name: epoch[name] for name in names} for epoch in history)
    begun = [("batch", 0), ("validation batch", 0), ("validation batch", 1)]
    assert [call for call in bars if call != ("close",)] == [
        *[("open", "t", 2), ("epoch", 0, 1), *begun, ("advance", first)],
        *[("epoch", 1, 1), *begun, ("advance", second)],
    ]
    assert bars[-1] == ("close",)
    assert [epoch["learning_rate"] for epoch in history] == [0, 0]


def test_the_bar_begins_at_the_initial_epoch(bars):
    progress.fit(model(), array_batches(), epochs=5, title="t", history=[], initial_epoch=3)
    assert [call for call in bars if call[0] == "epoch"] == [("epoch", 3, 2), ("epoch", 4, 2)]


def test_a_given_bar_goes_on_and_stays_open(bars):
    bar = progress.EpochBar("model 2 of 3", 6)
    bar.done = 2
    loader = array_batches()
    model().fit(loader, epochs=2, verbose=0, shuffle=False, callbacks=[progress.RichProgress(bar)])
    assert [call for call in bars if call[0] in ("open", "close", "epoch")] == [("epoch", 2, 2), ("epoch", 3, 2)]
    assert bar.done == 4


@pytest.mark.parametrize("jit_compile", [True, False])
def test_a_compiled_step_is_said_to_be_compiling(bars, jit_compile):
    callback = progress.RichProgress()
    callback.set_params({"epochs": 1, "steps": 1})
    callback.set_model(SimpleNamespace(jit_compile=jit_compile))
    callback.on_train_begin()
    assert bars == [("open", "epochs", 1), *[("status", "compiling")] * jit_compile]


@pytest.mark.parametrize("place", ["terminal", "notebook", "log"])
def test_what_auto_stands_for(monkeypatch, place):
    monkeypatch.setattr(progress, "place", lambda: place)
    for phase, expected in (("train", 0), ("test", "auto"), ("predict", "auto")):
        verbose, shown = progress.displays(phase, "auto", [keras.callbacks.History()])
        assert verbose == (2 if place == "log" else expected)
        assert len(shown) == (phase == "train" and place != "log")
        for given in (0, 1, 2):
            assert progress.displays(phase, given, []) == (given, [])
        assert progress.displays(phase, "auto", [progress.RichProgress()]) == (0, [])
        assert progress.displays(phase, "auto", [keras.callbacks.ProgbarLogger()]) == ("auto", [])
        monkeypatch.setattr(EpochBar, "_drawn", EpochBar("outer", 1))
        assert progress.displays(phase, "auto", []) == (0, [])
        monkeypatch.setattr(EpochBar, "_drawn", None)


def test_where_keras_logs_instead_of_printing_it_gets_its_lines(monkeypatch):
    monkeypatch.setattr(progress, "place", lambda: "terminal")
    monkeypatch.setattr(keras.config, "is_interactive_logging_enabled", lambda: False)
    assert progress.displays("train", "auto", []) == (2, [])


@pytest.mark.parametrize("kind", [keras.Model, FastModel])
def test_fit_with_a_checkpoint_goes_on_to_the_same_history_and_weights(kind, tmp_path):
    def run(folder, epochs, resume=False, history=None):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((3,))
        model = kind(inputs, keras.layers.Dense(1)(inputs))
        model.compile("adam", "mse")
        x = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")
        loader = array_loader(x, x[:, :1], batch_size=8, shuffle=True, seed=1)
        history = [] if history is None else history
        checkpoint = None if folder is None else ExactCheckpoint(folder)
        progress.fit(model, loader, epochs=epochs, title="t", history=history, checkpoint=checkpoint, resume=resume)
        return [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in history], model.get_weights()

    history, weights = run(None, 4)
    run(tmp_path / "run", 2)
    found = run(tmp_path / "run", 4, resume=True)
    assert found[0] == history
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    for one, other in zip(found[1], weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("phase", ["train", "test", "predict"])
def test_of_several_processes_one_shows_progress(monkeypatch, phase):
    monkeypatch.setattr(processes, "is_main", lambda: False)
    for verbose in ("auto", 0, 1, 2):
        assert progress.displays(phase, verbose, []) == (0, [])
