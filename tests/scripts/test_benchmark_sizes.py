"""benchmark_sizes.py: what its contenders count as the time of a job, in ticks of a clock that counts its readings."""

import importlib.util
from itertools import count
from types import SimpleNamespace

from k3torch import cli
import numpy as np
import pytest


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("benchmark_sizes", cli.SCRIPTS / "benchmark_sizes.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    ticks = count()
    monkeypatch.setattr(script, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    return script


@pytest.mark.parametrize(
    ("epochs", "seconds", "steady"),
    [
        (1, 3, None),  # the ends of an epoch of each fold, and of the job
        (2, 5, 2),  # the second epochs of two folds
        (7, 5 + 5 * 2, 2),
    ],
)
def test_two_epochs_of_fit_are_timed_and_scaled_up(script, epochs, seconds, steady):
    size = script.Size(samples=8, features=2, width=4, batch=4, folds=2, epochs=epochs)
    found = script.keras_fit(size, "adam")
    assert (found.seconds, found.steady, found.engine) == (seconds, steady, "fit")
    assert (found.error is None) == (epochs > 2)  # that of the last epoch is not known


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "sgd-momentum"])
def test_a_steady_epoch_of_the_stack_is_the_mean_over_all_but_one(script, optimizer):
    size = script.Size(samples=8, features=2, width=4, batch=4, folds=2, epochs=5)
    found = script.k3torch_job(size, optimizer, with_steady=True)
    assert (found.seconds, found.steady, found.engine) == (1, 1 / 4, "stacked")
    assert script.k3torch_job(size, optimizer, with_steady=False).steady is None


@pytest.mark.parametrize(
    ("name", "kind", "momentum"), [("adam", "Adam", None), ("rmsprop", "RMSprop", 0.0), ("sgd-momentum", "SGD", 0.9)]
)
def test_the_network_is_compiled_with_the_optimizer(script, name, kind, momentum):
    import keras

    model = script.keras_model(script.Size(8, 2, 4, 4, 2, 1), name, keras.Sequential)
    assert type(model.optimizer).__name__ == kind
    assert getattr(model.optimizer, "momentum", None) == momentum
    assert [tuple(weight.shape) for weight in model.weights] == [(2, 4), (4,), (4, 4), (4,), (4, 1), (1,)]


def test_samples_are_the_same_each_time(script):
    size = script.Size(1000, 50, 4, 4, 2, 1)
    x, y = script.random_samples(size)
    assert (x.shape, y.shape, x.dtype, y.dtype) == ((1000, 50), (1000,), np.float32, np.float32)
    assert y.std() == pytest.approx(1, abs=0.3)  # whatever the number of features
    assert all(np.array_equal(a, b) for a, b in zip(script.random_samples(size), (x, y), strict=True))
