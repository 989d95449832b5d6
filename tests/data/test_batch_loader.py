"""BatchLoader against a plain DataLoader: the same batches, in the same order, from the same generator state."""

from k3torch.data.batch_loader import BatchLoader, takes_arrays
from k3torch.data.loaders import identity
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset


class Numbers(Dataset):
    """Samples that are their own numbers; notes the types of what it is asked for."""

    def __init__(self, count=13):
        self.count = count
        self.asked = []

    def __len__(self):
        return self.count

    @takes_arrays
    def __getitems__(self, indices):
        self.asked.append(type(indices))
        return [list(range(self.count))[int(index)] for index in indices]


class Overridden(Numbers):
    def __getitems__(self, indices):
        assert isinstance(indices, list)
        return super().__getitems__(indices)


def both(dataset, **arguments):
    return [
        kind(dataset, generator=torch.Generator().manual_seed(3), collate_fn=identity, **arguments)
        for kind in (BatchLoader, DataLoader)
    ]


DATASETS = {
    "all": lambda: Numbers(),
    "range": lambda: Subset(Numbers(), range(2, 12, 3)),
    "list": lambda: Subset(Numbers(), [5, 1, -1, 5]),
    "array": lambda: Subset(Numbers(), np.array([5, 1, -1, 5])),
    "tensor": lambda: Subset(Numbers(), torch.tensor([7, 8, 9])),
    "nested": lambda: Subset(Subset(Numbers(), [9, 8, 7, 6, 5]), [0, 4, -2]),
    "overridden": lambda: Overridden(),
    "one": lambda: Numbers(1),
}


@pytest.mark.parametrize("size", [1, 3, 4, 13, 20])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("name", DATASETS)
def test_batches_and_generator_are_those_of_a_dataloader(name, shuffle, size):
    mine, theirs = both(DATASETS[name](), batch_size=size, shuffle=shuffle)
    for _ in range(3):  # as Keras does: two iterators an epoch, of which it uses one, and not past the last batch
        for loader in (mine, theirs):
            iter(loader)
        first, second = iter(mine), iter(theirs)
        for _ in range(len(theirs)):
            assert next(first) == next(second)
            assert torch.equal(mine.generator.get_state(), theirs.generator.get_state())
    assert list(mine) == list(theirs)
    assert torch.equal(mine.generator.get_state(), theirs.generator.get_state())


def test_a_marked_dataset_is_asked_for_arrays_alone():
    dataset = Numbers()
    list(BatchLoader(Subset(dataset, [3, 1, 2]), batch_size=2, collate_fn=identity))
    assert dataset.asked == [np.ndarray, np.ndarray]


def test_batches_go_through_collate_fn():
    assert list(BatchLoader(Numbers(3), batch_size=2, collate_fn=sum)) == [1, 2]


@pytest.mark.parametrize("indices", [[0, 99], [0, -14]])
def test_an_index_out_of_range_is_refused(indices):
    with pytest.raises(IndexError):
        list(BatchLoader(Subset(Numbers(), indices), batch_size=2, collate_fn=identity))


def test_workers_make_the_batches_of_a_dataloader():
    for loader in both(Numbers(), batch_size=4, num_workers=1):
        assert list(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12]]
