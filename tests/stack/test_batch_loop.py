"""Batches, stacked samples, and a loop over them."""

from k3torch.stack.batch_loop import BatchLoop, Samples, StackedSamples, batches, first_batches
import numpy as np
import pytest
import torch


def samples(length, weighted=False):
    x = np.arange(length * 2, dtype="float32").reshape(length, 2)
    return Samples(x, x[:, :1] * 10, np.ones(length, "float32") if weighted else None)


@pytest.mark.parametrize(
    ("size", "expected"), [(4, [[6, 5, 4, 3]]), (3, [[2, 1, 0]]), (2, []), (1, [])], ids=["full", "last", "2", "1"]
)
def test_batches_are_the_full_ones_or_the_last(size, expected):
    found = batches(np.arange(7)[::-1], 4, size)
    assert found.tolist() == expected
    assert found.shape == (len(expected), size)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [(7, [[0, 1, 2], [6], [3, 4, 5]]), (6, [[0, 1, 2], [3, 4, 5]]), (2, [[0, 1]])],
)
def test_the_first_batches_have_the_shorter_last_one_as_the_second(samples, expected):
    for count in (1, 2, 5):
        assert [batch.tolist() for batch in first_batches(samples, 3, count)] == expected[:count]


def test_samples_are_padded_with_zeros():
    stacked = StackedSamples.of([samples(3), samples(1)], torch.device("cpu"))
    assert stacked.lengths == [3, 1]
    assert [array.shape for array in stacked.arrays] == [(2, 3, 2), (2, 3, 1)]
    assert stacked.arrays[0][1].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert len(StackedSamples.of([samples(3, weighted=True)], torch.device("cpu")).arrays) == 3


def test_some_models_see_the_same_tensors():
    stacked = StackedSamples.of([samples(3), samples(1)], torch.device("cpu"))
    part = stacked.of_models(slice(1, 2))
    part.arrays[0][0, 0, 0] = 7
    assert part.lengths == [1]
    assert stacked.arrays[0][1, 0, 0] == 7


def test_batch_counts_of_full_and_last_batches():
    stacked = StackedSamples.of([samples(9), samples(6), samples(8)], torch.device("cpu"))
    assert stacked.batch_counts(4) == {4: 2, 2: 1, 1: 1}
    assert stacked.batch_counts(1) == {1: 9}
    assert stacked.batch_counts(10) == {9: 1, 8: 1, 6: 1}


def add_up(state, x, y, sample_weight):
    """A step that notes the batches: the sum of x[:, 0], decayed, so that the order counts."""
    factor = 1 if sample_weight is None else sample_weight.sum()
    return [state[0], state[1] / 2 + x[:, 0].sum() * factor]


def loop_over(models, batch_size, size, weighted=False):
    stacked = StackedSamples.of([samples(length, weighted) for length in models], torch.device("cpu"))
    state = [torch.full((len(models),), 5.0), torch.zeros(len(models))]
    most = stacked.batch_counts(batch_size)[size]
    return BatchLoop("training", add_up, state, 1, stacked, batch_size, size, most), state


def run(loop, orders):
    loop.load(orders)
    traced = loop.graph()
    for _ in range(loop.begin()):
        traced.graph(*traced.inputs)
    return traced


def test_a_loop_takes_the_batches_in_the_given_order():
    loop, state = loop_over([5], 2, 2)
    traced = run(loop, [np.array([4, 0, 3, 1, 2])])
    assert traced.name == "training, batches of 2"
    assert state[1].tolist() == [(8 + 0) / 2 + (6 + 2)]
    assert state[0].tolist() == [5]
    assert traced.inputs[-2] == 2  # the position


def test_reversed_views_are_orders_too():
    loop, state = loop_over([5], 4, 1)
    run(loop, [np.arange(5)[::-1]])
    assert state[1].tolist() == [0]
    loop, state = loop_over([2], 1, 1)
    run(loop, [np.arange(2)[::-1]])
    assert state[1].tolist() == [2 / 2 + 0]


def test_a_model_with_fewer_batches_keeps_its_state():
    loop, state = loop_over([4, 2], 2, 2)
    run(loop, [np.arange(4), np.arange(2)])
    assert state[1].tolist() == [(0 + 2) / 2 + (4 + 6), 0 + 2]


def test_sample_weights_are_gathered_with_the_batch():
    loop, state = loop_over([4], 2, 2, weighted=True)
    run(loop, [np.arange(4)])
    assert state[1].tolist() == [(0 + 2) * 2 / 2 + (4 + 6) * 2]


def test_a_new_loop_can_run_and_draws_no_random_number():
    before = torch.get_rng_state()
    loop, state = loop_over([4], 2, 2)
    assert torch.equal(torch.get_rng_state(), before)
    traced = loop.graph()
    traced.graph(*traced.inputs)
    assert state[1].tolist() == [2]
    loop.draw_seed()
    assert int(traced.inputs[-1]) > 1
