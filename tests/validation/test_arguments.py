"""What a caller may pass to cross_validate: converted as stated, or refused in one line."""

import inspect

from k3torch import InputError, cross_validate
from k3torch.validation import arguments
import keras
import numpy as np
import pandas as pd
import pytest
import scipy.sparse

SETTINGS = {
    "build_model": keras.Sequential,
    "repeats": 1,
    "epochs": 1,
    "batch_size": 1,
    "normalize": None,
    "normalize_y": False,
    "engine": "auto",
    "shuffle": True,
    "seed": 0,
    "callbacks": None,
    "verbose": "auto",
}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"seed": np.int64(2)},
        {"seed": 2**32 - 1},
        {"batch_size": 10**19},
        {"callbacks": (keras.callbacks.TerminateOnNaN(),)},
        {"callbacks": []},
        {"normalize": "train", "engine": "fit", "shuffle": False},
        {"verbose": 0},
        {"verbose": 1},
    ],
)
def test_settings_that_can_be_used(settings):
    arguments.check_settings(**{**SETTINGS, **settings})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("build_model", 5, "build_model as a function without arguments, got 5"),
        ("repeats", 0, "repeats as a whole number of 1 or more, got 0"),
        ("epochs", True, "epochs as a whole number of 1 or more, got True"),
        ("batch_size", 1.5, "batch_size as a whole number of 1 or more, got 1.5"),
        ("seed", -1, "seed as a whole number from 0 to 4294967295, got -1"),
        ("seed", 2**32, "seed as a whole number from 0 to 4294967295, got 4294967296"),
        ("seed", "1", "seed as a whole number from 0 to 4294967295, got '1'"),
        ("engine", "stack", "engine as one of 'auto', 'stacked', 'fit', got 'stack', did you mean 'stacked'?"),
        ("normalize", True, "normalize as one of None, 'fold', 'train', got True"),
        ("normalize_y", 1, "normalize_y as one of True, False, got 1"),
        ("shuffle", "no", "shuffle as one of True, False, got 'no'"),
        ("callbacks", ["x"], "callbacks as a list of Keras callbacks, got ['x']"),
        ("verbose", 2, "verbose as one of 'auto', 0, 1, got 2"),
        ("verbose", True, "verbose as one of 'auto', 0, 1, got True"),
        ("callbacks", 5, "callbacks as a list of Keras callbacks, got 5"),
    ],
)
def test_settings_that_cannot_be_used(name, value, message):
    with pytest.raises(InputError) as error:
        arguments.check_settings(**{**SETTINGS, name: value})
    assert str(error.value) == f"expected {message}"


def test_all_bad_settings_are_named_at_once():
    with pytest.raises(InputError, match=r"^expected epochs .* got 0; expected seed .* got -1$"):
        arguments.check_settings(**{**SETTINGS, "epochs": 0, "seed": -1})


def test_text_sparse_and_infinite_samples_are_refused_by_their_name():
    for values, message in (
        (pd.DataFrame({"rooms": [1.5, 2.0], "street": ["a", "b"]}), "numbers as x, got 'a' in sample 0"),
        (scipy.sparse.eye_array(3, format="lil"), r"x in CSR, CSC or COO format, got lil: call its method tocsr\(\)"),
        (
            scipy.sparse.diags_array([[1.0, np.inf]], offsets=[0]).tocsr(),
            "finite float32 values in x, got inf in row 1",
        ),
        ([[0, 1], [2, np.nan]], "finite float32 numbers as x, got nan in sample 1"),
        ([1.0, 1e39], r"finite float32 numbers as x, got 1e\+39 in sample 1"),
    ):
        with pytest.raises(InputError, match=f"^expected {message}$"):
            arguments.convert_samples(values, [1, 2])


def test_a_sparse_matrix_stays_sparse():
    given = scipy.sparse.eye_array(3, format="csr", dtype=np.float32)
    for kind, dtype in (("csr", np.float32), ("csc", bool), ("coo", np.int64)):
        x, y = arguments.convert_samples(given.asformat(kind).astype(dtype), [1, 2, 3])
        assert (x.format, x.dtype, x.shape) == ("csr", np.float32, (3, 3))
        np.testing.assert_array_equal(x.toarray(), np.eye(3))
        assert y.shape == (3, 1)
    assert np.shares_memory(arguments.convert_samples(given, [1, 2, 3])[0].data, given.data)


def test_samples_get_a_second_dimension_and_targets_their_dtype():
    x, y = arguments.convert_samples([1, 2], [0.5, 1])
    assert (x.tolist(), y.tolist(), y.dtype) == ([[1], [2]], [[0.5], [1]], np.float64)
    for labels, dtype in (([0, 1], "int64"), (np.uint8([0, 1]), "int64"), ([False, True], "float64")):
        y = arguments.convert_samples([[1], [2]], labels)[1]
        assert (y.tolist(), y.dtype) == ([[0], [1]], dtype)
    assert arguments.convert_samples(np.zeros((2, 3, 4)), np.zeros((2, 5)))[0].shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1], r"as many samples in y as in x \(2\), got 1"),
        (np.zeros((2, 0)), [1, 2], r"x with at least one number a sample, got shape \(2, 0\)"),
        ([1, 2], np.zeros((2, 0)), r"y with at least one number a sample, got shape \(2, 0\)"),
        ([1, 2], np.uint64([1, 2**63]), r"whole numbers below 2\*\*63 in y, got 9223372036854775808"),
    ],
)
def test_samples_that_cannot_be_used(x, y, message):
    with pytest.raises(InputError, match=f"^expected {message}$"):
        arguments.convert_samples(x, y)


def test_sample_weights_are_float32():
    weights = arguments.convert_sample_weight(pd.Series([0, 1.5], index=[7, 8]), 2)
    assert (weights.tolist(), weights.dtype) == ([0, 1.5], np.float32)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (["1", "2"], "numbers as sample_weight, got '1' in sample 0"),
        ([1, np.inf], "finite float32 numbers as sample_weight, got inf in sample 1"),
        ([1, np.nan], "finite float32 numbers as sample_weight, got nan in sample 1"),
        ([1, -0.5], "sample_weight of 0 or more, got -0.5"),
        ([1, 2, 3], r"sample_weight of shape \(2,\), got shape \(3,\)"),
        ([[1], [2]], r"sample_weight of shape \(2,\), got shape \(2, 1\)"),
        (5, "sample_weight as an array with one entry for each sample, got 5"),
    ],
)
def test_sample_weights_that_cannot_be_used(weights, message):
    with pytest.raises(InputError, match=f"^expected {message}"):
        arguments.convert_sample_weight(weights, 2)


@pytest.mark.parametrize(
    ("y", "expected"),
    [
        ([[0], [1], [2]], [3, 0.5, 1]),
        ([[0.1], [0.9], [1.4]], [3, 0.5, 0.5]),  # rounded to 0, 1, 1
        ([[1, 0, 0], [0, 0, 1], [0, 1, 0]], [3, 1, 0.5]),
    ],
)
def test_class_weights_are_those_of_fit(y, expected):
    class_weight = {0: 3.0, 1: 0.5}
    weights = arguments.convert_class_weight(class_weight, np.array(y))
    assert (weights.tolist(), weights.dtype) == (expected, np.float32)
    kerass = keras.src.trainers.data_adapters.data_adapter_utils.class_weight_to_sample_weights(
        np.array(y), class_weight
    )
    np.testing.assert_array_equal(weights, kerass)


def test_class_weights_have_keys_of_any_number_type():
    y = np.array([[0], [1]])
    for keys in ((np.int64(0), np.int64(1)), (0.0, 1.0), (False, True)):
        assert arguments.convert_class_weight(dict(zip(keys, (3, 2), strict=True)), y).tolist() == [3, 2]


@pytest.mark.parametrize(
    "class_weight", ["balanced", [1, 2], {0: "a"}, {"0": 9}, {0: -1}, {0: np.nan}, {0: np.inf}, {0: 1e39}, {0.5: 1}]
)
def test_class_weights_that_cannot_be_used(class_weight):
    with pytest.raises(InputError, match=r"^expected class_weight (as a dict|with integer classes)") as error:
        arguments.convert_class_weight(class_weight, np.array([[0], [1]]))
    assert str(error.value).endswith(f"got {class_weight!r}")


def test_class_weights_of_targets_with_three_dimensions_are_refused():
    with pytest.raises(InputError, match=r"^expected y of shape \(samples, outputs\) for class_weight"):
        arguments.convert_class_weight({0: 1}, np.zeros((2, 3, 4)))


def test_the_names_of_scikit_learn_are_those_of_its_function_and_the_known_ones_those_of_ours():
    from sklearn.model_selection import cross_validate as theirs

    ours = set(inspect.signature(cross_validate).parameters)
    assert set(inspect.signature(theirs).parameters) - ours <= set(arguments.SKLEARN_NAMES)
    assert not ours & set(arguments.SKLEARN_NAMES)


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"cv": 5}, "folds= as the number of folds or the splitter, got cv="),
        ({"X": 1, "y": 2}, "x= as the samples, got X="),
        ({"estimator": 1, "epoch": 2}, "build_model= as a function that returns a compiled model, got estimator=; "
         "expected an argument of cross_validate, got epoch=, did you mean 'epochs'?"),
        ({"zzz": 5}, "an argument of cross_validate, got zzz="),
    ],
)  # fmt: skip
def test_other_names_are_answered_with_a_hint_whatever_else_is_missing(named, message):
    with pytest.raises(InputError) as error:
        cross_validate(**named)
    assert str(error.value) == f"expected {message}"


def test_the_columns_of_a_frame_are_its_feature_names():
    assert arguments.feature_names(pd.DataFrame({"a": [1], 7: [2]})) == ["a", "7"]
    assert arguments.feature_names(np.zeros((2, 2))) is None
