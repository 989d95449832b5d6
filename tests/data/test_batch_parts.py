"""Each sample of a batch belongs to one process, in the order of a process alone; nothing is repeated."""

import k3torch
from k3torch.data.batch_parts import BatchParts, own_parts
from k3torch.errors import InputError
import numpy as np
import pytest
from scipy.sparse import csr_matrix
import torch
from torch.utils.data import DataLoader, Dataset, Subset

SAMPLES = 10
NUMBERS = np.arange(SAMPLES, dtype="float32")[:, None]


def bags():
    return k3torch.BagDataset(csr_matrix(NUMBERS + 1), NUMBERS)


def arrays():
    return k3torch.array_loader(NUMBERS + 1, NUMBERS, batch_size=1).dataset


class OneByOne(Dataset):
    def __len__(self):
        return SAMPLES

    def __getitem__(self, i):
        return torch.tensor(NUMBERS[i] + 1), torch.tensor(NUMBERS[i])


def parts(dataset, batch_size, count, shuffle=False):
    """Return the labels of each batch in each process."""
    loaders = [
        k3torch.bag_loader(BatchParts(dataset, rank, count), batch_size, shuffle=shuffle, seed=1)
        for rank in range(count)
    ]
    return [[y[:, 0].int().tolist() for _, y in loader] for loader in loaders]


@pytest.mark.parametrize("dataset", [bags, arrays])
def test_every_second_sample_of_a_batch(dataset):
    assert parts(dataset(), 4, 2) == [[[0, 2], [4, 6], [8]], [[1, 3], [5, 7], [9]]]


@pytest.mark.parametrize("dataset", [bags, arrays])
def test_parts_of_the_last_batch_differ_by_one_sample_or_are_empty(dataset):
    assert parts(dataset(), 9, 2) == [[[0, 2, 4, 6, 8], [9]], [[1, 3, 5, 7], []]]
    assert parts(dataset(), 5, 4) == [[[0, 4], [5, 9]], [[1], [6]], [[2], [7]], [[3], [8]]]


def test_an_empty_part_has_the_shape_of_a_batch():
    (_, (x, y)) = k3torch.bag_loader(BatchParts(bags(), 1, 2), 9)
    assert (x.shape, x.layout, y.shape) == ((0, 1), torch.sparse_csr, (0, 1))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_together_the_parts_are_the_batches_of_a_process_alone(count):
    alone = [y[:, 0].int().tolist() for _, y in k3torch.bag_loader(bags(), 4, shuffle=True, seed=1)]
    ranks = parts(bags(), 4, count, shuffle=True)
    for number, batch in enumerate(alone):
        assert [rank[number] for rank in ranks] == [batch[first::count] for first in range(count)]


def test_the_parts_of_a_subset():
    assert parts(Subset(bags(), [9, 7, 5, 3]), 4, 2) == [[[9, 5]], [[7, 3]]]
    assert BatchParts(Subset(bags(), [9, 7]), 1, 2)[1][1].tolist() == [7]


def test_a_dataset_of_single_samples():
    loaders = [DataLoader(BatchParts(OneByOne(), rank, 2), batch_size=4) for rank in (0, 1)]
    assert [[y[:, 0].int().tolist() for _, y in each] for each in loaders] == [
        [[0, 2], [4, 6], [8]],
        [[1, 3], [5, 7], [9]],
    ]
    assert [len(each) for each in loaders] == [3, 3]
    with pytest.raises(
        InputError, match=r"^expected a sample for each of 2 processes in each batch, got 1 in one: give"
    ):
        list(DataLoader(BatchParts(OneByOne(), 1, 2), batch_size=3))


def test_a_process_alone_gets_the_dataset_itself():
    dataset = bags()
    assert own_parts(dataset) is dataset
    assert (BatchParts(dataset).rank, BatchParts(dataset).count, len(BatchParts(dataset))) == (0, 1, SAMPLES)


@pytest.mark.parametrize(
    ("rank", "count", "line"),
    [
        (2, 2, "expected rank below count, got 2 of 2"),
        (-1, 2, "expected rank as a whole number of 0 or more, got -1"),
        (0, 0, "expected count as a whole number of 1 or more, got 0"),
        (0, 11, "expected as many samples as processes or more, got 10 for 11: start fewer"),
    ],
)
def test_bad_arguments_are_one_line(rank, count, line):
    with pytest.raises(InputError) as refused:
        BatchParts(bags(), rank, count)
    assert str(refused.value) == line
