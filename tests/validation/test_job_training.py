"""The best epoch of the jobs of a cross-validation."""

from k3torch.validation.job_training import Scored
import numpy as np


def test_the_best_epoch_is_that_of_the_mean_curve():
    curves = np.array([[[5.0, 4, 3, 2, 1, 0], [5.0, 4, 3, 2, 1, 0]]])
    scored = Scored(curves[..., -1], np.full((1, 2), 6), curves)
    assert scored.best_epoch(greater=False) == 6
    assert scored.best_epoch(greater=True) == 1
