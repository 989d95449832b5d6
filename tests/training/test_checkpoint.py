"""An uninterrupted run compared, bit for bit, with runs that are interrupted after each checkpoint and resumed."""

import random

from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.loaders import array_loader
from k3torch.errors import InputError
from k3torch.training.checkpoint import ExactCheckpoint, resume_fit
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.fast_model import FastModel, FastSequential
from k3torch.training.progress import History
import keras
from keras import callbacks, optimizers
import numpy as np
import pytest
import torch

torch.set_num_threads(1)  # two test processes share two cores
DRAW = np.random.default_rng(0)
X = DRAW.random((20, 5), np.float32)
Y = (X[:, :1] > 0.5).astype("float32")
EPOCHS, BATCH = 3, 8  # 3 batches an epoch


class Interrupted(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def interrupt(monkeypatch):
    """A function that lets so many checkpoints be written, and then interrupts the run; None lets all be written."""
    write = CheckpointFolder.write

    def after(most):
        written = []

        def counted(folder, number, content):
            if most is not None and len(written) == most:
                raise Interrupted
            written.append(number)
            write(folder, number, content)
            if len(written) == most:
                raise Interrupted

        monkeypatch.setattr(CheckpointFolder, "write", counted)
        return written

    return after


def build(kind=FastModel, optimizer="adam", layers=(), seed=1):
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((5,))
    for layer in [keras.layers.Dense(4, activation="relu"), *[layer() for layer in layers], keras.layers.Dense(1, "sigmoid")]:
        x = layer(x)
    model = kind(inputs, x)
    model.compile(optimizer() if callable(optimizer) else optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def loader(shuffle=True, seed=3):
    return array_loader(X, Y, batch_size=BATCH, shuffle=shuffle, seed=seed)


def state_of(model, history):
    tensors = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.array(each) for each in tensors], history.history, history.epoch, model.predict(X, verbose=0)


def assert_equal(found, expected):
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[1] == expected[1]
    assert found[2] == expected[2] == list(range(len(expected[2])))
    np.testing.assert_array_equal(found[3], expected[3])


def disturb(seed):
    """Draw from all global generators, as what happens between two runs may."""
    keras.utils.set_random_seed(seed)
    torch.rand(3), np.random.rand(), random.random(), keras.random.uniform((2,))


def compare(make, fit, folder, interrupt, every="epoch", checkpoints=EPOCHS):
    """``fit(model, **arguments)`` without interruption, and interrupted after each number of checkpoints.

    ``make`` and ``fit`` build everything anew: the model, the data and the callbacks.
    """
    interrupt(None)
    model = make()
    expected = state_of(model, fit(model, folder=folder / "all", every=every))
    plain = make()
    assert_equal(state_of(plain, fit(plain, folder=None, every=every)), expected)  # checkpoints change nothing
    for count in range(1, checkpoints + 1):
        interrupt(count)
        disturb(7)
        with pytest.raises(Interrupted):
            fit(make(), folder=folder / str(count), every=every)
        disturb(count)
        interrupt(None)
        model = make(seed=count + 50)
        disturb(count)
        assert_equal(state_of(model, fit(model, folder=folder / str(count), every=every)), expected)
    with pytest.raises(Interrupted):
        interrupt(checkpoints + 1)
        fit(make(), folder=folder / "last", every=every)
        raise Interrupted
    assert CheckpointFolder(folder / "all").numbers() == [checkpoints - 1, checkpoints]
    return expected


def fit_loader(model, *, folder, every, data=loader, extra=list, **arguments):
    given = extra()
    arguments = {"epochs": EPOCHS, "verbose": 0, "shuffle": False, **arguments}
    if folder is None:
        return model.fit(data(), callbacks=given, **arguments)
    return resume_fit(model, folder, data(), callbacks=[ExactCheckpoint(folder, every), *given], **arguments)


OPTIMIZERS = {
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: optimizers.Adam(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)),
    "accumulation": lambda: optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "averaged": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1), initial_scale=8.0, dynamic_growth_steps=2),
}


@pytest.mark.filterwarnings("ignore:.*falls back to Keras")
@pytest.mark.parametrize("kind", [FastModel, keras.Model])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_of_every_optimizer_are_resumed_within_an_epoch(name, kind, tmp_path, interrupt):
    compare(
        lambda seed=1: build(kind, OPTIMIZERS[name], [lambda: keras.layers.Dropout(0.5)], seed),
        fit_loader, tmp_path, interrupt, every=1, checkpoints=9,
    )  # fmt: skip
