"""The compiled updates of single rows: the bits do not depend on when a row makes up for the steps it lags behind."""

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch import cpp_library, kernels, sparse_kernels
from k3torch.kernels import SortedWords
from k3torch.sparse_kernels import ADAGRAD, MOMENTUM, NESTEROV, RMSPROP, SGD, Table
import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array
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


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(RULES)), st.integers(1, 40), st.integers(0, 2**31), st.floats(0, 1))
def test_rows_that_lag_get_the_bits_of_rows_that_do_not(optimizer, units, seed, often):
    """The same steps, with all rows caught up after each of them, at random, and at the end alone."""
    compiled, words = sparse_kernels.load(), 30
    draw, tables = np.random.default_rng(seed), [table(words, units) for _ in range(3)]
    for step in range(12):
        rows = torch.from_numpy(np.flatnonzero(draw.random(words) < 0.3).astype(np.int32))
        gradient = torch.from_numpy(draw.normal(size=(len(rows), units)).astype(np.float32))
        catch_up = [True, draw.random() < often or step == 11, step == 11]
        before = []
        for each, now in zip(tables, catch_up, strict=True):
            if draw.random() < 0.5:
                compiled.catch_up(each, optimizer, RULES[optimizer], rows)
                before.append(each.weights[rows])
            compiled.update_rows(each, optimizer, RULES[optimizer], SortedWords.of_rows(rows), gradient)
            if now:
                compiled.catch_up(each, optimizer, RULES[optimizer])
                each.base = each.now
        assert all(torch.equal(before[0], each) for each in before)
    for other in tables[1:]:
        assert torch.equal(tables[0].weights, other.weights)
        assert torch.equal(tables[0].slots, other.slots)


@pytest.mark.parametrize("optimizer", sorted(RULES))
@pytest.mark.parametrize(("words", "units"), [(1200, 16), (90, 37), (40, 1)])
def test_a_step_on_words_is_one_on_the_sums_of_their_gradients(optimizer, words, units):
    """More rows than are taken together, and words that occur in many bags."""
    draw, compiled = np.random.default_rng(words), kernels.load()
    bags = csr_matrix(random_array((20, words), density=0.3, rng=draw, dtype=np.float32))
    gradients = torch.from_numpy(draw.normal(size=(20, units)).astype(np.float32))
    arrays = [torch.from_numpy(each) for each in (bags.indptr, bags.indices, bags.data)]
    sums = compiled.transposed_product(*arrays, gradients, words)
    sorted_words = SortedWords()
    assert compiled.sort_words(*arrays, (20, words), sorted_words)
    found, expected = table(words, units), table(words, units)
    rows = sorted_words.rows
    for _ in range(3):
        sparse_kernels.load().update_rows(found, optimizer, RULES[optimizer], sorted_words, gradients)
        one_word_each = SortedWords.of_rows(rows)
        sparse_kernels.load().update_rows(expected, optimizer, RULES[optimizer], one_word_each, sums[rows])
    assert torch.equal(found.weights, expected.weights)
    assert torch.equal(found.slots, expected.slots)
    assert torch.equal(found.done, expected.done)


@pytest.mark.parametrize("optimizer", [MOMENTUM, NESTEROV, RMSPROP])
@pytest.mark.parametrize(("words", "units", "most"), [(300, 3, 5), (41, 16, 200), (7, 37, 90), (1000, 1, 64)])
def test_rows_with_any_lags_take_their_steps_side_by_side(optimizer, words, units, most):
    """Many rows and few, with lags from none to more than are told apart: the bits of steps one by one."""
    compiled, draw = sparse_kernels.load(), np.random.default_rng(words)
    found, expected = table(words, units), table(words, units)
    done = draw.integers(0, most + 1, words)
    found.done[:], found.now = torch.from_numpy(done), most
    for step in range(most):  # rows catch up with one step at a time
        late = torch.from_numpy(np.flatnonzero(done <= step).astype(np.int32))
        expected.done[:], expected.now = step, step + 1
        compiled.catch_up(expected, optimizer, RULES[optimizer], late)
    some = torch.from_numpy(np.flatnonzero(draw.random(words) < 0.5).astype(np.int32))
    compiled.catch_up(found, optimizer, RULES[optimizer], some)
    assert torch.equal(found.weights[some], expected.weights[some])
    assert (found.done[some] == most).all()
    assert found.base == 0
    compiled.catch_up(found, optimizer, RULES[optimizer])
    assert torch.equal(found.weights, expected.weights)
    assert torch.equal(found.slots, expected.slots)
    assert found.base == most


def test_rows_of_sgd_never_lag():
    compiled, found = sparse_kernels.load(), Table(torch.ones(3, 2), None, torch.zeros(3, dtype=torch.int32), now=4)
    compiled.catch_up(found, SGD, RULES[SGD])
    assert torch.equal(found.weights, torch.ones(3, 2))


@pytest.mark.parametrize("units", [1, 16, 19])
def test_an_idle_rmsprop_step_is_a_product_with_rho(units):
    compiled, found = sparse_kernels.load(), table(4, units)
    weights, velocities = found.weights.clone(), found.slots.clone()
    nothing = SortedWords(), torch.empty(0, units)
    for _ in range(3):
        compiled.update_rows(found, RMSPROP, RULES[RMSPROP], *nothing)
        velocities *= 0.9
    compiled.catch_up(found, RMSPROP, RULES[RMSPROP])
    assert torch.equal(found.weights, weights)
    assert torch.equal(found.slots, velocities)


def test_an_idle_momentum_step_moves_the_weight():
    compiled = sparse_kernels.load()
    found = Table(torch.ones(1, 1), torch.ones(1, 1), torch.zeros(1, dtype=torch.int32))
    nothing = SortedWords(), torch.empty(0, 1)
    for _ in range(2):
        compiled.update_rows(found, MOMENTUM, (0.1, 0.5), *nothing)
    compiled.catch_up(found, MOMENTUM, (0.1, 0.5), torch.tensor([0], dtype=torch.int32))
    assert (found.weights.item(), found.slots.item(), found.done.item()) == (1.75, 0.25, 2)


@pytest.fixture
def load_again():
    sparse_kernels.load.cache_clear()
    yield sparse_kernels.load
    sparse_kernels.load.cache_clear()


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
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
