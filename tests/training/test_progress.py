import io

from k3torch.data.loaders import array_loader
from k3torch.training import progress
import keras
import numpy as np
import pytest
from rich.console import Console
from rich.text import Text


def model():
    keras.utils.set_random_seed(0)
    made = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    made.compile("sgd", "mse", metrics=["mae"])
    return made


def test_rows_are_the_history_of_fit(capsys):
    x, y = np.random.RandomState(0).rand(2, 12, 2).astype("float32"), np.ones(12)
    rows = []
    loader, validation = array_loader(x[0], y, batch_size=4), array_loader(x[1], y, batch_size=12)
    made = model()
    progress.fit(made, loader, epochs=3, title="t", history=rows, validation=validation)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for name, values in made.history.history.items():
        assert [row[name] for row in rows] == values
    assert all(row["seconds"] > 0 for row in rows)
    assert capsys.readouterr().err == ""  # no bar: not a terminal


def test_an_interrupted_fit_closes_the_bar_and_keeps_the_rows():
    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    rows = []
    loader = array_loader(np.ones((4, 2)), np.ones(4), batch_size=2)
    with pytest.raises(KeyboardInterrupt):
        progress.fit(model(), loader, epochs=5, title="t", history=rows, callbacks=[Stop()])
    assert [row["epoch"] for row in rows] == [1, 2]


def test_the_bar_shows_epochs_and_figures_on_a_terminal(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        progress, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80, legacy_windows=False)
    )
    with progress.EpochBar("study run", 2) as bar:
        bar.advance({"loss": 0.25})
        bar.advance({"accuracy": 0.75, "loss": 0.125, "mae": 1.0, "val_accuracy": 0.5, "val_loss": 0.5, "val_mae": 2.0})
    said = screen.getvalue()
    assert "study run" in said
    assert "2/2" in said
    assert "loss 0.125/0.500  accuracy 0.750/0.500" in said
    assert max(map(len, Text.from_ansi(said).plain.splitlines())) <= 80
