"""A saved result is read as it was; a damaged one, and a folder that is in use, are refused in one line."""

import json

from k3torch import CrossValidation, InputError, cross_validate
import keras
import numpy as np
import pytest

X = np.random.default_rng(0).normal(50, 20, (12, 3))


def build():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, "relu"), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.fixture(scope="module")
def result():
    return cross_validate(build, X, X.sum(axis=1), folds=2, repeats=2, epochs=2, batch_size=4, normalize="fold")


@pytest.fixture
def saved(result, tmp_path):
    result.save(tmp_path / "result")
    return tmp_path / "result"


def test_a_result_is_loaded_as_it_was_saved(result, saved):
    found = CrossValidation.load(str(saved))
    for name in ("metric", "greater_is_better", "engine", "feature_names", "mean", "interval", "best_epoch"):
        assert getattr(found, name) == getattr(result, name)
    np.testing.assert_array_equal(found.scores, result.scores)
    np.testing.assert_array_equal(found.out_of_fold, result.out_of_fold)
    assert list(found.history) == list(result.history)
    for name, values in result.history.items():
        np.testing.assert_array_equal(found.history[name], values)
    for mine, theirs in zip(found.indices, result.indices, strict=True):
        np.testing.assert_array_equal(np.concatenate(mine), np.concatenate(theirs))
    np.testing.assert_array_equal(found.predict(X), result.predict(X))
    assert repr(found) == repr(result)


def test_the_models_are_plain_keras_files(saved):
    model = keras.saving.load_model(saved / "model_003.keras")
    assert isinstance(model.layers[0], keras.layers.Normalization)


def test_a_folder_with_files_is_left_as_it_is(result, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        result.save(tmp_path)
    with pytest.raises(InputError, match="expected a new or empty folder"):
        result.save(tmp_path / "mine.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_and_missing_parents_are_fine(result, tmp_path):
    (tmp_path / "a").mkdir()
    result.save(tmp_path / "a")
    result.save(tmp_path / "b" / "c")
    assert CrossValidation.load(tmp_path / "b" / "c").mean == result.mean


def test_nothing_is_left_of_a_save_that_fails(result, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match=r"expected to write .*, got: No space left on device"):
        result.save(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["cross_validation.json", "arrays.npz", "model_001.keras"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04junk"])
def test_a_damaged_result_is_refused_in_one_line(saved, name, content):
    path = saved / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"^expected") as error:
        CrossValidation.load(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("change", [{"format": "other"}, {"models": 5}, {"models": "2"}, {"history": ["loss"] * 9}])
def test_another_content_is_refused_in_one_line(saved, change):
    path = saved / "cross_validation.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"^expected"):
        CrossValidation.load(saved)


def test_arrays_of_python_objects_are_not_unpickled(saved):
    np.savez(saved / "arrays.npz", scores=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"^expected the arrays"):
        CrossValidation.load(saved)
