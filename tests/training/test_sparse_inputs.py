"""What a model says of a SciPy matrix."""

from k3torch.data.bags import BagDataset, bag_loader
from k3torch.errors import InputError
from k3torch.models.layers import SparseDense
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import pytest
from scipy.sparse import coo_matrix, csc_array, csr_matrix


@pytest.fixture
def model():
    x = keras.Input((4,))
    found = FastModel(x, SparseDense(1)(x))
    found.compile("sgd", "mse")
    return found


X, Y = np.eye(6, 4, dtype="float32"), np.zeros((6, 1))
SAID = r"pass k3torch\.bag_loader\(k3torch\.BagDataset\(x, y\), batch_size\), for predict with zeros as y$"


@pytest.mark.parametrize("kind", [csr_matrix, csc_array, coo_matrix])
def test_a_matrix_is_refused_in_one_line(model, kind):
    said = f"^expected x as arrays, tensors or a loader, got a {kind.__name__}: {SAID}"
    for call in (
        lambda: model.fit(kind(X), Y, verbose=0),
        lambda: model.evaluate(kind(X), Y, verbose=0),
        lambda: model.predict([kind(X)], verbose=0),
    ):
        with pytest.raises(InputError, match=said):
            call()


def test_a_matrix_to_validate_on_is_refused_before_training(model):
    with pytest.raises(InputError, match=f"^expected validation_data as arrays.* got a csr_matrix: {SAID}"):
        model.fit(X, Y, validation_data=(csr_matrix(X), Y), verbose=0)
    assert int(model.optimizer.iterations.value) == 0


def test_what_the_message_says_works(model):
    loader = bag_loader(BagDataset(csr_matrix(X), np.zeros(6)), 4)
    np.testing.assert_allclose(model.predict(loader, verbose=0), model.predict(X, verbose=0), rtol=1e-6)
