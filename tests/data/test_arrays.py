"""Numbers from every container, and the message for what is none."""

from decimal import Decimal

from k3torch.data.arrays import finite_array, float32_tensor, number_array
from k3torch.errors import InputError
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

SERIES = pd.Series([3, 1, 2], index=[7, 8, 9])


@pytest.mark.parametrize(
    "values",
    [
        [3, 1, 2],
        (3.0, 1.0, 2.0),
        np.array([3, 1, 2], np.uint8),
        np.array([3, 1, 2], ">i4"),
        np.array([3, 1, 2], np.float32),
        np.array([2, 1, 3], np.float32)[::-1],
        np.array([3, 1, 2], object),
        torch.tensor([3, 1, 2]),
        torch.tensor([3.0, 1, 2], requires_grad=True),
        torch.tensor([3.0, 1, 2], dtype=torch.bfloat16),
        SERIES,
        SERIES.astype("Int64"),
        SERIES.astype("category"),
        pd.DataFrame({"y": SERIES})["y"],
    ],
)
def test_numbers_of_any_container_become_float32(values):
    if isinstance(values, np.ndarray):
        values.flags.writeable = False
    tensor = float32_tensor("labels", values)
    assert tensor.dtype == torch.float32
    assert tensor.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("values", "expected", "kind"),
    [
        (np.array([[1, True]], dtype=object), [[1, 1]], "i"),
        (np.array([2**53 + 1, 1], dtype=object), [2**53 + 1, 1], "i"),  # float64 would round it
        (np.array([0.5, True], dtype=object), [0.5, 1], "f"),
        (np.array([True, False], dtype=object), [True, False], "b"),
        (np.array([2**64, 1], dtype=object), [2.0**64, 1], "f"),
        (pd.DataFrame({"a": [0.5, 1.0], "b": [True, False]}), [[0.5, 1], [1, 0]], "f"),
        (pd.DataFrame({"a": pd.array([1, 2], dtype="Int64"), "b": [0.5, 1.0]}), [[1, 0.5], [2, 1]], "f"),
        (np.ma.masked_array([1.0, 2.0], [False, False]), [1, 2], "f"),
        (np.array([3e38, -3e38]), [3e38, -3e38], "f"),
        (np.float16([1, 2]), [1, 2], "f"),
    ],
)
def test_arrays_keep_their_dtype_and_objects_get_that_of_their_numbers(values, expected, kind):
    array = finite_array("x", values)
    assert (array.tolist(), array.dtype.kind) == (expected, kind)


def test_bools_frames_and_empty_arrays_keep_their_shape():
    assert float32_tensor("labels", pd.array([True, False], dtype="boolean")).tolist() == [1, 0]
    assert float32_tensor("labels", pd.DataFrame({"a": SERIES, "b": SERIES / 2})).tolist() == [
        [3, 1.5],
        [1, 0.5],
        [2, 1],
    ]
    assert float32_tensor("labels", np.zeros((0, 2))).shape == (0, 2)


def test_a_float32_array_is_shared_and_a_read_only_one_is_copied():
    values = np.zeros(3, np.float32)
    tensor = float32_tensor("labels", values)
    values[0] = 5
    assert tensor.tolist() == [5, 0, 0]
    values.flags.writeable = False
    float32_tensor("labels", values)[1] = 7
    assert values.tolist() == [5, 0, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, "x"], "expected numbers as labels, got 'x' in sample 2"),
        (pd.Series(["pos", "neg"]), "expected numbers as labels, got 'pos' in sample 0"),
        (pd.DataFrame({"a": [1, 2], "b": [3, None]}, dtype=object), "expected numbers as labels, got None in sample 1"),
        ([1, 2j], r"expected numbers as labels, got \(1\+0j\) in sample 0|got 2j in sample 1"),
        (np.array(["2020-01-01"], "datetime64[D]"), r"expected numbers as labels, got datetime64\[D\]"),
        ([[1], [1, 2]], "expected labels as an array of numbers, got lists of unequal lengths"),
        (None, "expected labels as an array with one entry for each sample, got None"),
        (3, "expected labels as an array with one entry for each sample, got 3"),
        ({"a": [1]}, "expected labels as an array with one entry for each sample, got {'a'"),
        ([Decimal(1)], r"expected numbers as labels, got Decimal\('1'\) in sample 0"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), "expected labels without masked values, got 1: fill or drop them$"),
        ([np.ma.masked_array([1.0, 2.0], [1, 1]), [3.0, 4.0]], "expected labels without masked values, got 2: fill"),
        ([1.0, np.ma.masked], "expected labels without masked values, got 1: fill or drop them$"),
        (torch.zeros(2, device="meta"), "expected labels with values, got a tensor on the device meta"),
        (torch.eye(2).to_sparse_csr(), "expected labels as an array of numbers, got Tensor: "),
        (
            scipy.sparse.eye_array(3, format="csr"),
            r"expected labels as a dense array, got a sparse matrix: use labels\.toarray\(\)$",
        ),
    ],
)
def test_what_is_no_array_of_numbers_is_one_line(values, message):
    with pytest.raises(InputError, match=message) as caught:
        number_array("labels", values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([0, np.nan], "nan in sample 1"),
        ([[1, 2], [3, -np.inf]], "-inf in sample 1"),
        ([1e39, 0], r"1e\+39 in sample 0"),
        (pd.Series([1, None], dtype="Int64"), "(nan|<NA>) in sample 1"),
        (torch.tensor([1.0, 2.0, float("inf")]), "inf in sample 2"),
    ],
)
def test_numbers_that_are_not_finite_in_float32_are_refused_with_their_sample(values, found):
    with pytest.raises(InputError, match=f"as labels, got {found}") as caught:
        float32_tensor("labels", values)
    assert "\n" not in str(caught.value)
