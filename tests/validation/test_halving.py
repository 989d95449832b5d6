"""When candidates are dropped, and which."""

from k3torch.validation.halving import ranked, rungs, survivors
import pytest

NAN = float("nan")


@pytest.mark.parametrize(
    ("epochs", "factor", "ends"),
    [
        (90, 3, [10, 30, 90]),
        (90, None, [90]),
        (100, 3, [11, 33, 100]),
        (16, 2, [4, 8, 16]),
        (3, 3, [1, 3]),
        (1, 3, [1]),
    ],
)
def test_the_ranges_join_up_to_all_epochs(epochs, factor, ends):
    made = rungs(epochs, factor)
    assert [each.stop for each in made] == ends
    assert [each.start for each in made] == [0, *ends[:-1]]


@pytest.mark.parametrize(
    ("scores", "factor", "greater", "kept"),
    [
        ([3, 1, 2, 5, 4, 6], 3, False, [1, 2]),
        ([3, 1, 2, 5, 4, 6], 3, True, [3, 5]),
        ([3, 1, 2, 5], 3, False, [1, 2]),
        ([NAN, NAN, 7], 2, True, [0, 2]),
        ([NAN, NAN], 2, True, [0]),
        ([1, 1, 1], 3, False, [0]),
    ],
)
def test_the_better_part_survives(scores, factor, greater, kept):
    assert survivors(scores, factor, greater_is_better=greater) == kept


def test_nan_is_the_worst_and_the_first_of_equal_ones_comes_first():
    assert ranked([2, NAN, 1, 2], greater_is_better=False) == [2, 0, 3, 1]
    assert ranked([2, NAN, 1, 2], greater_is_better=True) == [0, 3, 2, 1]
