import io

from k3torch.data.loaders import array_loader
from k3torch.training import progress
import keras
import numpy as np
import pytest
from rich.console import Console
from rich.text import Text
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


def test_the_bar_shows_epochs_and_metrics_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80, legacy_windows=False)
    )
    with progress.EpochBar("study run", 2) as bar:
        bar.advance({"loss": 0.25})
        bar.advance({"accuracy": 0.75, "loss": 0.125, "mae": 1.0, "val_accuracy": 0.5, "val_loss": 0.5, "val_mae": 2.0})
    printed = screen.getvalue()
    assert "study run" in printed
    assert "2/2" in printed
    assert "0:00 left" in Text.from_ansi(printed).plain
    assert "loss 0.125/0.500  accuracy 0.750/0.500" in printed
    assert max(map(len, Text.from_ansi(printed).plain.splitlines())) <= 80


def test_the_bar_is_on_standard_error(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes the stream for a terminal
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with progress.EpochBar("study run", 1) as bar:
        bar.advance({"loss": 0.25})
    out, err = capsys.readouterr()
    assert out == ""
    assert "study run" in err


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
def advanced(monkeypatch):
    """What bars are opened with and advanced by."""
    calls = []

    class Bar:
        def __init__(self, title, epochs):
            calls.append((title, epochs))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            calls.append("closed")

        def advance(self, metrics):
            calls.append(metrics)

    monkeypatch.setattr(progress, "EpochBar", Bar)
    return calls


def test_the_bar_of_fit_gets_the_metrics_of_each_epoch_without_the_learning_rate(advanced):
    loader = array_loader(np.ones((4, 2)), np.zeros(4), batch_size=2)
    rate = keras.callbacks.LearningRateScheduler(lambda epoch: 0.0)
    history = []
    progress.fit(model(), loader, epochs=2, title="t", history=history, callbacks=[rate])
    epochs = [{name: epoch[name] for name in ("loss", "mae")} for epoch in history]
    assert advanced == [("t", 2), *epochs, "closed"]
    assert [epoch["learning_rate"] for epoch in history] == [0, 0]


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"loss": 0.1234}, "loss 0.123"),
        ({"mae": 2.0, "loss": 0.5}, "loss 0.500  mae 2.000"),
        ({"mae": 2.0, "loss": 0.5, "val_loss": 0.25, "mse": 9.0}, "loss 0.500/0.250  mae 2.000"),
        ({"mean val_mae": 1.5}, "mean val_mae 1.500"),
        ({"val_mae": 1.5}, "val_mae 1.500"),  # validated without being a metric of training
    ],
)
def test_a_line_has_the_loss_and_the_first_metric(metrics, text):
    assert progress._shortened(metrics) == text
