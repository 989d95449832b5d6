"""Batches that are gathered on a device, compared with rows of the matrix; here the device is the CPU."""

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data import device_bags
from k3torch.data.bags import BagDataset
from k3torch.data.device_bags import DeviceBags, suits_dense_batches
import numpy as np
import pytest
import scipy.sparse
import torch

CPU = torch.device("cpu")
some_bags = st.lists(st.lists(st.integers(0, 3), min_size=5, max_size=5), min_size=1, max_size=8)


def batch(bags, index, dense):
    return DeviceBags(bags, CPU, dense).batch(np.array(index), torch.tensor(index))


@settings(max_examples=40, deadline=None)
@given(rows=some_bags, data=st.data())
def test_a_sparse_batch_is_that_of_a_dataset_on_the_cpu(rows, data):
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10))
    bags = scipy.sparse.csr_matrix(np.array(rows, "float32"))
    found, expected = batch(bags, index, dense=False), BagDataset(bags, np.zeros(len(rows))).__getitems__(index)[0]
    assert found.shape == expected.shape
    for part in ("crow_indices", "col_indices", "values"):
        torch.testing.assert_close(getattr(found, part)(), getattr(expected, part)(), rtol=0, atol=0, check_dtype=False)


@pytest.mark.parametrize("limit", [0, 2**30])
@settings(max_examples=40, deadline=None)
@given(rows=some_bags, data=st.data())
def test_a_dense_batch_has_rows_of_the_dense_matrix(limit, rows, data):
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10))
    bags = scipy.sparse.csr_matrix(np.array(rows, "float32"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(device_bags, "DENSE_BYTES", limit)
        assert batch(bags, index, dense=True).tolist() == bags.toarray()[index].tolist()
    found, *_ = BagDataset(bags, np.zeros(len(rows)), dense=True).__getitems__(index)
    assert found.tolist() == bags.toarray()[index].tolist()


@pytest.mark.parametrize(
    ("value", "limit", "in_bytes"),
    [(255, 12, True), (255, 11, False), (256, 12, False), (-1, 12, False), (0.5, 12, False)],
)
def test_a_dense_matrix_is_kept_in_bytes_where_these_hold_its_values(monkeypatch, value, limit, in_bytes):
    monkeypatch.setattr(device_bags, "DENSE_BYTES", limit)
    bags = scipy.sparse.csr_matrix(np.array([[0, value, 0, 1], [2, 0, 0, 0], [0, 0, 0, 0]], "float32"))
    there, index = DeviceBags(bags, CPU, dense=True), [2, 0, 1, 0]
    x = there.batch(np.array(index), torch.tensor(index))
    assert (there._bytes is not None) == in_bytes
    assert (x.dtype, x.is_contiguous()) == (torch.float32, True)
    assert x.tolist() == bags.toarray()[index].tolist()


def test_values_that_a_matrix_stores_twice_are_summed_in_a_dense_batch():
    twice = scipy.sparse.csr_matrix((np.float32([1, 2, 3]), [2, 2, 1], [0, 2, 3]), shape=(2, 4))
    assert batch(twice, [1, 0], dense=True).tolist() == [[0, 3, 0, 0], [0, 0, 3, 0]]


@pytest.mark.parametrize(
    ("words", "ids", "expected"), [(4, 6, True), (3, 6, False), (4, 5, False)], ids=["both", "words", "ids"]
)
def test_batches_are_dense_by_default_for_few_words_and_ids(monkeypatch, words, ids, expected):
    monkeypatch.setattr(device_bags, "DENSE_WORDS", words)
    monkeypatch.setattr(device_bags, "PADDED_IDS", ids)
    bags = scipy.sparse.csr_matrix(np.array([[0, 1, 0, 1], [2, 0, 0, 0], [0, 0, 0, 0]], "float32"))
    assert suits_dense_batches(bags) is expected
