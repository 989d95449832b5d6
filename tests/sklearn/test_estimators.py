"""Networks in scikit-learn: its own checks, pipelines, searches, pickles, sparse matrices and one-line errors."""

import pickle

from k3torch.errors import InputError
from k3torch.models.builders import table_network
from k3torch.models.layers import SparseDense
from k3torch.sklearn import Classifier, Regressor
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import get_scorer, roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator
import torch

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(60, 3))
LABELS = np.where(X[:, 0] > 0, "yes", "no")
PARAMETERS = {"units": (4,), "learning_rate": 0.03}


def network(features, outputs=1, classes=0, rate=0.01, loss=None, last=None, layer=keras.layers.Dense):
    """A linear network for numbers, or for classes."""
    width, activation = (classes, "softmax") if classes > 2 else (outputs, "sigmoid" if classes else "linear")
    inputs = keras.Input((features,))
    hidden = layer(width if last is None else last, activation="linear" if loss == "logits" else activation)(inputs)
    model = FastModel(inputs, hidden)
    losses = {
        None: "sparse_categorical_crossentropy" if classes > 2 else "binary_crossentropy" if classes else "mse",
        "logits": keras.losses.BinaryCrossentropy(from_logits=True),
    }
    model.compile(keras.optimizers.Adam(rate), loss if isinstance(loss, list) else losses.get(loss, loss))
    return model


def classifier(**options):
    return Classifier(table_network, **{"epochs": 8, "batch_size": 16, "parameters": PARAMETERS} | options)


def test_a_classifier_learns_names_of_classes():
    found = classifier().fit(X, LABELS)
    assert found.classes_.tolist() == ["no", "yes"]
    assert found.score(X, LABELS) > 0.9
    chances = found.predict_proba(X)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(found.predict(X), np.array(["no", "yes"])[chances.argmax(axis=1)])
    assert len(found.history_["loss"]) == 8


@pytest.mark.parametrize("loss", ["sparse_categorical_crossentropy", "categorical_crossentropy"])
def test_more_classes_with_numbers_or_one_hot_targets(loss):
    labels = np.digitize(X[:, 0], [-0.5, 0.5])
    found = Classifier(network, parameters={"loss": loss, "rate": 0.1}, epochs=10).fit(X, labels)
    assert found.predict_proba(X).shape == (60, 3)
    assert found.score(X, labels) > 0.8


def test_two_softmax_outputs_and_logits_give_probabilities():
    two = Classifier(network, parameters={"last": 2, "loss": "categorical_crossentropy"}, epochs=1).fit(X, LABELS)
    assert two.predict_proba(X).shape == (60, 2)
    logits = Classifier(network, parameters={"loss": "logits", "rate": 0.1}, epochs=5).fit(X, LABELS)
    outputs = logits.model_.predict(X.astype("float32"), verbose=0)
    np.testing.assert_allclose(logits.predict_proba(X)[:, 1:], 1 / (1 + np.exp(-outputs)), rtol=1e-5)


@pytest.mark.parametrize("loss", ["hinge", keras.losses.SquaredHinge()], ids=["name", "object"])
def test_a_hinge_loss_gives_decisions_and_no_probabilities(loss):
    def linear(features):
        model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.1), loss)
        return model

    found = Classifier(linear, epochs=10)
    assert hasattr(found, "predict_proba")  # of the loss nothing is known before fit
    found.fit(X, LABELS)
    assert not hasattr(found, "predict_proba")
    with pytest.raises(AttributeError, match="has no attribute 'predict_proba'") as raised:
        found.predict_proba(X)
    assert str(raised.value.__cause__) == "expected a loss other than hinge for predict_proba: use decision_function"
    decisions = found.decision_function(X)
    np.testing.assert_array_equal(decisions, found.model_.predict(X.astype("float32"), verbose=0)[:, 0])
    np.testing.assert_array_equal(found.predict(X), np.where(decisions > 0, "yes", "no"))
    assert found.score(X, LABELS) > 0.9
    assert roc_auc_score(LABELS, decisions) == get_scorer("roc_auc")(found, X, LABELS)


def test_a_hinge_loss_of_more_classes_has_a_decision_for_each():
    labels = np.digitize(X[:, 0], [-0.5, 0.5])
    found = Classifier(network, parameters={"loss": "categorical_hinge"}, epochs=1).fit(X, labels)
    decisions = found.decision_function(X)
    assert decisions.shape == (60, 3)
    np.testing.assert_array_equal(found.predict(X), decisions.argmax(axis=1))
    assert not hasattr(classifier(epochs=1).fit(X, LABELS), "decision_function")


def test_two_outputs_of_a_hinge_loss_have_one_decision():
    """As scikit-learn expects it for two classes."""

    def two(features):
        model = keras.Sequential([keras.Input((features,)), keras.layers.Dense(2)])
        model.compile(keras.optimizers.Adam(0.1), "categorical_hinge")
        return model

    found = Classifier(two, epochs=5).fit(X, LABELS)
    decisions = found.decision_function(X)
    first, second = found.model_.predict(X.astype("float32"), verbose=0).T
    np.testing.assert_allclose(decisions, second - first, rtol=1e-6)
    np.testing.assert_array_equal(found.predict(X), np.where(decisions > 0, "yes", "no"))
    assert get_scorer("roc_auc")(found, X, LABELS) == roc_auc_score(LABELS, decisions)
    assert CalibratedClassifierCV(found, cv=2).fit(X, LABELS).predict_proba(X).shape == (60, 2)


def test_a_sigmoid_for_each_class_gives_probabilities_that_add_up_to_1():
    labels = np.digitize(X[:, 0], [-0.5, 0.5])
    found = Classifier(network, parameters={"loss": "logits"}, epochs=1).fit(X, labels)
    outputs = 1 / (1 + np.exp(-found.model_.predict(X.astype("float32"), verbose=0)))
    np.testing.assert_allclose(found.predict_proba(X), outputs / outputs.sum(axis=1, keepdims=True), rtol=1e-5)


@pytest.mark.parametrize(
    "loss",
    [keras.losses.sparse_categorical_crossentropy, ["sparse_categorical_crossentropy"]],
    ids=["function", "list"],
)
def test_targets_follow_a_loss_given_as_a_function_or_in_a_list(loss):
    labels = np.digitize(X[:, 0], [-0.5, 0.5])
    found, same = (
        Classifier(network, parameters={"loss": each}, epochs=2).fit(X, labels)
        for each in (loss, "sparse_categorical_crossentropy")
    )
    np.testing.assert_array_equal(found.predict_proba(X), same.predict_proba(X))


class Subclass(keras.Model):
    """A model whose shapes are known when it is called."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, "sigmoid")

    def call(self, inputs):
        return self.dense(inputs)


@pytest.mark.parametrize("make", [lambda: keras.Sequential([SparseDense(1, "sigmoid")]), Subclass])
def test_models_without_an_input_layer_get_the_shape_of_x(make):
    def build():
        model = make()
        model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy")
        return model

    for x in (X, csr_matrix(X)) if make is not Subclass else (X,):
        found = Classifier(build, epochs=2).fit(x, LABELS)
        same = Classifier(network, parameters={"rate": 0.1, "layer": SparseDense}).fit(x, LABELS)
        assert [w.shape for w in found.model_.get_weights()] == [w.shape for w in same.model_.get_weights()]
        assert found.predict_proba(x).shape == (60, 2)


def test_a_model_for_another_number_of_features_is_refused():
    with pytest.raises(InputError, match=r"expected a model that takes 3 features, got: "):
        Classifier(network, parameters={"features": 4}).fit(X, LABELS)


def test_numbers_that_float32_cannot_hold_are_refused_by_the_name_of_the_argument():
    huge = X.copy()
    huge[2, 1] = 1e39
    with pytest.raises(InputError, match=r"numbers as X, got 1e\+39 in sample 2"):
        classifier().fit(huge, LABELS)
    with pytest.raises(InputError, match="values in X, got inf in row 2"):
        Classifier(network, parameters={"layer": SparseDense}).fit(csr_matrix(huge), LABELS)
    with pytest.raises(InputError, match=r"numbers as y, got 1e\+39 in sample 2"):
        Regressor(network).fit(X, huge[:, 1])
    with pytest.raises(InputError, match=r"numbers as X, got 1e\+39 in sample 2"):
        Regressor(network, epochs=1).fit(X, X[:, 0]).predict(huge)


def test_a_regressor_has_the_shape_of_its_targets():
    y = X @ [1.0, -2.0, 0.5]
    one = Regressor(network, parameters={"rate": 0.1}, epochs=20).fit(X, y)
    assert one.predict(X).shape == (60,)
    assert one.score(X, y) > 0.9
    both = Regressor(network, epochs=1).fit(X, np.stack([y, -y], axis=1))
    assert both.predict(X).shape == (60, 2)


def test_the_same_seed_gives_the_same_network_and_random_generators_stay():
    torch.manual_seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second, other = (classifier(seed=seed, epochs=1).fit(X, LABELS).predict_proba(X) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)
    assert torch.equal(torch.get_rng_state(), states[0])
    np.testing.assert_array_equal(np.random.get_state()[1], states[1])


def test_weights_of_samples_count():
    y = np.repeat([0.0, 10.0], 30)
    weight = np.where(y == 0, 0.0, 1.0)
    found = Regressor(network, parameters={"rate": 0.5}, epochs=60).fit(np.zeros((60, 1)), y, sample_weight=weight)
    assert found.predict(np.zeros((1, 1)))[0] == pytest.approx(10, abs=0.1)


def test_sparse_matrices_of_a_pipeline():
    texts = ["good film", "bad film", "good actors", "bad plot"] * 4
    labels = [1, 0, 1, 0] * 4
    pipeline = make_pipeline(
        CountVectorizer(dtype="float32"), Classifier(network, parameters={"layer": SparseDense, "rate": 0.1}, epochs=10)
    ).fit(texts, labels)
    assert pipeline.score(texts, labels) == 1
    x = pipeline[0].transform(texts)
    np.testing.assert_allclose(pipeline[1].predict_proba(x), pipeline[1].predict_proba(x.toarray()), rtol=1e-5)
    weighted = clone(pipeline[1]).fit(x, labels, sample_weight=np.arange(16) % 2)
    assert weighted.predict(csr_matrix(x)).mean() < 0.5  # only those of class 0 count


def test_arguments_of_build_model_are_searched():
    pipeline = make_pipeline(StandardScaler(), Regressor(network, epochs=10))
    search = GridSearchCV(pipeline, {"regressor__build_model__rate": [1e-6, 0.1], "regressor__batch_size": [8]}, cv=2)
    search.fit(X, X[:, 0])
    assert search.best_params_ == {"regressor__build_model__rate": 0.1, "regressor__batch_size": 8}
    assert float(search.best_estimator_[1].model_.optimizer.learning_rate) == pytest.approx(0.1)


def test_parameters_have_names_and_clones_keep_them():
    found = classifier(epochs=3)
    assert found.get_params()["build_model__units"] == (4,)
    assert found.get_params()["build_model__classes"] == 0
    changed = clone(found).set_params(build_model__units=(2,), epochs=1)
    assert (changed.parameters, changed.epochs) == ({"units": (2,), "learning_rate": 0.03}, 1)
    assert (found.parameters, found.epochs) == (PARAMETERS, 3)
    with pytest.raises(ValueError, match="Invalid parameter 'epoch'"):
        found.set_params(epoch=1)
    with pytest.raises(InputError, match=r"expected arguments of build_model \(features, .*\), got rates"):
        Regressor(network).set_params(build_model__rates=1)


def test_a_pickled_estimator_predicts_the_same():
    found = classifier(epochs=1).fit(X, LABELS)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).predict_proba(X), found.predict_proba(X))


def test_names_of_columns_are_kept_and_compared():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    found = classifier(epochs=1).fit(frame, LABELS)
    assert found.feature_names_in_.tolist() == ["a", "b", "c"]
    assert found.n_features_in_ == 3
    with pytest.raises(ValueError, match="feature names should match"):
        found.predict(frame[["c", "a", "b"]])


def test_bad_arguments_are_named_together():
    expected = "expected epochs as a whole number of 1 or more, got 0; expected seed as a whole number from 0 to"
    with pytest.raises(InputError, match=expected):
        classifier(epochs=0, seed=-1).fit(X, LABELS)
    for bad, message in (
        ({"build_model": 3}, "expected build_model as a function, got 3"),
        (
            {"build_model": lambda units, learning_rate: 3},
            "expected build_model to return a compiled Keras model, got int",
        ),
        (
            {"build_model": lambda features: 3},
            r"expected arguments of build_model \(features\), got units, learning_rate",
        ),
        ({"parameters": 3}, "expected parameters as a dictionary, got 3"),
    ):
        with pytest.raises(InputError, match=message):
            classifier().set_params(**bad).fit(X, LABELS)
    with pytest.raises(InputError, match="expected labels of two classes or more, got one class: 1"):
        classifier().fit(X, np.ones(60, int))
    with pytest.raises(InputError, match=r"expected a model with 1 output or an output for each of the 2 classes, got"):
        Classifier(network, parameters={"last": 5}).fit(X, LABELS)
    with pytest.raises(InputError, match=r"expected a model with 1 outputs, got \(5,\)"):
        Regressor(network, parameters={"last": 5}).fit(X, X[:, 0])


NOT_EQUAL = "batches are drawn from other orders of samples, so that weights and repetition differ"
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": NOT_EQUAL,
    "check_sample_weight_equivalence_on_sparse_data": NOT_EQUAL,
}


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [Classifier(network, epochs=6), Regressor(network, epochs=6)])
def test_check_estimator(estimator):
    estimator.set_params(build_model__rate=0.05)
    check_estimator(estimator, expected_failed_checks=EXPECTED, on_skip=None)
