from k3torch.validation.curves import best_epoch, skipped_epochs, smooth
import numpy as np
import pytest


def test_smoothing_is_an_exponential_moving_average_from_the_first_value():
    np.testing.assert_allclose(smooth([1, 0, 0, 10], factor=0.5), [1, 0.5, 0.25, 5.125])
    np.testing.assert_allclose(smooth([1.0, 0.0, 0.0, 0.0]), [1.0, 0.9, 0.81, 0.729])


def test_smoothing_is_along_the_last_axis_and_leaves_its_argument_unchanged():
    curves = np.array([[1.0, 0.0], [4.0, 8.0]])
    np.testing.assert_allclose(smooth(curves, factor=0.75), [[1.0, 0.75], [4.0, 5.0]])
    assert curves.tolist() == [[1, 0], [4, 8]]


@pytest.mark.parametrize(("epochs", "skipped"), [(1, 0), (10, 0), (11, 10), (200, 10)])
def test_ten_epochs_are_skipped_of_curves_that_are_longer(epochs, skipped):
    assert skipped_epochs(epochs) == skipped


def test_the_best_epoch_counts_from_1_and_from_the_skipped_ones():
    assert best_epoch([3.0]) == 1
    assert best_epoch([5.0, 1.0, 9.0]) == 2  # smoothed: 5, 4.6, 5.04
    assert best_epoch([5.0] * 10 + [3.0]) == 11
    assert best_epoch([5.0] * 10 + [3.0, 1.0, 9.0]) == 12
    assert best_epoch([5.0, 3.0, 1.0, 1.0, 1.0, 3.0] + [9.0] * 20) == 4  # one of the skipped epochs
    assert best_epoch([9.0, 9.0, 7.9, *[9.0] * 7, *[8.0] * 20]) == 11  # no outlier among them


@pytest.mark.parametrize(("curve", "best"), [([np.nan], 1), ([3, 1, np.nan, 0], 2), ([0] * 7 + [-9] + [np.nan] * 9, 8)])
def test_epochs_from_the_first_nan_on_do_not_count(curve, best):
    assert best_epoch(curve) == best


def test_the_best_epoch_is_that_of_the_smoothed_curve():
    values = [9.0] * 10 + [2.0, 0.0, 4.0, 1.5, 1.5]  # smoothed: 2, 1.8, 2.02, 1.968, 1.9212; lowest raw value: epoch 12
    assert best_epoch(values) == 12
    falling_late = np.abs(np.arange(60) - 30.0)
    assert best_epoch(falling_late) > np.argmin(falling_late) + 1
