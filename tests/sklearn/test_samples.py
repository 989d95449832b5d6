from k3torch.data.bags import BagDataset
from k3torch.errors import InputError
from k3torch.sklearn.samples import class_targets, float_weights, loader, output_shape
import keras
import numpy as np
import pytest
from scipy.sparse import csr_matrix

NUMBERS = np.array([0, 2, 1])


def compiled(loss, outputs=3):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(outputs)])
    model.compile("sgd", loss)
    return model


class Renamed(keras.losses.SparseCategoricalCrossentropy):
    """A loss whose own name does not say which targets it takes."""


@pytest.mark.parametrize(
    ("loss", "sparse"),
    [
        ("sparse_categorical_crossentropy", True),
        (keras.losses.sparse_categorical_crossentropy, True),
        (Renamed(), True),
        (["categorical_crossentropy"], False),
        (keras.losses.CategoricalHinge(), False),
    ],
)
def test_targets_are_those_of_the_loss(loss, sparse):
    expected = NUMBERS[:, None] if sparse else np.eye(3)[NUMBERS]
    np.testing.assert_array_equal(class_targets(compiled(loss), (3,), NUMBERS, 3), expected)


def test_a_single_output_is_for_two_classes():
    found = class_targets(compiled("hinge", 1), (1,), np.array([0, 1]), 2)
    np.testing.assert_array_equal(found, [[0.0], [1.0]])
    with pytest.raises(InputError, match=r"expected a model with an output for each of the 3 classes, got \(1,\)"):
        class_targets(compiled("hinge", 1), (1,), NUMBERS, 3)


def test_weights_have_one_number_for_each_sample():
    found = float_weights([0, 2.5], 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0, 2.5])
    for bad, message in (
        ([1.0], r"expected sample_weight of shape \(2,\), not all of them zero, got shape \(1,\)"),
        ([[1.0], [2.0]], r"got shape \(2, 1\)"),
        ([0, 0], "got only 0"),
        ([1, np.nan], "expected finite float32 numbers as sample_weight, got nan in sample 1"),
        (2.0, "expected sample_weight as an array"),
    ):
        with pytest.raises(InputError, match=message):
            float_weights(bad, 2)


def test_samples_stay_sparse():
    x = np.array([[1.0, 0.0], [0.0, 2.0]])
    dense, sparse = (loader(each, np.zeros(2), None, 2) for each in (x, csr_matrix(x)))
    assert isinstance(sparse.dataset, BagDataset)
    for batches in (dense, sparse):
        ((found, _),) = batches
        np.testing.assert_array_equal(found.to_dense(), x)


def test_the_shape_of_outputs_is_that_of_one_sample():
    assert output_shape(compiled("mse"), 2) == (3,)
    with pytest.raises(InputError, match="expected a model that takes 5 features, got: "):
        output_shape(compiled("mse"), 5)
