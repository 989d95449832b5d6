"""Small models compute in one thread with denormals flushed, inside fit, evaluate and predict; afterwards as before."""

from k3torch import FastModel, SparseDense, bag_loader, runtime
from k3torch.data.bags import BagDataset
from k3torch.training.step_threads import MULTIPLICATIONS, WEIGHTS, is_small, threads_for, threads_of_sparse_step
import keras
import numpy as np
import pytest
import scipy.sparse
import torch
from torch.utils.data import DataLoader, TensorDataset


def chain(width, features=4, first=keras.layers.Dense):
    inputs = keras.Input((features,))
    hidden = keras.layers.Activation("relu")(first(width)(inputs))
    model = FastModel(inputs, keras.layers.Dense(1)(hidden))
    model.compile("sgd", "mse")
    return model


def state():
    """Return the number of threads, and whether denormals are flushed."""
    return torch.get_num_threads(), (torch.tensor([1e-30]) * 1e-10).item() == 0


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = set()

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.add(state())

    def on_test_batch_end(self, batch, logs=None):
        self.seen.add(state())

    def on_predict_begin(self, logs=None):
        self.seen.add(state())


X, Y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_a_small_model_computes_in_one_thread_and_puts_all_back(method):
    watch = Watch()
    arguments = (X,) if method == "predict" else (X, Y)
    getattr(chain(4), method)(*arguments, callbacks=[watch], verbose=0)
    assert watch.seen == {(1, True)}
    assert state() == (2, False)


def test_after_an_exception_all_is_as_before():
    class Fails(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        chain(4).fit(X, Y, callbacks=[Fails()], verbose=0)
    assert state() == (2, False)


def test_flushing_that_the_caller_has_set_stays():
    torch.set_flush_denormal(True)
    try:
        chain(4).fit(X, Y, verbose=0)
        assert state() == (2, True)
    finally:
        torch.set_flush_denormal(False)


def test_a_large_matrix_product_keeps_the_threads_of_the_caller():
    wide = 2048
    watch = Watch()
    x = np.ones((2 * MULTIPLICATIONS // (wide * 4), 4), "float32")
    chain(wide).evaluate(x, x[:, :1], batch_size=len(x), callbacks=[watch], verbose=0)
    assert watch.seen == {(2, True)}


@pytest.mark.parametrize(
    ("model", "samples", "small"),
    [
        (chain(64), 16, True),
        (chain(64), 2 * MULTIPLICATIONS // (64 * 5), False),
        (chain(16, features=10_000, first=SparseDense), 512, True),  # the product costs only the words that occur
        (chain(2, features=WEIGHTS, first=SparseDense), 1, False),  # but the optimizer goes through all weights
        (keras.Sequential([keras.Input((4, 1)), keras.layers.Conv1D(1, 2)]), 1, False),
        (keras.Sequential([keras.layers.Dense(2)]), 1, False),  # not built
    ],
)
def test_the_size_is_that_of_the_largest_operation(model, samples, small):
    assert is_small(model, samples) is small


@pytest.mark.parametrize(
    ("x", "batch_size", "threads"),
    [
        (X, None, 1),
        (torch.ones(8, 4), 10**7, 2),
        ([X], None, 1),
        (DataLoader(TensorDataset(torch.ones(8, 4)), 2), None, 1),
        (DataLoader(TensorDataset(torch.ones(8, 4)), batch_size=10**7), None, 2),
        (bag_loader(BagDataset(scipy.sparse.csr_matrix(X), Y), 2), None, 1),
        ((batch for batch in [X]), None, 2),  # unknown before the first batch
        (None, None, 2),
    ],
)
def test_the_size_of_a_batch_is_that_of_the_loader_or_the_argument(x, batch_size, threads):
    with threads_for(chain(4), x, batch_size):
        assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("width", "values", "threads"),
    [(4, 100, 1), (4, 2**18, 1), (4, 2**18 + 1, 3), (2**17, 100, 3)],
    ids=["small", "at the limit", "a large product", "a large layer"],
)
def test_a_sparse_step_takes_one_thread_for_small_products(width, values, threads):
    model = keras.Sequential([keras.Input((64,)), SparseDense(16), keras.layers.Dense(width)])
    offsets, ids = torch.tensor([0, values], dtype=torch.int32), torch.zeros(values, dtype=torch.int32)
    x = torch.sparse_csr_tensor(offsets, ids, torch.ones(values), (1, 64), check_invariants=False)
    with runtime.threads(3):
        with threads_of_sparse_step(model, x):
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 3
