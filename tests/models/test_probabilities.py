"""Outputs as probabilities of classes."""

from k3torch.models.probabilities import activated, has_logits, has_margins, loss_names, of_classes
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


class Renamed(keras.losses.BinaryCrossentropy):
    """A loss whose own name does not say that it is binary."""


TENTHS = np.log([0.1, 0.2, 0.7])
SIGMOIDS = [1 / 11, 1 / 6, 7 / 17]  # of odds 1 to 10, 2 to 10 and 7 to 10


@pytest.mark.parametrize(
    ("loss", "logits", "expected"),
    [
        (keras.losses.BinaryCrossentropy(from_logits=True), TENTHS, SIGMOIDS),
        (keras.losses.BinaryFocalCrossentropy(from_logits=True), TENTHS, SIGMOIDS),
        (Renamed(from_logits=True), TENTHS, SIGMOIDS),
        (keras.losses.CategoricalCrossentropy(from_logits=True), TENTHS, [0.1, 0.2, 0.7]),
        (keras.losses.SparseCategoricalCrossentropy(from_logits=True), TENTHS, [0.1, 0.2, 0.7]),
        (keras.losses.CategoricalCrossentropy(from_logits=True), TENTHS[:1], SIGMOIDS[:1]),
        ("binary_crossentropy", TENTHS, TENTHS),
        ("hinge", TENTHS, TENTHS),
    ],
)
def test_logits_become_probabilities_by_the_loss(loss, logits, expected):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(len(logits))])
    model.compile("sgd", loss)
    found = activated(model, keras.ops.convert_to_tensor(logits[None]))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), [expected], rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("hinge", True),
        (keras.losses.squared_hinge, True),
        (keras.losses.CategoricalHinge(), True),
        (["hinge"], True),
        ("mse", False),
    ],
)
def test_hinge_losses_make_margins(loss, expected):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", loss)
    assert has_margins(model) is expected


def test_names_of_losses_are_in_lower_case_with_those_of_base_classes():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", Renamed())
    assert loss_names(model)[:2] == ["renamed", "binarycrossentropy"]


def test_a_single_output_is_the_probability_of_the_second_class():
    np.testing.assert_array_equal(of_classes(np.array([[0.25]])), [[0.75, 0.25]])
    np.testing.assert_array_equal(of_classes(np.array([[0.2, 0.8]])), [[0.2, 0.8]])
