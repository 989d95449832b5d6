"""Bags of words compared with counts in plain Python, and the batches that BagDataset makes of them."""

from collections import Counter
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.errors import InputError
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

WORDS = 12
some_reviews = st.lists(st.lists(st.integers(0, WORDS - 1), max_size=9), min_size=1, max_size=8)


def flat(reviews):
    """The word ids of all reviews and their offsets."""
    return np.array([word for review in reviews for word in review], int), np.cumsum([0, *map(len, reviews)])


def dense(reviews, counts=False):
    """The bags, computed word by word."""
    out = np.zeros((len(reviews), WORDS), np.float32)
    for i, review in enumerate(reviews):
        for word, times in Counter(review).items():
            out[i, word] = times if counts else 1
    return out


@settings(max_examples=60, deadline=None)
@given(some_reviews, st.booleans())
def test_bags_hold_each_word_once_or_its_count(reviews, counts):
    bags = bag_of_words(*flat(reviews), WORDS, counts=counts)

    assert bags.dtype == np.float32
    assert bags.nnz == sum(len(set(review)) for review in reviews)
    np.testing.assert_array_equal(bags.toarray(), dense(reviews, counts))


@settings(max_examples=60, deadline=None)
@given(some_reviews, st.data())
def test_a_batch_holds_the_samples_in_the_order_of_their_indices(reviews, data):
    index = data.draw(st.lists(st.integers(0, len(reviews) - 1), min_size=1, max_size=10))
    dataset = BagDataset(bag_of_words(*flat(reviews), WORDS), np.arange(len(reviews)), np.arange(len(reviews)) / 2)

    x, y, weight = dataset.__getitems__(index)

    assert x.layout == torch.sparse_csr
    assert x.shape == (len(index), WORDS)
    np.testing.assert_array_equal(x.to_dense(), dense(reviews)[index])
    assert y[:, 0].tolist() == index
    assert weight.tolist() == [i / 2 for i in index]


@pytest.mark.parametrize("device", ["cuda", "cpu"])
@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
def test_every_format_gives_the_same_batch_on_every_device(layout, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    matrix = scipy.sparse.csr_matrix(np.triu(np.ones((4, 5), "float32")))
    x, y = BagDataset(matrix.asformat(layout), range(4), device=device).__getitems__([3, 0, -1])
    assert x.device.type == y.device.type == device
    assert x.to_dense().tolist() == matrix.toarray()[[3, 0, 3]].tolist()
    assert y.tolist() == [[3], [0], [3]]


def test_the_values_on_a_device_are_those_of_the_converted_matrix(monkeypatch):
    """The meta device keeps shapes and types: enough to see which arrays were copied, without an accelerator."""
    counts = scipy.sparse.coo_matrix(([1.0, 2.0, 3.0], ([0, 0, 1], [2, 2, 1])), shape=(2, 4))
    monkeypatch.setattr("k3torch.data.bags._usable_device", torch.device)
    there = BagDataset(counts, [0, 1], device="meta")._on_device
    assert there._ids.shape == there._values.shape == (2,)  # the two values of one place are summed
    assert there._ids.dtype == torch.int32
    assert there._values.dtype == torch.float32


@pytest.mark.parametrize("number", [0, 1, 2, 3, 5])
def test_reviews_counted_in_chunks_are_joined(monkeypatch, number):
    reviews = [[i, i, i + 1] for i in range(number)]
    monkeypatch.setattr("k3torch.data.bags.CHUNK", 2)

    assert bag_of_words(*flat(reviews), WORDS).toarray().tolist() == dense(reviews).tolist()


def test_one_sample_is_dense():
    x, y = BagDataset(bag_of_words([1, 3, 3], [0, 0, 3], 5), [0, 1])[1]

    assert x.tolist() == [0, 1, 0, 1, 0]
    assert y.tolist() == [1]


def test_the_loader_yields_every_sample_once_in_an_order_set_by_the_seed():
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
        ([1, 5], [0, 2], "word ids from 0 to 4, got 1 to 5: load the reviews with the same num_words, or raise it"),
        ([-1, 2], [0, 2], "word ids from 0 to 4, got -1 to 2"),
        ([1, 2], [0, 1], r"offsets that do not decrease, from 0 to 2, .* got 2 from \[0\] to \[1\]"),
        ([1, 2], [1, 2], "offsets that do not decrease, from 0 to 2"),
        ([1, 2], [0, 2, 1, 2], "offsets that do not decrease, from 0 to 2"),
        ([], [], "offsets that do not decrease, from 0 to 0"),
        ([1.5], [0, 1], r"ids as integers in one dimension, got float64 of shape \(1,\)"),
        ([True], [0, 1], "ids as integers in one dimension, got bool"),
        (["a"], [0, 1], "numbers as ids, got 'a' in sample 0"),
        ([[1]], [0, 1], r"ids as integers in one dimension, got int64 of shape \(1, 1\)"),
        ([[1], [1, 2]], [0, 1], "ids as an array of numbers, got lists of unequal lengths"),
        ([1], [0.0, 1.0], "offsets as integers in one dimension, got float64"),
    ],
)
def test_bad_reviews_are_refused_in_one_line(ids, offsets, message):
    with pytest.raises(InputError, match=message) as caught:
        bag_of_words(ids, offsets, 5)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_unsigned_offsets_that_decrease_are_refused(dtype):
    offsets = np.array([0, 1, 2] + [1, 2] * 1023 + [2], dtype=dtype)
    with pytest.raises(InputError, match="offsets that do not decrease"):
        bag_of_words([14, 89], offsets, 100)


def test_unsigned_ids_and_offsets_count_as_signed_ones_do():
    ids, offsets = flat([[3, 3], [], [1]])
    bags = bag_of_words(ids.astype(np.uint64), offsets.astype(np.uint8), np.int32(WORDS), counts=True)
    assert bags.toarray().tolist() == dense([[3, 3], [], [1]], counts=True).tolist()


@pytest.mark.parametrize("num_words", [10.5, 9.0, True, "9", None, 0, -1])
def test_num_words_that_is_no_count_is_refused(num_words):
    with pytest.raises(InputError, match=f"num_words as a whole number of 1 or more, got {num_words!r}"):
        bag_of_words([1], [0, 1], num_words)


@pytest.mark.parametrize("counts", ["no", None, 1, []])
def test_counts_that_is_no_bool_is_refused_along_with_num_words(counts):
    with pytest.raises(InputError) as caught:
        bag_of_words([1], [0, 1], 0, counts=counts)
    assert str(caught.value) == (
        "expected num_words as a whole number of 1 or more, got 0; "
        f"expected counts as one of True, False, got {counts!r}"
    )


def test_numbers_beyond_32_bits_are_refused():
    with pytest.raises(InputError, match=f"num_words below {2**31}, got {2**31}"):
        bag_of_words([1], [0, 1], 2**31)
    with pytest.raises(InputError, match=f"fewer than {2**31} ids, got {2**31}: encode the reviews in parts"):
        bag_of_words(np.broadcast_to(np.int32(0), (2**31,)), [0, 2**31], 5)


def some_bags(samples=3):
    return scipy.sparse.csr_matrix(np.eye(samples, 5, dtype="float32"))


def test_lengths_that_differ_are_named():
    with pytest.raises(InputError, match="expected 3 labels, one for each sample, got 2"):
        BagDataset(some_bags(), [0, 1])
    with pytest.raises(InputError, match="expected 3 sample weights, one for each sample, got 2"):
        BagDataset(some_bags(), [0, 1, 0], [1, 2])
    with pytest.raises(InputError, match=r"expected one weight for each sample, got \(3, 2\)"):
        BagDataset(some_bags(), [0, 1, 0], np.ones((3, 2)))


SERIES = pd.Series([2, 0, 1], index=[5, 6, 7])


@pytest.mark.parametrize(
    "labels",
    [SERIES, SERIES.to_frame(), SERIES.to_frame("y")["y"], [2, 0, 1], np.array([2, 0, 1]), torch.tensor([2, 0, 1])],
)
def test_labels_and_weights_come_in_any_container(labels):
    _, y, weight = BagDataset(some_bags(), labels, labels).__getitems__([0, 1, 2])
    assert y.dtype == weight.dtype == torch.float32
    assert y.tolist() == [[2], [0], [1]]
    assert weight.tolist() == [2, 0, 1]


def test_labels_of_several_outputs_keep_their_columns():
    _, y = BagDataset(some_bags(), [[1, 2], [3, 4], [5, 6]])[2]
    assert y.tolist() == [5, 6]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_labels_and_weights_that_are_not_finite_are_refused_with_their_sample(bad):
    with pytest.raises(InputError, match=f"finite float32 numbers as labels, got {bad} in sample 1"):
        BagDataset(some_bags(), [0, bad, 1])
    with pytest.raises(InputError, match=f"finite float32 numbers as sample weights, got {bad} in sample 2"):
        BagDataset(some_bags(), [0, 1, 1], [1, 1, bad])


def test_labels_of_text_are_refused():
    with pytest.raises(InputError, match="expected numbers as labels, got 'pos' in sample 0"):
        BagDataset(some_bags(), ["pos", "neg", "pos"])


def test_bags_are_checked():
    with pytest.raises(InputError, match="expected bags as a SciPy sparse matrix, got ndarray"):
        BagDataset(np.eye(3), [0] * 3)
    bags = some_bags()
    bags.indices[1] = 5
    with pytest.raises(InputError, match="expected indices of bags from 0 to 4, got 0 to 5"):
        BagDataset(bags, [0] * 3)


@pytest.mark.parametrize("device", ["xyz", "cuda:99", "", 3.5, "meta", "hpu"])
def test_a_device_that_is_not_there_is_one_line(device):
    with pytest.raises(InputError, match=rf"expected a device of this machine \(.*cpu\), got {device!r}") as caught:
        BagDataset(some_bags(), [0] * 3, device=device)
    assert "\n" not in str(caught.value)


def test_masked_values_are_refused():
    labels = np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False])
    for values, found in ((labels, 1), ([labels[1], labels[0], labels[1]], 2), ([[v] for v in labels], 1)):
        with pytest.raises(InputError, match=f"expected labels without masked values, got {found}"):
            BagDataset(some_bags(), values)
        with pytest.raises(InputError, match=f"expected sample weights without masked values, got {found}"):
            BagDataset(some_bags(), [0, 1, 0], values)
    assert BagDataset(some_bags(), np.ma.masked_array([1.0, 2.0, 3.0])).labels_and_weights[0].tolist() == [
        [1],
        [2],
        [3],
    ]


def test_a_dataset_describes_itself():
    dataset = BagDataset(scipy.sparse.csr_matrix(np.triu(np.ones((3, 5)))), [0, 1, 2])
    assert repr(dataset) == "BagDataset(3 samples, 5 words, 12 nonzero values, device=cpu)"


@pytest.mark.parametrize("part", [slice(0, 2), slice(None), slice(None, None, -1), slice(-1, 9), slice(2, 1)])
def test_a_slice_is_a_batch(part):
    dataset = BagDataset(some_bags(), [4, 5, 6])
    x, y = dataset[part]
    assert x.layout == torch.sparse_csr
    assert x.to_dense().tolist() == np.eye(3, 5)[part].tolist()
    assert y.tolist() == np.array([[4], [5], [6]])[part].tolist()


@pytest.mark.parametrize("index", ["a", 1.5, None, [0, 1], (0, 1), np.array([0, 1]), np.float32(1)])
def test_an_index_that_is_no_number_is_a_type_error(index):
    with pytest.raises(TypeError, match=re.escape(f"expected an index as a whole number or a slice, got {index!r}")):
        BagDataset(some_bags(), [0] * 3)[index]


@pytest.mark.parametrize("indices", ["a", ["a"], [1.5], None, [True], [[0, 1]], [[0], [0, 1]], [None], 3])
def test_indices_that_are_no_numbers_are_a_type_error(indices):
    with pytest.raises(TypeError, match=re.escape(f"whole numbers in one dimension, got {indices!r}")):
        BagDataset(some_bags(), [0] * 3).__getitems__(indices)


@pytest.mark.parametrize("index", [1, np.int8(1), np.array(1), torch.tensor(1), -2])
def test_an_index_may_be_of_any_integer_type(index):
    assert BagDataset(some_bags(), [4, 5, 6])[index][1].tolist() == [5]


@pytest.mark.parametrize(
    ("indices", "found"), [([3], "3 to 3"), ([0, -4], "-4 to 0"), ([10**30], f"{10**30} to {10**30}")]
)
def test_indices_out_of_range_are_an_index_error(indices, found):
    with pytest.raises(IndexError, match=f"expected indices from 0 to 2, got {found}"):
        BagDataset(some_bags(), [0] * 3).__getitems__(indices)


def test_iterating_over_a_dataset_ends_after_its_last_sample():
    assert [y.item() for _, y in BagDataset(some_bags(), [4, 5, 6])] == [4, 5, 6]


def test_an_empty_batch_has_no_rows():
    x, y = BagDataset(some_bags(), [0] * 3).__getitems__([])
    assert x.shape == (0, 5)
    assert y.shape == (0, 1)
