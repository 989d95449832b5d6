"""Training with ``fit`` over a part of the epochs goes on where it was."""

from k3torch.training.epoch_bar import EpochBar
from k3torch.validation import engines, fit_engine
from k3torch.validation.jobs import Data, make_jobs
import keras
import numpy as np

X, Y = np.arange(8.0)[:, None] / 8, np.arange(8.0)[:, None]


def build():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def trained(*ranges):
    splits = [[(np.arange(4), np.arange(4, 8))]]
    jobs = make_jobs(build, Data(X, Y, None, None), splits, normalize=None, normalize_y=False, shuffle=True, seed=3)
    engines.build(jobs[0])
    histories = []
    with EpochBar("test", 4, 0) as bar:
        for epochs in ranges:
            assert fit_engine.fit(jobs, 2, epochs, [()], bar, histories) is None
    return histories


def test_two_parts_are_the_whole():
    whole, first, second = *trained(range(4)), *trained(range(2), range(2, 4))
    np.testing.assert_array_equal(first, whole[..., :2])
    assert np.isnan(second[..., :2]).all()
    np.testing.assert_array_equal(second[..., 2:], whole[..., 2:])
