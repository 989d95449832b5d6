"""The compiled updates of single rows: the bits do not depend on when a row makes up for the steps it lags behind."""

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch import cpp_library, sparse_kernels
from k3torch.sparse_kernels import ADAGRAD, MOMENTUM, NESTEROV, RMSPROP, SGD, Table
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.skipif(sparse_kernels.load() is None, reason="no C++ compiler")

RULES = {
    SGD: (0.1,),
    MOMENTUM: (0.1, 0.9),
    NESTEROV: (0.1, 0.7),
    RMSPROP: (0.01, 0.9, 0.1, 1e-7),
    ADAGRAD: (0.1, 1e-7),
}


def table(words, units, seed=0):
    draw = torch.Generator().manual_seed(seed)
    weights, slots = torch.randn(words, units, generator=draw), torch.rand(words, units, generator=draw)
    slots[::5] = 0  # words that have not occurred yet
    return Table(weights, slots, torch.zeros(words, dtype=torch.int32))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.data())
def test_distinct_ids_are_numpys(words, data):
    ids = np.array(data.draw(st.lists(st.integers(0, words - 1), max_size=50)), np.int32)
    rows, places = sparse_kernels.load().distinct_ids(torch.from_numpy(ids), words)
    expected, inverse = np.unique(ids, return_inverse=True)
    np.testing.assert_array_equal(rows.numpy(), expected)
    np.testing.assert_array_equal(places.numpy(), inverse)


@pytest.mark.parametrize("ids", [[-1], [0, 64], [3, 2**30]])
def test_unknown_ids_are_none(ids):
    assert sparse_kernels.load().distinct_ids(torch.tensor(ids, dtype=torch.int32), 64) is None


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 1))
def test_rows_that_lag_get_the_bits_of_rows_that_do_not(optimizer, units, seed, often):
    """The same steps, with all rows caught up after each of them, at random, and at the end alone."""
    kernels, words = sparse_kernels.load(), 30
    draw, tables = np.random.default_rng(seed), [table(words, units) for _ in range(3)]
    for step in range(12):
        rows = torch.from_numpy(np.flatnonzero(draw.random(words) < 0.3).astype(np.int32))
        gradient = torch.from_numpy(draw.normal(size=(len(rows), units)).astype(np.float32))
        read = [kernels.read_rows(each, optimizer, RULES[optimizer], rows) for each in tables]
        catch_up = [True, draw.random() < often or step == 11, step == 11]
        for each, now in zip(tables, catch_up, strict=True):
            kernels.update_rows(each, optimizer, RULES[optimizer], rows, gradient)
            if now:
                kernels.catch_up(each, optimizer, RULES[optimizer])
                each.base = each.now
        assert torch.equal(read[0], read[1])
        assert torch.equal(read[0], read[2])
    for other in tables[1:]:
        assert torch.equal(tables[0].weights, other.weights)
        assert torch.equal(tables[0].slots, other.slots)


@pytest.mark.parametrize("optimizer", [MOMENTUM, NESTEROV, RMSPROP])
@pytest.mark.parametrize(("words", "units", "most"), [(300, 3, 5), (41, 16, 200), (7, 37, 90), (1000, 1, 64)])
def test_rows_with_any_lags_take_their_steps_side_by_side(optimizer, words, units, most):
    """Many rows and few, with lags from none to more than are told apart: the bits of steps one by one."""
    kernels, draw = sparse_kernels.load(), np.random.default_rng(words)
    found, expected = table(words, units), table(words, units)
    done = draw.integers(0, most + 1, words)
    found.done[:], found.now = torch.from_numpy(done), most
    for step in range(most):  # rows catch up with one step at a time
        late = torch.from_numpy(np.flatnonzero(done <= step).astype(np.int32))
        expected.done[:], expected.now = step, step + 1
        kernels.catch_up(expected, optimizer, RULES[optimizer], late)
    some = torch.from_numpy(np.flatnonzero(draw.random(words) < 0.5).astype(np.int32))
    kernels.catch_up(found, optimizer, RULES[optimizer], some)
    assert torch.equal(found.weights[some], expected.weights[some])
    assert (found.done[some] == most).all()
    assert found.base == 0
    kernels.catch_up(found, optimizer, RULES[optimizer])
    assert torch.equal(found.weights, expected.weights)
    assert torch.equal(found.slots, expected.slots)
    assert found.base == most


def test_rows_of_sgd_never_lag():
    kernels, found = sparse_kernels.load(), Table(torch.ones(3, 2), None, torch.zeros(3, dtype=torch.int32), now=4)
    kernels.catch_up(found, SGD, RULES[SGD])
    assert torch.equal(found.weights, torch.ones(3, 2))


@pytest.mark.parametrize("units", [1, 16, 19])
def test_an_idle_rmsprop_step_is_a_product_with_rho(units):
    kernels, found = sparse_kernels.load(), table(4, units)
    weights, velocities = found.weights.clone(), found.slots.clone()
    nothing = torch.empty(0, dtype=torch.int32), torch.empty(0, units)
    for _ in range(3):
        kernels.update_rows(found, RMSPROP, RULES[RMSPROP], *nothing)
        velocities *= 0.9
    kernels.catch_up(found, RMSPROP, RULES[RMSPROP])
    assert torch.equal(found.weights, weights)
    assert torch.equal(found.slots, velocities)


def test_an_idle_momentum_step_moves_the_weight():
    kernels, found = sparse_kernels.load(), Table(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1, dtype=torch.int32))
    nothing = torch.empty(0, dtype=torch.int32), torch.empty(0, 1)
    for _ in range(2):
        kernels.update_rows(found, MOMENTUM, (0.1, 0.5), *nothing)
    assert kernels.read_rows(found, MOMENTUM, (0.1, 0.5), torch.tensor([0], dtype=torch.int32)).item() == 1.75
    assert (found.weights.item(), found.slots.item(), found.done.item()) == (1.75, 0.25, 2)


@pytest.fixture
def load_again():
    sparse_kernels.load.cache_clear()
    yield sparse_kernels.load
    sparse_kernels.load.cache_clear()


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("distinct_ids", lambda *_: None),
        ("distinct_ids", lambda self, ids, words: (ids, torch.zeros_like(ids))),
        ("read_rows", lambda self, table, optimizer, settings, rows: torch.zeros(len(rows), 19)),
        ("update_rows", lambda *_: None),
        ("catch_up", lambda *_: None),
    ],
)
def test_loops_that_compute_something_else_are_not_used(load_again, monkeypatch, method, wrong):
    monkeypatch.setattr(sparse_kernels.SparseKernels, method, wrong)
    assert load_again() is None


def test_without_a_library_there_are_none(load_again, monkeypatch):
    monkeypatch.setattr(cpp_library, "load", lambda _: None)
    assert load_again() is None
