from hypothesis import given
from hypothesis import strategies as st
from k3torch.data.bags import BagDataset, bag_loader
from k3torch.data.loaders import BatchedTensors, array_loader, class_weights, identity
from k3torch.errors import InputError
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
import torch


@given(st.integers(1, 40), st.integers(1, 12))
def test_every_sample_comes_once_and_stays_with_its_target(n, batch_size):
    values = np.arange(n)
    loader = array_loader(values[:, None], -values, batch_size=batch_size, shuffle=True, seed=3)
    batches = list(loader)
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert sorted(x[:, 0].tolist()) == values.tolist()
    assert (y == -x[:, 0]).all()
    assert x.dtype == y.dtype == torch.float32
    assert [len(batch[0]) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)


def test_the_order_changes_by_epoch_repeats_by_seed_and_leaves_the_global_generator_alone():
    def orders(seed):
        loader = array_loader(np.arange(50), batch_size=50, shuffle=True, seed=seed)
        return [next(iter(loader))[0].tolist() for _ in range(2)]

    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    first = orders(1)
    assert torch.equal(torch.rand(3), expected)
    assert first[0] != first[1]
    assert first == orders(1) != orders(2)


def test_without_shuffle_the_samples_keep_their_order():
    assert [x.tolist() for (x,) in array_loader(np.arange(5), batch_size=2)] == [[0, 1], [2, 3], [4]]


def test_a_series_is_read_by_position():
    series = pd.Series([3, 1, 2], index=[7, 8, 9])
    ((x, y),) = array_loader(series.to_frame(), series, batch_size=3)
    assert x.tolist() == [[3], [1], [2]]
    assert y.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (([1, 2, 3], [1, 2]), "expected arrays of equal length, got 3, 2"),
        ((), "expected arrays of equal length, got"),
        (([1, 2], [0, np.nan]), "expected finite float32 numbers as array 2, got nan in sample 1"),
        ((["a"],), "expected numbers as array 1, got 'a' in sample 0"),
    ],
)
def test_bad_arrays_are_refused(arrays, message):
    with pytest.raises(InputError, match=message):
        array_loader(*arrays, batch_size=2)


def test_batched_tensors_return_the_samples_of_the_indices():
    x, y = BatchedTensors(torch.arange(12).reshape(6, 2), torch.arange(6)).__getitems__([4, 0])
    assert x.tolist() == [[8, 9], [0, 1]]
    assert y.tolist() == [4, 0]


def test_identity_returns_its_argument():
    batch = (torch.ones(1),)
    assert identity(batch) is batch


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([[0.0], [1.0], [2.0], [1.0]], [0.5, 3, 1, 3]),
        ([0, 1, 2, 1], [0.5, 3, 1, 3]),
        (np.array([False, True]), [0.5, 3]),
        (pd.Series([1, 0], index=[5, 6]), [3, 0.5]),
        (torch.tensor([1, 0]), [3, 0.5]),
        ([0.1, 0.9, 0.5, 1.5, 2.4], [0.5, 3, 0.5, 1, 1]),  # rounded, halves to the even class
        (np.eye(3)[[2, 0, 1]], [1, 0.5, 3]),
        ([[0.2, 0.5, 0.3], [0.6, 0.3, 0.1]], [3, 0.5]),
        ([[0.5, 0.5]], [0.5]),
        ([], []),
    ],
)
def test_class_weights_are_those_that_keras_computes(labels, expected):
    from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

    weights = class_weights(labels, {1: 3.0, 0: 0.5})
    assert weights.dtype == np.float32
    assert weights.tolist() == expected
    assert class_weight_to_sample_weights(np.asarray(labels), {1: 3.0, 0: 0.5}).tolist() == expected


@given(st.integers(1, 4), st.data())
def test_class_weights_match_keras_for_any_labels(columns, data):
    from keras.src.trainers.data_adapters.data_adapter_utils import class_weight_to_sample_weights

    entry = st.floats(-3, 3, width=32) | st.integers(-3, 3)
    samples = data.draw(st.lists(st.lists(entry, min_size=columns, max_size=columns), min_size=1, max_size=8))
    by_class = data.draw(st.dictionaries(st.integers(-3, 3), st.floats(0, 9, width=32)))
    labels = np.array(samples, "float32")
    assert class_weights(labels, by_class).tolist() == class_weight_to_sample_weights(labels, by_class).tolist()


def test_large_integer_labels_stay_exact():
    assert class_weights([2**24, 2**24 + 1], {2**24 + 1: 2.0}).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("labels", "weights", "message"),
    [
        ([0], {"0": 9}, "integer classes and finite weights of 0 or more, got {'0': 9}"),
        ([0], {0.5: 9, 1: 2}, "got {0.5: 9}"),
        ([0], {0: "a", 1: 2, 2: -1}, "got {0: 'a', 2: -1}"),
        ([0], {0: float("nan")}, "got {0: nan}"),
        ([0], {0: 1e39}, "got {0: 1e[+]39}"),
        ([0], [1, 2], r"class_weight as a dict of class and weight, got \[1, 2\]"),
        (["pos"], {0: 1}, "numbers as labels, got 'pos' in sample 0"),
        ([0, np.nan], {0: 1}, "finite float32 numbers as labels, got nan in sample 1"),
        (np.zeros((2, 2, 2)), {0: 1}, r"labels of shape \(samples,\) or \(samples, classes\), got \(2, 2, 2\)"),
    ],
)
def test_bad_class_weights_are_refused(labels, weights, message):
    with pytest.raises(InputError, match=message) as caught:
        class_weights(labels, weights)
    assert "\n" not in str(caught.value)


def test_class_weights_take_integers_of_numpy():
    assert class_weights([0, 1], {np.int64(1): np.float32(2.5)}).tolist() == [1, 2.5]


@pytest.mark.parametrize(
    "bad",
    [{"batch_size": 0}, {"batch_size": 2.0}, {"batch_size": True}, {"seed": "a"}, {"seed": 2**70}, {"shuffle": "no"}],
)
def test_arguments_of_loaders_that_cannot_be_used(bad):
    bags = BagDataset(csr_matrix(np.eye(3, dtype="float32")), [1, 0, 1])
    for make in (lambda **a: array_loader([1.0, 2.0], **a), lambda **a: bag_loader(bags, **a)):
        with pytest.raises(InputError, match=f"expected {next(iter(bad))}"):
            make(**{"batch_size": 1, **bad})


def test_masked_values_are_refused():
    masked = np.ma.masked_array([1, 2, 3], mask=[False, True, True])
    with pytest.raises(InputError, match=r"^expected array 2 without masked values, got 2: fill or drop them$"):
        array_loader([1, 2, 3], masked, batch_size=1)
    with pytest.raises(InputError, match=r"^expected labels without masked values, got 2: fill or drop them$"):
        class_weights(masked, {1: 2.0})
