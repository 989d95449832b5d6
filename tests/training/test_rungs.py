"""The rungs: whatever serves the rows, the same training."""

from k3torch.data.bags import BagDataset, bag_of_words
from k3torch.errors import InputError
from k3torch.training import rungs
import keras
import numpy as np
import pytest
from torch.utils.data import Subset

WORDS = 30


def _rows():
    rng = np.random.default_rng(0)
    bags = bag_of_words(rng.integers(0, WORDS, 400), np.arange(0, 401, 10), WORDS)
    return BagDataset(bags, rng.integers(0, 2, 40))


def _train(rung, shuffle=False):
    keras.utils.set_random_seed(0)
    everything = _rows()
    training, validation = Subset(everything, range(10, 40)), Subset(everything, range(10))
    model, rows = rungs.build(rung, WORDS), []
    rungs.train(
        rung, model, rungs.serve(rung, training, 8, shuffle=shuffle), validation=rungs.serve(rung, validation, 8),
        epochs=2, title="", history=rows,
    )  # fmt: skip
    return rows, model.get_weights()


@pytest.mark.parametrize("rung", [2, 3, 4, 5, 6])
def test_every_rung_ends_with_the_weights_and_figures_of_the_first(rung):
    expected, expected_weights = _train(1)
    found, weights = _train(rung)
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) == set(theirs) == {"epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy"}
        assert all(ours[name] == pytest.approx(theirs[name], abs=1e-5) for name in ours if name != "seconds")
    for ours, theirs in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("rung", [1, 4])
def test_shuffled_rows_train_another_way(rung):
    assert not np.allclose(_train(rung, shuffle=True)[1][0], _train(rung)[1][0], atol=1e-5)


@pytest.mark.parametrize("rung", [1, 4, 5])
def test_without_validation_there_are_no_figures_of_it(rung):
    rows = []
    rungs.train(rung, rungs.build(rung, WORDS), rungs.serve(rung, _rows(), 8), epochs=1, title="", history=rows)
    assert set(rows[0]) == {"epoch", "seconds", "loss", "accuracy"}


def test_a_rung_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="expected rungs from 1 to 6, got 7"):
        rungs.check_rung(7)
