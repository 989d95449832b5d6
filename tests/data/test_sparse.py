"""Sparse matrices with wrong index arrays are refused before any compiled loop reads them."""

from k3torch.data.sparse import checked_csr, is_partition
from k3torch.errors import InputError
import numpy as np
import pytest
import scipy.sparse
from tests import forked

DENSE = np.array([[0, 1, 0, 2], [0, 0, 0, 0], [3, 0, 4, 0]], np.float32)


@pytest.mark.parametrize("container", ["matrix", "array"])
@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_formats_and_types_become_float32_csr(container, layout, dtype):
    given = getattr(scipy.sparse, f"{layout}_{container}")(DENSE.astype(dtype))
    csr = checked_csr("bags", given)
    assert type(csr) is scipy.sparse.csr_matrix
    assert csr.dtype == np.float32
    assert csr.data.dtype.isnative
    np.testing.assert_array_equal(csr.toarray(), DENSE.astype(dtype).astype("float32"))


@pytest.mark.parametrize("layout", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", [">f4", "float16", "longdouble"])
def test_types_that_scipy_does_not_compute_with_are_converted(layout, dtype):
    given = getattr(scipy.sparse, f"{layout}_matrix")(DENSE)
    given.data = given.data.astype(dtype)
    csr = checked_csr("bags", given)
    assert csr.dtype == np.float32
    np.testing.assert_array_equal(csr.toarray(), DENSE)


def test_a_float32_csr_matrix_is_shared_not_copied():
    given = scipy.sparse.csr_matrix(DENSE)
    csr = checked_csr("bags", given)
    for name in ("data", "indices", "indptr"):
        assert np.shares_memory(getattr(csr, name), getattr(given, name))


def test_the_callers_matrix_is_left_as_it_is():
    given = scipy.sparse.csr_matrix(DENSE.astype("float64"))
    given.indices, given.data = np.append(given.indices, 9), np.append(given.data, 9.0)
    with pytest.raises(InputError):
        checked_csr("bags", given)
    assert len(given.indices) == len(given.data) == 5
    assert given.dtype == np.float64


WRONG = {
    ("indptr", (1, 2, 2, 4)): r"indptr of bags as 4 integers .* from 0 to 4, .*, got int64 \[1 2 2 4\]",
    ("indptr", (0, 3, 2, 4)): r"integers that do not decrease.*\[0 3 2 4\]",
    ("indptr", (0, 2, 2, 3)): r"from 0 to 4, the number of values, got int64 \[0 2 2 3\]",
    ("indptr", (0, 2, 2, 10**9)): "from 0 to 4",
    ("indptr", (0, 2, 4)): "as 4 integers",
    ("indptr", (0, 2.5, 3, 4)): "as 4 integers .* got float64",
    ("indptr", ()): "as 4 integers",
    ("indices", (1, 3, 0, 4)): "indices of bags from 0 to 3, got 0 to 4",
    ("indices", (1, -1, 0, 2)): "indices of bags from 0 to 3, got -1 to 2",
    ("indices", (1, 3, 0)): "as many indices as values in bags, got 3, 4",
    ("indices", (1.5, 3, 0, 2)): "indices of bags as integers in one dimension, got float64",
    ("data", (1.0, 2.0, 3.0)): "as many indices as values in bags, got 4, 3",
    ("data", (1.0, np.nan, 3.0, 4.0)): "finite float32 values in bags, got nan in row 0",
    ("data", (1.0, 2.0, 1e300, 4.0)): "finite float32 values in bags, got inf in row 2",
    ("data", (1.0, 2.0, 3j, 4.0)): "real numbers as the data of bags, got complex128",
    ("data", ("a", "b", "c", "d")): "real numbers as the data of bags",
}


@pytest.mark.parametrize(("name", "values"), WRONG)
def test_a_wrong_csr_matrix_is_one_line(name, values):
    matrix = scipy.sparse.csr_matrix(DENSE)
    setattr(matrix, name, np.array(values))
    with pytest.raises(InputError, match=WRONG[name, values]) as caught:
        checked_csr("bags", matrix)
    assert "\n" not in str(caught.value)


def test_what_scipys_own_check_misses_is_refused():
    """SciPy looks at the order of ``indptr`` only where there are values, and by an unsigned difference."""
    empty = scipy.sparse.csr_matrix((3, 4), dtype="float32")
    empty.indptr = np.array([0, 9, 9, 0], np.int32)
    empty.check_format(full_check=True)
    unsigned = scipy.sparse.csr_matrix(DENSE)
    unsigned.indptr = np.array([0, 3, 2, 4], np.uint32)
    for matrix in (empty, unsigned):
        with pytest.raises(InputError, match="integers that do not decrease"):
            checked_csr("bags", matrix)


def test_a_wrong_csc_matrix_is_checked_by_its_columns():
    matrix = scipy.sparse.csc_matrix(DENSE)
    matrix.indices[0] = 3
    with pytest.raises(InputError, match="indices of bags from 0 to 2, got 0 to 3"):
        checked_csr("bags", matrix)
    matrix = scipy.sparse.csc_matrix(DENSE)
    matrix.data[3] = np.inf
    with pytest.raises(InputError, match="got inf in row 0"):
        checked_csr("bags", matrix)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("row", [0, 0, 3, 2], "row indices of bags from 0 to 2, got 0 to 3"),
        ("col", [0, -1, 3, 2], "column indices of bags from 0 to 3, got -1 to 3"),
        ("col", [0, 1], "as many row and column indices as values in bags, got 4, 2, 4"),
        ("data", [1.0], "as many row and column indices as values in bags, got 4, 4, 1"),
    ],
)
def test_a_wrong_coo_matrix_is_one_line(name, values, message):
    matrix = scipy.sparse.coo_matrix(DENSE)
    setattr(matrix, name, np.array(values))
    with pytest.raises(InputError, match=message):
        checked_csr("bags", matrix)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (DENSE, "expected bags as a SciPy sparse matrix, got ndarray: use csr_matrix"),
        (scipy.sparse.lil_matrix(DENSE), r"CSR, CSC or COO format, got lil: call its method tocsr\(\)"),
        (scipy.sparse.coo_array(DENSE[0]), r"bags of two dimensions, got shape \(4,\)"),
    ],
)
def test_other_matrices_are_refused(matrix, message):
    with pytest.raises(InputError, match=message):
        checked_csr("bags", matrix)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (np.array([0, 1, 1, 3]), True),
        (np.array([0, 1, 1, 3], np.uint8), True),
        (np.array([0, 2, 1, 3], np.uint32), False),
        (np.array([0, 2**62, -(2**63), 3]), False),  # the difference of the middle two overflows and is positive
        (np.array([1, 3]), False),
        (np.array([0, 2]), False),
        (np.array([0.0, 3.0]), False),
        (np.array([[0, 3]]), False),
        (np.array([], int), False),
    ],
)
def test_is_partition(bounds, expected):
    assert is_partition(bounds, 3) is expected


CORRUPTED = """
import k3torch
from hypothesis import given, settings, strategies as st
from k3torch.data.bags import BagDataset
from k3torch.errors import InputError
import numpy as np
import scipy.sparse

DTYPES = st.sampled_from(["int8", "int32", "int64", "uint32", "uint64", "float64"])
INDEX = st.integers(-2, 8) | st.sampled_from([-2**31, 2**31 - 1, 2**62, 10**6])
served, refused = 0, 0


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(st.data(), st.sampled_from(["csr", "csc"]), st.integers(0, 4), st.integers(1, 5), st.integers(0, 2**31))
def run(data, layout, rows, columns, seed):
    global served, refused
    dense = np.random.default_rng(seed).integers(0, 2, (rows, columns)).astype("float32")
    matrix = getattr(scipy.sparse, layout + "_matrix")(dense)
    for name in data.draw(st.sets(st.sampled_from(["indptr", "indices", "data"]))):
        old = getattr(matrix, name)
        first, middle, last = old[:1].tolist(), old[1:-1].tolist(), old[1:][-1:].tolist()
        reordered = st.permutations(middle).map(lambda part: first + part + last)  # an indptr keeps its ends
        new = np.array(data.draw(reordered | st.lists(INDEX, max_size=len(old) + 1)))
        setattr(matrix, name, new.astype(data.draw(DTYPES)))
    try:
        dataset = BagDataset(matrix, np.zeros(rows))
    except InputError as error:
        assert "\\n" not in str(error)
        refused += 1
        return
    x, _ = dataset.__getitems__(list(range(rows)))
    expected = np.zeros((rows, columns), "float32")
    for major in range(len(matrix.indptr) - 1):
        for place in range(matrix.indptr[major], matrix.indptr[major + 1]):
            minor = matrix.indices[place]
            expected[(major, minor) if layout == "csr" else (minor, major)] += matrix.data[place]
    np.testing.assert_allclose(x.to_dense(), expected, rtol=1e-6)
    served += 1


with np.errstate(all="ignore"):
    run()
assert served > 50 < refused, (served, refused)
"""


def test_a_corrupted_matrix_never_crashes_the_process():
    done = forked.run_code(CORRUPTED)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("layout", "part"), [("csr", "data"), ("csr", "indices"), ("csc", "indptr"), ("coo", "data")])
def test_masked_arrays_are_refused(layout, part):
    given = getattr(scipy.sparse, f"{layout}_matrix")(DENSE)
    array = getattr(given, part)
    setattr(given, part, np.ma.masked_array(array, mask=[True, True] + [False] * (len(array) - 2)))
    with pytest.raises(InputError, match=r"^expected bags without masked values, got 2: fill or drop them$"):
        checked_csr("bags", given)
