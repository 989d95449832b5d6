"""Every sample is validated once; splitters keep the order of the samples; folds that cannot be used are refused."""

from k3torch import InputError
from k3torch.validation.folds import balanced_folds, make_folds, make_repeats
import numpy as np
import pytest
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

X, Y = np.zeros((22, 3)), np.arange(22.0)


def lists(folds):
    return [(training.tolist(), validation.tolist()) for training, validation in folds]


def test_a_number_of_folds_is_consecutive():
    assert lists(make_folds(2, X[:5], Y[:5])) == [([3, 4], [0, 1, 2]), ([0, 1, 2], [3, 4])]


@pytest.mark.parametrize("repeat", [0, 1, 2])
@pytest.mark.parametrize("count", [2, 4, 22, np.int64(3)])
def test_every_sample_is_validated_once_and_trained_on_in_the_other_folds(count, repeat):
    folds = make_folds(count, X, Y, repeat=repeat)
    assert len(folds) == count
    assert sorted(np.concatenate([validation for _, validation in folds])) == list(range(22))
    for training, validation in folds:
        assert sorted([*training, *validation]) == list(range(22))


def test_later_repeats_shuffle_by_the_seed_before_dividing():
    first, second, third = (lists(make_folds(4, X, Y, repeat=repeat, seed=1)) for repeat in range(3))
    assert first == lists(KFold(4).split(X))
    assert first != second != third != first
    assert lists(make_folds(4, X, Y, repeat=1, seed=1)) == second
    assert lists(make_folds(4, X, Y, repeat=1, seed=2)) != second


def test_stratified_folds_have_the_fractions_of_the_labels():
    labels = np.array([0] * 12 + [1] * 6)
    for targets in (labels, labels[:, None]):
        for _, validation in make_folds(StratifiedKFold(3), X[:18], targets):
            assert np.bincount(labels[validation]).tolist() == [4, 2]


def test_groups_stay_together():
    groups = np.arange(22) // 3
    folds = make_folds(GroupKFold(3), X, Y, groups)
    for training, validation in folds:
        assert not set(groups[training]) & set(groups[validation])
    assert sorted(np.concatenate([validation for _, validation in folds])) == list(range(22))


def test_groups_stay_together_in_each_repeat():
    groups = np.arange(22) // 3
    for folds in make_repeats(GroupKFold(3), X, Y, groups, repeats=2):
        assert all(not set(groups[training]) & set(groups[validation]) for training, validation in folds)


@pytest.mark.parametrize(
    "splitter",
    [
        TimeSeriesSplit(3),
        PredefinedSplit(np.arange(22) % 3),
        LeaveOneOut(),
        KFold(4),
        KFold(4, shuffle=True, random_state=1),
    ],
)
def test_a_splitter_sees_the_samples_in_their_own_order_in_each_repeat(splitter):
    expected = lists(splitter.split(X, Y))
    assert [lists(folds) for folds in make_repeats(splitter, X, Y, repeats=3, seed=5)] == [expected] * 3


def test_a_splitter_without_random_state_divides_anew_in_each_repeat():
    first, second = make_repeats(KFold(4, shuffle=True), X, Y, repeats=2)
    assert lists(first) != lists(second)


@pytest.mark.parametrize("kind", [list, iter])
def test_pairs_are_the_same_in_each_repeat(kind):
    pairs = [([0, 1], [2]), (np.array([2, 1]), np.array([0]))]
    expected = [([0, 1], [2]), ([2, 1], [0])]
    assert [lists(folds) for folds in make_repeats(kind(pairs), X, Y, repeats=2)] == [expected] * 2


def test_another_number_of_folds_in_a_later_repeat_is_refused():
    class Growing:
        count = 1

        def split(self, x, y, groups):
            self.count += 1
            return KFold(self.count).split(x)

    with pytest.raises(InputError, match=r"^expected as many folds in each repeat, got \[2, 3\]$"):
        make_repeats(Growing(), X, Y, repeats=2)


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        (1, "expected from 2 folds to 22, the number of samples, got 1"),
        (23, "expected from 2 folds to 22, the number of samples, got 23"),
        ("four", "expected folds as a number, a splitter or pairs of index arrays, got 'four'"),
        (b"four", "expected folds as a number, a splitter or pairs of index arrays, got b'four'"),
        (None, "expected folds as a number, a splitter or pairs of index arrays, got None"),
        (True, "expected folds as a number, a splitter or pairs of index arrays, got True"),
        ([], "expected at least one fold, got none: pass pairs of index arrays"),
        ([1], "expected fold 1 as (training indices, validation indices), got 1"),
        ([([0], [1], [2])], "expected fold 1 as (training indices, validation indices), got ([0], [1], [2])"),
        ([([0], [1]), ([0], [])], "expected validation indices in fold 2, at least one, got array([], dtype=float64)"),
        ([([0.5], [1])], "expected training indices in fold 1, at least one, got array([0.5])"),
        ([([True], [1])], "expected training indices in fold 1, at least one, got array([ True])"),
        ([([0], [1, 22])], "expected indices from 0 to 21 in fold 1, got 22"),
        ([([3, -1], [1])], "expected indices from 0 to 21 in fold 1, got -1"),
        ([([0, 1], [1])], "expected different samples in both parts of fold 1, got 1 in both"),
        (TimeSeriesSplit(22), "expected samples that TimeSeriesSplit can split, got: Cannot have number of folds=23"),
        (StratifiedKFold(3), "expected samples that StratifiedKFold can split, got: n_splits=3 cannot be greater than"),
        (LeaveOneGroupOut(), "expected samples that LeaveOneGroupOut can split, got: The 'groups' parameter should"),
    ],
)
def test_folds_that_cannot_be_used(folds, message):
    with pytest.raises(InputError) as error:
        make_folds(folds, X, Y)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (5, r"expected groups of shape \(22,\), got shape \(\)"),
        (np.arange(21), r"expected groups of shape \(22,\), got shape \(21,\)"),
        (np.zeros((22, 2)), r"expected groups of shape \(22,\), got shape \(22, 2\)"),
        ([[1, 2], [3]], r"expected one group a sample \(22\), got: setting an array element"),
    ],
)
def test_groups_that_cannot_be_used(groups, message):
    with pytest.raises(InputError, match=f"^{message}"):
        make_folds(GroupKFold(3), X, Y, groups)


@pytest.mark.parametrize("folds", [4, [([0], [1])]])
def test_groups_that_would_be_ignored_are_refused(folds):
    with pytest.raises(InputError, match=r"^expected a splitter that takes groups"):
        make_folds(folds, X, Y, np.arange(22))


def test_each_fold_has_the_same_fraction_of_a_rare_class():
    y = np.array([1.0] * 8 + [0.0] * 88)
    found = list(balanced_folds(y, 2, 4, seed=0).split(y, y))
    assert [int(y[validation].sum()) for _, validation in found] == [2, 2, 2, 2]


def test_repeats_of_balanced_folds_differ():
    y = np.arange(40.0) % 2
    splitter = balanced_folds(y, 2, 4, seed=0)
    first, second = (lists(splitter.split(y, y)) for _ in range(2))
    assert first != second
    assert lists(balanced_folds(y, 2, 4, seed=0).split(y, y)) == first


def test_a_regression_keeps_the_number_of_folds():
    assert balanced_folds(np.arange(9.0), 0, 4, seed=0) == 4


@pytest.mark.parametrize(
    ("classes", "folds", "message"),
    [
        (0, 10, "from 2 folds to 9, the number of samples, got 10"),
        (2, 4, "3, the samples of the smallest class, got 4"),
    ],
)
def test_more_folds_than_samples_are_refused(classes, folds, message):
    with pytest.raises(InputError, match=message):
        balanced_folds(np.array([1.0] * 3 + [0.0] * 6), classes, folds, seed=0)
