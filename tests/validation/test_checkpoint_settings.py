"""What has to be the same is described so that other data, models and callbacks give another text."""

from k3torch.validation.checkpoint_settings import call_settings, checksum
from k3torch.validation.jobs import Data
import keras
import numpy as np
import pytest
import scipy.sparse


@pytest.mark.parametrize("other", [[[1.0, 2.0], [3.0, 5.0]], [[1.0, 2.0, 3.0, 4.0]], np.array([[1, 2], [3, 4]])])
def test_other_arrays_have_other_checksums(other):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert checksum(x) == checksum(np.asfortranarray(x)) != checksum(np.asarray(other))


def test_a_sparse_matrix_is_described_by_its_parts():
    rows = scipy.sparse.csr_matrix([[0.0, 2.0], [3.0, 0.0]])
    assert checksum(rows).startswith("2x2, checksum ")
    assert checksum(rows) != checksum(rows * 2)


def test_the_settings_of_a_call():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    data = Data.of(np.ones((4, 2)), np.ones(4), None, None)
    stopping = keras.callbacks.EarlyStopping(patience=4, min_delta=0.5)
    found = call_settings("search", model, data, [[(np.arange(2), np.arange(2, 4))]], [stopping], epochs=3)
    assert found["a checkpoint of"] == "search"
    assert found["x"].startswith("4x2, checksum ")
    assert found["folds"].startswith("1 (2, checksum ")
    assert (found["epochs"], found["weights"], found["layers"]) == (3, "2x3, 3", "Dense")
    stopping.set_model(model)
    stopping.on_train_begin()
    stopping.on_epoch_end(0, {"val_loss": 1.0})  # Keras changes the sign of min_delta
    again = call_settings("search", model, data, [[(np.arange(2), np.arange(2, 4))]], [stopping], epochs=3)
    assert "patience=4, min_delta=0.5" in found["callbacks"]
    assert again == found
