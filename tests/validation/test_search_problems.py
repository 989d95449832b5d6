"""A search selects on all samples, and for each outer fold on the samples outside it."""

from k3torch import InputError
from k3torch.validation.folds import make_repeats
from k3torch.validation.jobs import Data
from k3torch.validation.search_problems import Division
import numpy as np
import pytest
from sklearn.model_selection import GroupKFold

X = np.arange(24.0).reshape(12, 2)
DATA = Data.of(X, X[:, 0], None, None)
SCALING = {"normalize": "fold", "normalize_y": False, "shuffle": True}


def division(folds=3, repeats=1, outer=None, groups=None, seed=4):
    return Division(folds, repeats, outer, groups, seed, SCALING)


def numbers(folds):
    return [[part.tolist() for part in fold.split] for fold in folds]


def test_without_outer_folds_there_is_one_problem_of_all_samples():
    (whole,) = division(repeats=2).problems(DATA, 5)
    splits = make_repeats(3, DATA.x, DATA.y, None, repeats=2, seed=4)
    assert numbers(whole.folds) == [[a.tolist(), b.tolist()] for folds in splits for a, b in folds]
    assert numbers([whole.test]) == [[list(range(12)), list(range(5))]]
    assert [fold.key for fold in whole.folds] == [(4, repeat, fold) for repeat in range(2) for fold in range(3)]


def test_the_inner_folds_of_an_outer_fold_are_divisions_of_its_training_samples():
    outer = [(np.arange(6), np.arange(6, 12)), (np.arange(3, 12), np.arange(3))]
    _, *inner = division(folds=2, outer=outer).problems(DATA, 5)
    assert len(inner) == 2
    for problem, (training, test) in zip(inner, outer, strict=True):
        assert numbers([problem.test]) == [[training.tolist(), test.tolist()]]
        for learned, validated in numbers(problem.folds):
            assert sorted(learned + validated) == training.tolist()
        validated = [sample for _, part in numbers(problem.folds) for sample in part]
        assert sorted(validated) == training.tolist()


def test_features_are_scaled_by_the_training_samples_of_the_problem():
    (_, inner) = division(folds=2, outer=[(np.arange(6), np.arange(6, 12))]).problems(DATA, 5)
    np.testing.assert_allclose(inner.test.training.x.mean(axis=0), 0, atol=1e-6)
    assert inner.test.validation.x.min() > 1.5
    for fold in inner.folds:
        np.testing.assert_allclose(fold.training.x.mean(axis=0), 0, atol=1e-6)


def test_groups_and_bad_folds():
    groups = np.repeat([0, 1, 2], 4)
    (whole,) = division(GroupKFold(3), groups=groups).problems(DATA, 5)
    assert sorted(tuple(groups[validated]) for _, validated in numbers(whole.folds)) == [(0,) * 4, (1,) * 4, (2,) * 4]
    with pytest.raises(InputError, match="expected from 2 folds to 12"):
        division(outer=1).problems(DATA, 5)
    with pytest.raises(InputError, match="expected from 2 folds to 6"):
        division(folds=7, outer=[(np.arange(6), np.arange(6, 12))]).problems(DATA, 5)
