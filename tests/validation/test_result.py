"""Mean, deviation and interval of scores, computed by hand."""

from k3torch.validation.result import CrossValidation, Interrupted, score_index
import numpy as np
import pytest


def result(scores, ratio=1 / 3):
    return CrossValidation(np.array(scores), "mae", {}, [], "fit", ratio)


def test_mean_and_deviation_are_over_folds_and_repeats():
    found = result([[1.0, 2.0], [3.0, 6.0]])
    assert found.mean == 3
    assert found.std == pytest.approx((14 / 3) ** 0.5)  # squares 4, 1, 0, 9; divisor 3


def test_the_interval_is_that_of_nadeau_and_bengio():
    found = result([[1.0, 2.0, 3.0, 6.0]], ratio=1 / 3).interval
    half_width = 3.182446 * (14 / 3 * (1 / 4 + 1 / 3)) ** 0.5  # t at 0.975 with 3 degrees of freedom
    assert found.low == pytest.approx(3 - half_width, abs=1e-5)
    assert found.high == pytest.approx(3 + half_width, abs=1e-5)
    assert "4 scores" in found.method
    assert "Nadeau, Bengio" in found.method


def test_three_scores_of_equal_value_have_an_interval_of_no_width():
    found = result([[2.0, 2.0, 2.0]])
    assert (found.mean, found.std, found.interval.low, found.interval.high) == (2, 0, 2, 2)


@pytest.mark.filterwarnings("error")
def test_one_score_has_no_deviation_and_no_interval():
    found = result([[2.0]])
    assert found.mean == 2
    assert np.isnan([found.std, found.interval.low, found.interval.high]).all()


def test_an_interrupt_is_a_keyboard_interrupt_with_the_result():
    known = result([[1.0]])
    assert Interrupted(known).result is known
    assert issubclass(Interrupted, KeyboardInterrupt)


def test_the_score_is_the_first_metric_or_the_loss_alone():
    assert score_index(["loss"]) == 0
    assert score_index(["loss", "mae", "mse"]) == 1
