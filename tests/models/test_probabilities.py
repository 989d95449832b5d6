"""Outputs as probabilities of classes."""

from k3torch.models.probabilities import has_logits, of_classes
import keras
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("binary_crossentropy", False),
        (keras.losses.BinaryCrossentropy(), False),
        (keras.losses.BinaryCrossentropy(from_logits=True), True),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), True),
    ],
)
def test_the_loss_says_whether_outputs_are_logits(loss, expected):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", loss)
    assert has_logits(model) is expected


def test_a_single_output_is_the_probability_of_the_second_class():
    np.testing.assert_array_equal(of_classes(np.array([[0.25]])), [[0.75, 0.25]])
    np.testing.assert_array_equal(of_classes(np.array([[0.2, 0.8]])), [[0.2, 0.8]])
