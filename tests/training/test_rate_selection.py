"""The selected learning rate and epoch are those of the lowest validation loss, found again with plain Keras."""

from k3torch.data.bags import BagDataset
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.fast_model import FastModel
from k3torch.training.rate_selection import PATIENCE, select_rate
import keras
import numpy as np
import pytest
from scipy.sparse import csr_matrix

RNG = np.random.default_rng(0)
X = (RNG.random((80, 12)) < 0.4).astype(np.float32)
Y = (X[:, 0] + X[:, 1] > X[:, 2]).astype(np.float32)
TRAINING, VALIDATION = BagDataset(csr_matrix(X[:50]), Y[:50]), BagDataset(csr_matrix(X[50:]), Y[50:])
RATES = (1e-6, 0.5, 1e-3)


def build(rate):
    return imdb_classifier(12, units=(), optimizer="sgd", learning_rate=rate, model_class=FastModel)


def losses(rate, epochs):
    """The validation losses of Keras on dense arrays; one batch an epoch has no order."""
    keras.utils.set_random_seed(3)
    model = imdb_classifier(12, units=(), optimizer="sgd", learning_rate=rate)
    history = model.fit(X[:50], Y[:50], batch_size=50, epochs=epochs, validation_data=(X[50:], Y[50:]), verbose=0)
    return history.history["val_loss"], history.history["val_accuracy"]


def test_rate_and_epoch_have_the_lowest_validation_loss():
    best = select_rate(build, TRAINING, VALIDATION, RATES, epochs=6, batch_size=50, seed=3)
    table = {rate: losses(rate, 6) for rate in RATES}
    rate = min(table, key=lambda rate: min(table[rate][0]))
    epoch = int(np.argmin(table[rate][0]))
    assert (best.rate, best.epoch) == (rate, epoch + 1) == (0.5, 6)
    assert best.validation_loss == pytest.approx(table[rate][0][epoch], rel=1e-5)
    assert best.validation_accuracy == pytest.approx(table[rate][1][epoch])


def test_a_rate_is_given_up_after_epochs_without_a_lower_loss():
    lengths = []

    class Counting(FastModel):
        def fit(self, *arguments, **options):
            history = super().fit(*arguments, **options)
            lengths.append(len(history.history["loss"]))
            return history

    def build_counting(rate):
        return imdb_classifier(12, units=(), optimizer="sgd", learning_rate=rate, model_class=Counting)

    with EpochBar("rates", 2) as bar:
        best = select_rate(build_counting, TRAINING, VALIDATION, (0.1, 200.0), epochs=30, batch_size=50, bar=bar)
        assert bar.done == 2
    assert best.rate == 0.1
    assert lengths[0] == 30
    assert PATIENCE < lengths[1] < 30


def test_the_same_seed_selects_the_same():
    first, second = (select_rate(build, TRAINING, VALIDATION, RATES, epochs=2, batch_size=16) for _ in range(2))
    assert first == second
    assert first != select_rate(build, TRAINING, VALIDATION, RATES, epochs=2, batch_size=16, seed=1)


def test_there_must_be_a_rate():
    with pytest.raises(InputError, match="one learning rate or more, got none"):
        select_rate(build, TRAINING, VALIDATION, (), epochs=1)
