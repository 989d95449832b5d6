from k3torch.validation.predictions import averaged, mean_prediction, out_of_fold, predict
import keras
import numpy as np
import pytest

X = np.arange(12.0).reshape(6, 2)


def constant(value, loss="mse", outputs=1):
    """Return a model that predicts ``value`` for every sample."""
    model = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(
                outputs, kernel_initializer="zeros", bias_initializer=lambda shape, dtype: keras.ops.full(shape, value)
            ),
        ]
    )
    model.compile("sgd", loss)
    return model


def test_each_sample_is_predicted_by_the_models_that_have_not_seen_it():
    indices = [([2, 3], [0, 1]), ([0, 1], [2, 3]), ([1, 2], [0, 3])]
    splits = [tuple(map(np.array, pair)) for pair in indices]
    found = out_of_fold([constant(1.0), constant(2.0), constant(5.0)], X, splits)
    np.testing.assert_array_equal(found[:, 0], [3, 1, 2, 3.5, np.nan, np.nan])


def test_predictions_of_parts_are_averaged_where_they_overlap():
    parts = [(np.array([0, 1]), np.array([[1.0, 2.0], [3.0, 4.0]])), (np.array([1]), np.array([[5.0, 8.0]]))]
    np.testing.assert_array_equal(averaged(parts, 3), [[1, 2], [4, 6], [np.nan, np.nan]])


def test_a_validation_sample_drawn_twice_counts_as_often():
    split = (np.array([1]), np.array([0, 0]))
    assert out_of_fold([constant(4.0)], X, [split])[0, 0] == 4


def test_the_mean_is_over_models():
    np.testing.assert_array_equal(mean_prediction([constant(1.0), constant(4.0)], X), np.full((6, 1), 2.5))


def test_many_samples_are_predicted_in_batches_as_keras_does():
    x = np.random.default_rng(0).normal(size=(2500, 2)).astype("float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, "tanh"), keras.layers.Dropout(0.5)])
    model.compile("sgd", "mse")
    found = predict(model, x)
    assert (found.shape, found.dtype) == ((2500, 3), np.dtype("float64"))
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "outputs", "expected"),
    [
        (keras.losses.BinaryCrossentropy(from_logits=True), 1, 1 / (1 + np.exp(-2))),
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), 2, 1 / (1 + np.exp(-2))),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), 4, 0.25),
        (keras.losses.CategoricalCrossentropy(from_logits=True), 4, 0.25),
        (keras.losses.BinaryCrossentropy(), 1, 2.0),
        ("binary_crossentropy", 1, 2.0),
    ],
)
def test_logits_become_probabilities(loss, outputs, expected):
    np.testing.assert_allclose(predict(constant(2.0, loss, outputs), X), np.full((6, outputs), expected), rtol=1e-6)
