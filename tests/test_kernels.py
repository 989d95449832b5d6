"""The compiled loops against NumPy and SciPy, for every width of their blocks, and when they are not used."""

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch import cpp_library, kernels
from k3torch.kernels import SortedWords
import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array
import torch

pytestmark = pytest.mark.skipif(kernels.load() is None, reason="no C++ compiler")

WORDS = 30


@pytest.fixture
def loops():
    return kernels.load()


def bags(samples=9, seed=0):
    """Random bags with values other than 1; the third is empty."""
    found = random_array((samples, WORDS), density=0.2, rng=np.random.default_rng(seed), dtype=np.float32).tolil()
    found[2] = 0
    return csr_matrix(found)


def as_tensors(matrix):
    return [torch.from_numpy(array) for array in (matrix.indptr, matrix.indices, matrix.data)]


@pytest.mark.parametrize("rows", [[4, 2, 0, 4], [2], [], list(range(9))])
def test_rows_are_those_of_scipy(loops, rows):
    matrix = bags()
    found = loops.gather_rows(matrix, np.array(rows, np.int64))
    for mine, theirs in zip(found, as_tensors(matrix[rows]), strict=True):
        assert mine.dtype is theirs.dtype
        assert torch.equal(mine, theirs)


def test_other_types_and_layouts_are_not_gathered(loops):
    rows = np.array([1])
    for part, change in [
        ("indices", lambda a: a.astype(np.int64)),
        ("indptr", lambda a: a.astype(np.int64)),
        ("data", lambda a: a.astype(np.float64)),
        ("indices", lambda a: np.repeat(a, 2)[::2]),
        ("data", lambda a: a.astype(">f4")),
        ("data", lambda a: np.frombuffer(b"x" + a.tobytes(), np.uint8)[1:].view(np.float32)),
    ]:
        matrix = bags()
        setattr(matrix, part, change(getattr(matrix, part)))
        assert loops.gather_rows(matrix, rows) is None, part


def test_more_values_than_offsets_can_count_are_not_gathered(loops, monkeypatch):
    monkeypatch.setattr(loops, "_row_offsets", lambda *_: 2**31)
    assert loops.gather_rows(bags(), np.array([0])) is None


@pytest.mark.parametrize("units", [*range(1, 18), 63, 64, 127, 130])
def test_the_transposed_product_is_scipys(loops, units):
    matrix = bags()
    gradient = np.random.default_rng(1).normal(size=(9, units)).astype("float32")
    found = loops.transposed_product(*as_tensors(matrix), torch.from_numpy(gradient), WORDS)
    assert found.dtype is torch.float32
    np.testing.assert_allclose(found, matrix.T @ gradient, rtol=1e-5, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 30, 2048, 2049, 100_000, 2**22 + 1, 2**31 - 1]), st.integers(0, 2**31), st.data())
def test_words_are_sorted_by_their_ids(words, seed, data):
    """As a stable sort of NumPy does it; memory that is used again is that of no other batch."""
    draw, found = np.random.default_rng(seed), SortedWords()
    for _ in range(3):
        lengths = data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=8))
        ids = draw.integers(0, words, sum(lengths)).astype(np.int32)
        ids[: len(ids) // 2] %= 3  # some words are frequent
        ids = np.minimum(ids, words - 1)
        values = draw.normal(size=len(ids)).astype(np.float32)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        arrays = [torch.from_numpy(each) for each in (offsets, ids, values)]
        assert kernels.load().sort_words(*arrays, (len(lengths), words), found)
        order = np.argsort(ids, kind="stable")
        np.testing.assert_array_equal(found.words[:, 0], ids[order])
        np.testing.assert_array_equal(found.words[:, 1], np.repeat(np.arange(len(lengths)), lengths)[order])
        np.testing.assert_array_equal(found.words[:, 2].contiguous().view(torch.float32), values[order])
        rows, starts = np.unique(ids[order], return_index=True)
        np.testing.assert_array_equal(found.rows, rows)
        np.testing.assert_array_equal(found.starts, [*starts, len(ids)])


@pytest.mark.parametrize(
    ("offsets", "ids"), [([0, 1], [-1]), ([0, 1], [64]), ([0, 2], [3, 2**30]), ([0, 2, 1], [5]), ([0, 1], [5, 6])]
)
def test_what_are_no_bags_is_not_sorted(loops, offsets, ids):
    arrays = torch.tensor(offsets, dtype=torch.int32), torch.tensor(ids, dtype=torch.int32), torch.ones(len(ids))
    assert not loops.sort_words(*arrays, (len(offsets) - 1, 64), SortedWords())


@pytest.mark.parametrize(("bags", "values"), [(1, 2), (3, 2), (0, 2), (2, 1), (2, 3)])
def test_arrays_of_other_lengths_are_not_sorted(loops, bags, values):
    """CSR tensors are made of them without a check; the loops would go beyond the arrays."""
    ids = torch.tensor([5, 3], dtype=torch.int32)
    offsets = torch.tensor([0, 1, 2], dtype=torch.int32)
    assert not loops.sort_words(offsets, ids, torch.ones(values), (bags, 64), SortedWords())


@pytest.mark.parametrize("units", [*range(1, 18), 63, 64, 127, 130])
def test_the_product_of_sorted_words_is_scipys(loops, units):
    matrix, words = bags(), SortedWords()
    weights = np.random.default_rng(1).normal(size=(WORDS, units)).astype("float32")
    assert loops.sort_words(*as_tensors(matrix), matrix.shape, words)
    found = loops.multiply(words, torch.from_numpy(weights), 9)
    assert found.dtype is torch.float32
    np.testing.assert_allclose(found, matrix @ weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 7, 16, 1000])
def test_updates_are_the_formulas(loops, count):
    draw = np.random.default_rng(2)
    gradient, mean, weight = draw.normal(size=(3, count)).astype("float32")
    square = draw.random(count).astype("float32")
    g, m, s, w = (torch.from_numpy(array.copy()) for array in (gradient, mean, square, weight))

    loops.rmsprop(0.1, 0.8, 1e-3, g, s, w)
    velocity = 0.8 * square + 0.2 * gradient**2
    after = weight - 0.1 * gradient / np.sqrt(velocity + 1e-3)
    np.testing.assert_allclose(s, velocity, rtol=1e-5)
    np.testing.assert_allclose(w, after, rtol=1e-5, atol=1e-6)

    loops.adam(0.1, (0.7, 0.8), 1e-3, g, m, s, w)
    mean, velocity = 0.7 * mean + 0.3 * gradient, 0.8 * velocity + 0.2 * gradient**2
    np.testing.assert_allclose(m, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(w, after - 0.1 * mean / (np.sqrt(velocity) + 1e-3), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(g, gradient)


def test_plain_tensors():
    plain = torch.ones(3, 4)
    assert kernels.are_plain(plain, plain[0])
    for other in (plain.double(), plain.T, plain.bfloat16(), torch.ones(3, device="meta")):
        assert not kernels.are_plain(plain, other)


@pytest.fixture
def load_again():
    kernels.load.cache_clear()
    yield kernels.load
    kernels.load.cache_clear()


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("gather_rows", lambda *_: None),
        ("transposed_product", lambda self, o, i, v, gradient, words: torch.zeros(words, gradient.shape[1])),
        ("sort_words", lambda *_: False),
        ("multiply", lambda self, words, weights, bags: torch.zeros(bags, weights.shape[1])),
        ("rmsprop", lambda *_: None),
        ("adam", lambda *_: None),
    ],
)
def test_loops_that_compute_something_else_are_not_used(load_again, monkeypatch, method, wrong):
    monkeypatch.setattr(kernels.Kernels, method, wrong)
    assert load_again() is None


def test_without_a_library_there_are_none(load_again, monkeypatch):
    monkeypatch.setattr(cpp_library, "load", lambda _: None)
    assert load_again() is None
