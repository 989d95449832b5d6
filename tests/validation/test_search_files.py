"""A saved search is read as it was; a damaged one, and a folder that is in use, are refused in one line."""

from dataclasses import replace
import json

from k3torch import CrossValidation, InputError, SearchResult, cross_validate
from k3torch.validation.search_result import OuterFold
import keras
import numpy as np
import pytest

X = np.random.default_rng(0).normal(50, 20, (12, 3))


START = keras.initializers.RandomNormal(seed=1)


def build():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model


@pytest.fixture(scope="module")
def found():
    ensemble = cross_validate(
        build, X, X.sum(axis=1), folds=2, epochs=1, batch_size=4, normalize="fold", engine="fit", verbose=0
    )
    params = [{"rate": np.float64(0.5), "start": START}, {"rate": 0.25, "start": "zeros", "units": (4, 2)}]
    return SearchResult(
        params, np.stack([ensemble.scores, ensemble.scores + 1]), np.array([1, 3]), np.array([0.5, 2.0]), 0,
        ensemble.models[0], ensemble, 1.5, [OuterFold({"rate": 0.25}, 3, 1.0, 2.0, np.arange(5), np.ones((5, 1)))],
    )  # fmt: skip


@pytest.fixture
def saved(found, tmp_path):
    found.save(tmp_path / "found")
    return tmp_path / "found"


def test_a_search_is_loaded_as_it_was_saved(found, saved):
    loaded = SearchResult.load(str(saved))
    assert loaded.params == [{"rate": 0.5, "start": repr(START)}, {"rate": 0.25, "start": "zeros", "units": [4, 2]}]
    for name in ("scores", "epochs", "seconds", "outer_scores"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    for name in ("best_index", "best_score", "metric", "greater_is_better", "ensemble_score"):
        assert getattr(loaded, name) == getattr(found, name)
    ((mine, theirs),) = zip(loaded.outer, found.outer, strict=True)
    assert (mine.params, mine.epochs, mine.inner_score) == (theirs.params, theirs.epochs, theirs.inner_score)
    np.testing.assert_array_equal(loaded.outer_predictions, found.outer_predictions)
    np.testing.assert_array_equal(loaded.best_model.predict(X, verbose=0), found.best_model.predict(X, verbose=0))
    np.testing.assert_array_equal(loaded.ensemble.predict(X), found.ensemble.predict(X))
    np.testing.assert_array_equal(loaded.to_frame()["low"], found.to_frame()["low"])


def test_the_parts_are_plain_keras_files_and_a_cross_validation(found, saved):
    assert isinstance(keras.saving.load_model(saved / "best_model.keras").layers[0], keras.layers.Normalization)
    assert CrossValidation.load(saved / "ensemble").mean == found.best_score


def test_without_outer_folds_and_with_a_score_that_is_not_a_number(found, tmp_path):
    replace(found, outer=None, ensemble_score=float("nan")).save(tmp_path / "a")
    loaded = SearchResult.load(tmp_path / "a")
    assert loaded.outer is None
    assert np.isnan(loaded.ensemble_score)


def test_a_folder_with_files_is_left_as_it_is(found, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="expected a new or empty folder"):
        found.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["search.json", "candidates.npz", "best_model.keras", "ensemble/arrays.npz"])
@pytest.mark.parametrize("content", [None, b"", b"\x80\x04junk"])
def test_a_damaged_search_is_refused_in_one_line(saved, name, content):
    path = saved / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"^expected") as error:
        SearchResult.load(saved)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"params": []}, {"params": [1, 2]}, {"best_index": 2}, {"best_index": -1},
        {"ensemble_score": "low"}, {"outer": [1]}, {"outer": [{"params": {}}]},
        {"outer": [{"params": {}, "epochs": "1", "inner_score": 1.0, "score": 1.0}]},
        {"outer": [{"params": {}, "epochs": 1, "inner_score": 1.0, "score": 1.0}] * 2},
    ],
    ids=str,
)  # fmt: skip
def test_another_content_is_refused_in_one_line(saved, change):
    path = saved / "search.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match=r"expected 'k3torch search 1' in .*search.json, got something else"):
        SearchResult.load(saved)


@pytest.mark.parametrize(
    "change",
    [{"scores": np.ones((3, 1, 2))}, {"scores": np.ones(2)}, {"epochs": None}, {"predictions_0": np.ones((4, 1))}],
    ids=str,
)
def test_arrays_that_do_not_fit_are_refused_in_one_line(saved, change):
    with np.load(saved / "candidates.npz") as stored:
        arrays = {**stored, **change}
    np.savez(saved / "candidates.npz", **{name: values for name, values in arrays.items() if values is not None})
    with pytest.raises(InputError, match="got something else"):
        SearchResult.load(saved)


def test_other_files_are_not_a_search(tmp_path):
    with pytest.raises(InputError, match=r"expected a folder that SearchResult.save wrote, got "):
        SearchResult.load(tmp_path)
    (tmp_path / "search.json").write_text("[]")
    np.savez(tmp_path / "candidates.npz", scores=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"^expected the arrays of a search"):
        SearchResult.load(tmp_path)
