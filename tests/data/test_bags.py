"""Bags of words against sets counted in plain Python, and the batches that a Dataset serves of them."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.errors import InputError
import numpy as np
import pytest
import scipy.sparse
import torch

WORDS = 12
reviews = st.lists(st.lists(st.integers(0, WORDS - 1), max_size=9), min_size=1, max_size=8)


def flat(rows):
    return np.array([word for row in rows for word in row], int), np.cumsum([0, *map(len, rows)])


def dense(rows, counts=False):
    """The rows word by word."""
    out = np.zeros((len(rows), WORDS), np.float32)
    for i, row in enumerate(rows):
        for word, times in Counter(row).items():
            out[i, word] = times if counts else 1
    return out


@settings(max_examples=60, deadline=None)
@given(reviews, st.booleans())
def test_bags_hold_each_word_once_or_its_count(rows, counts):
    bags = bag_of_words(*flat(rows), WORDS, counts=counts)

    assert bags.dtype == np.float32
    assert bags.nnz == sum(len(set(row)) for row in rows)
    np.testing.assert_array_equal(bags.toarray(), dense(rows, counts))


@settings(max_examples=60, deadline=None)
@given(reviews, st.data())
def test_a_batch_is_the_rows_asked_for_in_their_order(rows, data):
    index = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10))
    dataset = BagDataset(bag_of_words(*flat(rows), WORDS), np.arange(len(rows)), np.arange(len(rows)) / 2)

    x, y, weight = dataset.__getitems__(index)

    assert x.layout == torch.sparse_csr
    assert x.shape == (len(index), WORDS)
    np.testing.assert_array_equal(x.to_dense(), dense(rows)[index])
    assert y[:, 0].tolist() == index
    assert weight.tolist() == [i / 2 for i in index]


@settings(max_examples=60, deadline=None)
@given(reviews, st.data())
def test_the_gather_for_accelerators_makes_the_same_batch(rows, data):
    index = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=10)))
    dataset = BagDataset(bag_of_words(*flat(rows), WORDS, counts=True), np.zeros(len(rows)))
    dataset._ids, dataset._values = torch.from_numpy(dataset.bags.indices), torch.from_numpy(dataset.bags.data)

    there, here = dataset._gather_there(index), dataset._gather(index)

    for part in ("crow_indices", "col_indices", "values"):
        torch.testing.assert_close(getattr(there, part)(), getattr(here, part)(), rtol=0, atol=0)


@pytest.mark.parametrize("reviews", [0, 1, 2, 3, 5])
def test_chunks_join_without_a_seam(monkeypatch, reviews):
    rows = [[i, i, i + 1] for i in range(reviews)]
    monkeypatch.setattr("k3torch.data.bags.CHUNK", 2)

    assert bag_of_words(*flat(rows), WORDS).toarray().tolist() == dense(rows).tolist()


def test_one_row_is_dense():
    x, y = BagDataset(bag_of_words([1, 3, 3], [0, 0, 3], 5), [0, 1])[1]

    assert x.tolist() == [0, 1, 0, 1, 0]
    assert y.tolist() == [1]


def test_the_loader_walks_every_row_once_in_an_order_of_its_seed():
    dataset = BagDataset(bag_of_words(np.arange(10), np.arange(11), 10), np.arange(10))

    def order(seed):
        loader = bag_loader(dataset, 4, shuffle=True, seed=seed)
        return [[int(v) for _, y in loader for v in y] for _ in range(2)]

    first, second = order(1)
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert order(1) == [first, second]
    assert order(2) != [first, second]
    assert [len(y) for _, y in bag_loader(dataset, 4)] == [4, 4, 2]


def test_the_loader_leaves_the_global_generator_alone():
    loader = bag_loader(BagDataset(bag_of_words([0], [0, 1], 2), [1]), 1, shuffle=True)
    before = torch.get_rng_state()

    list(loader)

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("ids", "offsets", "message"),
    [
        ([1, 5], [0, 2], "ids from 0 to 4, got 1 to 5"),
        ([-1, 2], [0, 2], "ids from 0 to 4, got -1 to 2"),
        ([1, 2], [0, 1], "offsets that rise from 0 to 2"),
        ([1, 2], [0, 2, 1, 2], "offsets that rise from 0 to 2"),
        ([], [], "offsets that rise from 0 to 0"),
    ],
)
def test_bad_reviews_are_named(ids, offsets, message):
    with pytest.raises(InputError, match=message):
        bag_of_words(ids, offsets, 5)


def test_lengths_that_differ_are_named():
    bags = bag_of_words([1], [0, 1], 5)
    with pytest.raises(InputError, match="expected 1 labels, one for each row, got 2"):
        BagDataset(bags, [0, 1])
    with pytest.raises(InputError, match="expected 1 sample weights"):
        BagDataset(bags, [0], [1, 2])


def test_columns_first_are_turned_and_dense_rows_refused():
    rows = scipy.sparse.csr_matrix(np.triu(np.ones((4, 4), "float32")))
    x, _ = BagDataset(rows.tocsc(), [0] * 4).__getitems__([0, 1, 2, 3])
    assert x.to_dense().tolist() == rows.toarray().tolist()
    with pytest.raises(InputError, match="expected bags as a SciPy sparse matrix, got ndarray"):
        BagDataset(rows.toarray(), [0] * 4)


@pytest.mark.parametrize(("ids", "num_words"), [([1.5], 9), (["a"], 9), ([[1]], 9), ([1], 2**31), ([1], 0)])
def test_ids_that_are_none_are_refused(ids, num_words):
    with pytest.raises(InputError, match="expected"):
        bag_of_words(ids, [0, 1], num_words)
