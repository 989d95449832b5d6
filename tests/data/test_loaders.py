from hypothesis import given
from hypothesis import strategies as st
from k3torch.data.loaders import array_loader, class_weights
import numpy as np
import torch


@given(st.integers(1, 40), st.integers(1, 12))
def test_every_row_comes_once_and_stays_with_its_target(n, batch_size):
    rows = np.arange(n)
    loader = array_loader(rows[:, None], -rows, batch_size=batch_size, shuffle=True, seed=3)
    batches = list(loader)
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    assert sorted(x[:, 0].tolist()) == rows.tolist()
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


def test_without_shuffle_the_rows_keep_their_order():
    assert [x.tolist() for (x,) in array_loader(np.arange(5), batch_size=2)] == [[0, 1], [2, 3], [4]]


def test_class_weights_become_weights_of_rows():
    assert class_weights([[0.0], [1.0], [2.0], [1.0]], {1: 3.0, 0: 0.5}).tolist() == [0.5, 3, 1, 3]
