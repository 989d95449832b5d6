from k3torch import InputError
from k3torch.validation.fold_scaling import FoldScaling, check_can_normalize
import keras
import numpy as np
import pytest

X = np.array([[0.0, 10.0], [2.0, 10.0], [4.0, 40.0], [100.0, -7.0]])
Y = np.array([[100.0], [300.0], [500.0], [-900.0]])
TRAINING = np.array([0, 1, 2])


def test_the_statistics_are_those_of_the_training_samples_or_of_all():
    fold = FoldScaling.fit(X, Y, TRAINING, "fold", normalize_y=True)
    np.testing.assert_allclose(fold.features.mean, [2, 20])
    np.testing.assert_allclose(fold.features.std, [(8 / 3) ** 0.5, 200**0.5])
    assert (fold.targets.mean[0], fold.targets.std[0]) == (300, pytest.approx((80_000 / 3) ** 0.5))
    np.testing.assert_allclose(FoldScaling.fit(X, Y, TRAINING, "train", False).features.mean, [26.5, 13.25])


def test_samples_are_scaled_in_float32_and_left_alone_without_scaling():
    fold = FoldScaling.fit(X, Y, TRAINING, "fold", normalize_y=True)
    np.testing.assert_allclose(fold.transform_features(X)[3], [98 / (8 / 3) ** 0.5, -27 / 200**0.5], rtol=1e-6)
    np.testing.assert_allclose(fold.transform_targets(Y)[3], -1200 / (80_000 / 3) ** 0.5, rtol=1e-6)
    assert {fold.transform_features(X).dtype, fold.transform_targets(Y).dtype} == {np.dtype("float32")}
    none = FoldScaling.fit(X, Y, TRAINING, None, normalize_y=False)
    np.testing.assert_array_equal(none.transform_features(X), X.astype("float32"))
    np.testing.assert_array_equal(none.transform_targets(Y), Y.astype("float32"))
    labels = np.array([[2**40 + 1]])
    assert none.transform_targets(labels) is labels


def test_features_are_scaled_in_float64_and_then_rounded():
    x = np.random.default_rng(0).normal(5, 3, (50, 2))
    found = FoldScaling.fit(x, x[:, :1], np.arange(50), "fold", normalize_y=False).transform_features(x)
    np.testing.assert_array_equal(found, ((x - x.mean(axis=0)) / x.std(axis=0)).astype("float32"))


@pytest.mark.parametrize("factor", [1e-5, 1.0, 1e16])
def test_the_unit_of_a_feature_makes_no_difference(factor):
    x = np.random.default_rng(0).normal(5, 3, (50, 1))
    plain, other = (
        FoldScaling.fit(v, v, np.arange(50), "fold", normalize_y=False).transform_features(v) for v in (x, x * factor)
    )
    np.testing.assert_allclose(other, plain, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-9, 1e-12, 1e20, 1e30])
def test_a_unit_that_keras_cannot_scale_is_refused(factor):
    x = np.column_stack([np.arange(9.0), np.arange(9.0) * factor])
    with pytest.raises(InputError, match=r"^expected features with deviations from .* of feature 1: change its unit$"):
        FoldScaling.fit(x, x[:, :1], np.arange(9), "fold", normalize_y=False)


@pytest.mark.parametrize(("offset", "fits"), [(0, True), (1e4, True), (1.7e9, False), (-1e8, False)])
def test_targets_that_float32_cannot_hold_beside_their_mean_are_refused(offset, fits):
    y = np.arange(60.0)[:, None] + offset
    if fits:
        scaled = FoldScaling.fit(y, y, np.arange(60), None, normalize_y=True).transform_targets(y)
        np.testing.assert_allclose(scaled[:, 0], (np.arange(60) - 29.5) / np.arange(60).std(), atol=1e-6)
    else:
        with pytest.raises(InputError, match=r"^expected targets whose spread float32 .*: subtract a constant from y$"):
            FoldScaling.fit(y, y, np.arange(60), None, normalize_y=True)


def test_far_from_zero_training_sees_what_the_model_sees():
    times = 1.7e9 + np.arange(50.0)[:, None]  # seconds since 1970: float32 has steps of 128 there
    fold = FoldScaling.fit(times, times, np.arange(50), "fold", normalize_y=False)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile("sgd", "mse")
    found = fold.whole_model(model).predict(times.astype("float32"), verbose=0)
    np.testing.assert_array_equal(fold.transform_features(times), found)


def dense(*layers, dtype=None):
    return keras.Sequential([keras.Input((2,), dtype=dtype), *layers, keras.layers.Dense(1)])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: dense(keras.layers.Embedding(5, 2, name="ids"), keras.layers.Flatten()), "the Embedding 'ids'"),
        (lambda: dense(dense(keras.layers.Normalization(name="mine"))), "Normalization layer of its own, got 'mine'"),
        (lambda: dense(dtype="int32"), "inputs of whole numbers, got int32"),
    ],
)
def test_a_model_whose_inputs_are_no_raw_quantities_is_refused(model, message):
    with pytest.raises(InputError, match=f"^expected normalize=None .*{message}"):
        check_can_normalize(model())


def test_other_models_can_be_normalized():
    check_can_normalize(dense(keras.layers.BatchNormalization(), keras.layers.LayerNormalization()))
