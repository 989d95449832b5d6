"""The data of the explanatory plots agree with closed forms and have the effects that the plots show."""

from hypothesis import given
from hypothesis import strategies as st
from k3torch.reports import demos
import keras
import numpy as np
import pytest
import torch


def test_losses_for_label_one_are_their_closed_forms():
    p = np.linspace(0.01, 1, 50)
    cross_entropy, squared_error = demos.losses_for_label_one(p)
    np.testing.assert_allclose(cross_entropy, -np.log(p), atol=1e-6)
    np.testing.assert_allclose(squared_error, (1 - p) ** 2, atol=1e-6)


def _end(momentum, nesterov=False):
    optimizer = keras.optimizers.SGD(0.01, momentum=momentum, nesterov=nesterov)
    return demos.descend(demos.two_valleys, start=2.2, optimizer=optimizer, steps=300)[-1]


def test_momentum_reaches_the_deeper_minimum_and_plain_descent_does_not():
    local, global_ = max(np.roots([4, 0, -8, 1])), min(np.roots([4, 0, -8, 1]))
    assert demos.two_valleys(torch.tensor(global_)) < demos.two_valleys(torch.tensor(local)) - 2
    assert _end(0.0) == pytest.approx(local, abs=1e-6)
    assert _end(0.9) == pytest.approx(global_, abs=1e-3)


def test_descent_follows_the_formula_of_sgd_with_momentum():
    """V <- m v - rate g; w <- w + v: momentum enters once."""
    path = demos.descend(demos.two_valleys, 2.2, keras.optimizers.SGD(0.01, momentum=0.9), steps=5)
    w, v = 2.2, 0.0
    for reached in path[1:]:
        v = 0.9 * v - 0.01 * (4 * w**3 - 8 * w + 1)
        w += v
        assert reached == pytest.approx(w, rel=1e-6)


def test_degree_4_is_closest_to_the_cosine_and_degree_15_to_the_samples():
    fits = demos.fit_polynomials()
    assert fits.sample_error[15] < fits.sample_error[4] < fits.sample_error[1]
    assert fits.true_error[4] < min(fits.true_error[1], fits.true_error[15]) / 3
    np.testing.assert_allclose(fits.truth, np.cos(fits.grid))


def test_a_keras_model_of_the_same_powers_reaches_but_does_not_beat_least_squares():
    fits = demos.fit_polynomials(degrees=(1,))
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    model.fit(fits.x[:, None], fits.y[:, None], batch_size=len(fits.x), epochs=150, verbose=0)
    error = model.evaluate(fits.x[:, None], fits.y[:, None], verbose=0) ** 0.5
    assert error == pytest.approx(fits.sample_error[1], rel=1e-3)
    assert error >= fits.sample_error[1] - 1e-6


def test_dropout_zeroes_and_scales_in_training_and_leaves_prediction_unchanged():
    passes = demos.drop_out(rate=0.75)
    kept = passes.training != 0
    np.testing.assert_allclose(passes.training[kept], passes.before[kept] * 4, rtol=1e-6)
    np.testing.assert_array_equal(passes.prediction, passes.before)
    np.testing.assert_array_equal(passes.dropped, passes.before * kept)
    assert kept.mean() == pytest.approx(0.25, abs=0.02)
    assert passes.training.mean() == pytest.approx(passes.before.mean(), rel=0.05)


def test_the_outputs_are_so_many_that_scaling_keeps_their_mean():
    passes = demos.drop_out(rate=0.5)
    assert passes.training.mean() == pytest.approx(passes.before.mean(), rel=0.01)
    assert passes.dropped.mean() == pytest.approx(passes.before.mean() / 2, rel=0.01)


@given(st.integers(3, 12))
def test_fold_roles_hold_every_part_out_once(parts):
    roles = demos.fold_roles(parts, 1, 2)
    for kind in (1, 2):
        assert (roles == kind).sum(axis=0).tolist() == [1] * parts
        assert (roles == kind).sum(axis=1).tolist() == [1] * parts
    np.testing.assert_array_equal(demos.fold_roles(parts, 1), np.eye(parts, dtype=int))
