"""Weights of features compared with their formulas and with scikit-learn, alone and in its pipelines."""

from k3torch.data.feature_weights import NaiveBayesWeights, TfidfWeights, UnitRows
from k3torch.errors import InputError
import numpy as np
import pytest
from scipy.sparse import csc_matrix, csr_matrix
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

X = csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 1, 0]], np.float32))
Y = [1, 1, 0]


def test_naive_bayes_weights_are_log_count_ratios():
    learned = NaiveBayesWeights().fit(X, Y)
    p, q = np.array([3, 2, 2, 1]) / 8, np.array([1, 1, 2, 1]) / 5  # 1 more than the counts of the classes 1 and 0
    np.testing.assert_allclose(learned.weights_, np.log(p / q), rtol=1e-6)
    np.testing.assert_allclose(learned.transform(X).toarray(), X.toarray() * np.log(p / q), rtol=1e-6)
    assert learned.weights_.dtype == learned.transform(X).dtype == np.float32
    assert learned.n_features_in_ == 4
    p, q = np.array([2.5, 1.5, 1.5, 0.5]) / 6, np.array([0.5, 0.5, 1.5, 0.5]) / 3
    np.testing.assert_allclose(NaiveBayesWeights(alpha=0.5).fit(X, Y).weights_, np.log(p / q), rtol=1e-6)


@pytest.mark.parametrize("y", [[5, 5, -2], [True, True, False], np.array([[1.0], [1], [0]])])
def test_the_larger_of_two_labels_is_the_positive_class(y):
    learned = NaiveBayesWeights().fit(X, y)
    np.testing.assert_array_equal(learned.weights_, NaiveBayesWeights().fit(X, Y).weights_)
    assert learned.classes_.tolist() == sorted(np.unique(y))


def test_tfidf_with_unit_rows_is_that_of_scikit_learn():
    ours = make_pipeline(TfidfWeights(), UnitRows()).fit_transform(X)
    np.testing.assert_allclose(ours.toarray(), TfidfTransformer().fit_transform(X).toarray(), rtol=1e-6)


def test_they_are_steps_of_a_pipeline_that_can_be_cloned_searched_and_scored():
    rng = np.random.default_rng(0)
    bags = csr_matrix((rng.random((60, 20)) < 0.3).astype(np.float32))
    labels = np.asarray(bags[:, :3].sum(axis=1)).ravel() > 0
    pipeline = make_pipeline(NaiveBayesWeights(), UnitRows(), LogisticRegression(C=100))
    search = GridSearchCV(clone(pipeline), {"naivebayesweights__alpha": [0.5, 1, 2]}, cv=3).fit(bags, labels)
    assert search.best_score_ > 0.85
    assert search.best_estimator_[0].alpha == search.best_params_["naivebayesweights__alpha"]


def test_the_matrix_of_the_caller_is_not_changed():
    before = X.copy()
    make_pipeline(NaiveBayesWeights(), UnitRows()).fit(X, Y).transform(X)
    assert (before != X).nnz == 0
    np.testing.assert_array_equal(TfidfWeights().fit(csc_matrix(X)).weights_, TfidfWeights().fit(X).weights_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"X": X.toarray()}, "X as a SciPy sparse matrix, got ndarray"),
        ({"X": -X}, "X without negative values"),
        ({"y": [1, 1]}, r"y of shape \(3,\), one label for each sample, got \(2,\)"),
        ({"y": [1, 1, 1]}, "two classes in y, got 1"),
        ({"y": [1, 2, 3]}, "two classes in y, got 3"),
        ({"alpha": 0}, "alpha as a number above 0, got 0"),
        ({"alpha": "1"}, "alpha as a number above 0, got '1'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(arguments, message):
    given = {"X": X, "y": Y, "alpha": 1.0, **arguments}
    with pytest.raises(InputError, match=message):
        NaiveBayesWeights(given["alpha"]).fit(given["X"], given["y"])


def test_they_are_fitted_before_they_transform_as_many_columns():
    with pytest.raises(NotFittedError):
        NaiveBayesWeights().transform(X)
    with pytest.raises(InputError, match="4 columns, one for each weight, got 2"):
        TfidfWeights().fit(X).transform(X[:, :2])
    UnitRows().transform(X)  # learns nothing
