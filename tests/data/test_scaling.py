"""Standardizer: exact values, the population deviation, constant features, and whose statistics are used."""

from k3torch.data.scaling import Standardizer
import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import StandardScaler


def test_the_statistics_are_the_mean_and_the_population_deviation():
    scaler = Standardizer.fit([[1, 10], [3, 10], [5, 40], [7, 60]])
    assert scaler.mean.tolist() == [4, 30]
    # Divisor 4: (9 + 1 + 1 + 9) / 4 = 5 and (400 + 400 + 100 + 900) / 4 = 450; divisor 3 would give 6.67 and 600.
    assert scaler.std.tolist() == [5**0.5, 450**0.5]
    assert scaler.mean.dtype == scaler.std.dtype == np.float64


def test_transform_subtracts_the_mean_and_divides_by_the_deviation():
    scaler = Standardizer.fit([[1, 10], [3, 30]])
    np.testing.assert_array_equal(scaler.transform([[1, 10], [3, 30]]), [[-1, -1], [1, 1]])


def test_other_samples_are_transformed_with_the_statistics_of_the_fitted_ones():
    scaler = Standardizer.fit([[1, 10], [3, 30]])
    other = np.array([[5, 20], [100, 20]])
    np.testing.assert_array_equal(scaler.transform(other), [[3, 0], [98, 0]])
    np.testing.assert_array_equal(scaler.transform(other[:1]), [[3, 0]])  # the second sample has no influence
    assert (scaler.mean.tolist(), scaler.std.tolist()) == ([2, 20], [1, 10])


@pytest.mark.parametrize("value", [0.0, 7.0, 0.1, -1e6])
def test_a_constant_feature_becomes_zero(value):
    samples = np.column_stack([np.full(7, value), range(7)])
    scaler = Standardizer.fit(samples)
    assert scaler.std[0] == 1
    np.testing.assert_allclose(scaler.transform(samples)[:, 0], 0, atol=1e-15 * max(1, abs(value)))
    assert scaler.transform([[value + 2, 3]])[0, 0] == pytest.approx((value + 2) - scaler.mean[0])


def test_one_sample_is_constant_in_every_feature():
    assert Standardizer.fit([[4.0, 5.0]]).transform([[4.0, 7.0]]).tolist() == [[0, 2]]


def test_a_feature_that_varies_little_is_still_scaled():
    samples = 1000 + np.array([[0.0], [1e-9], [2e-9]])
    assert Standardizer.fit(samples).transform(samples).std() == pytest.approx(1)


def test_the_input_is_not_changed_and_may_be_a_data_frame_of_integers():
    frame = pd.DataFrame({"a": [1, 2, 6], "b": [0, 0, 3]})
    scaled = Standardizer.fit(frame).transform(frame)
    assert frame["a"].tolist() == [1, 2, 6]
    assert scaled.dtype == np.float64
    np.testing.assert_allclose(scaled, StandardScaler().fit_transform(frame), rtol=1e-12)
