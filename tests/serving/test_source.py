"""What is exported from each kind of run folder."""

from k3torch.data.text import Vocabulary
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.serving.source import load_source, samples
import numpy as np
import pytest


@pytest.mark.parametrize(
    ("run", "takes", "form", "shape", "files", "meaning"),
    [
        ("review_run", "auto", "onnx", [None, None], ("vocabulary.json",), "probability of positive"),
        ("review_run", "auto", "keras", [None, 10], ("vocabulary.json",), "probability of positive"),
        ("review_run", "features", "onnx", [None, 10], ("vocabulary.json",), "probability of positive"),
        ("ngram_run", "ids", "keras", [None, None], ("vocabulary.json",), "probability of yes"),
        ("table_run", "auto", "onnx", [None, 3], ("columns.json",), "price"),
        ("class_run", "features", "torch", [None, 1], ("columns.json",), "probability of dear"),
        ("digits_run", "auto", "onnx", [None, 784], (), "probability of each digit"),
    ],
)
def test_each_run_has_its_inputs_and_outputs(request, run, takes, form, shape, files, meaning):
    source = load_source(request.getfixturevalue(run), takes, form)
    assert source.card["input"]["shape"] == shape
    assert source.card["input"]["dtype"] == ("int32" if shape == [None, None] else "float32")
    assert source.card["input"]["name"] == ("ids" if shape == [None, None] else "features")
    assert source.card["output"]["meaning"] == meaning
    assert source.files == files
    for x in samples(source):
        assert x.dtype == source.card["input"]["dtype"]
        expected = source.reference(x)
        assert expected.shape == (len(x), source.card["output"]["shape"][1])
        np.testing.assert_allclose(source.model.predict(x, verbose=0), expected, atol=1e-5, rtol=1e-5)


def test_ids_without_a_word_are_unknown_however_wide_the_network_is(tmp_path):
    Vocabulary(("great",)).save(tmp_path / "vocabulary.json", 10, ("negative", "positive"))
    model = imdb_classifier(10, units=())
    model.set_weights([np.array([[0.0, 0, 0, 0, 2, 9, 9, 9, 9, 9]]).T, np.zeros(1)])
    model.save(tmp_path / "model.keras")
    source = load_source(tmp_path, "ids", "onnx")
    expected = [[1 / (1 + np.exp(-2.0))]]
    np.testing.assert_allclose(source.model.predict(np.array([[1, 4, 5, 9]], "int32"), verbose=0), expected, rtol=1e-6)
    for x in samples(source):
        np.testing.assert_allclose(source.model.predict(x, verbose=0), source.reference(x), rtol=1e-6)


def test_a_table_names_its_features_and_takes_them_as_they_are(table_run):
    source = load_source(table_run, "auto", "onnx")
    assert source.card["features"] == ["size", "town=Bonn", "town=Ulm"]
    np.testing.assert_allclose(source.reference(np.array([[1.5, 0, 1]], "float32")), [[20]], rtol=1e-6)


def test_folders_without_a_model_or_words_are_refused(tmp_path, table_run):
    with pytest.raises(InputError, match=r"expected a run folder with model\.keras, got .* without it"):
        load_source(tmp_path, "auto", "onnx")
    with pytest.raises(InputError, match=r"expected takes as features for a run without vocabulary\.json, got ids"):
        load_source(table_run, "ids", "onnx")
