"""The learning rate and the epoch of the lowest validation loss."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from k3torch.data.bags import BagDataset, bag_loader
from k3torch.errors import refuse, unless
from k3torch.training.progress import fit
from k3torch.training.rungs import nan_refused
import keras

PATIENCE = 2  # epochs without a lower validation loss after which a rate is given up


class Selection(NamedTuple):
    """What ``select_rate`` found: a learning rate, an epoch from 1, and the metrics of that epoch."""

    rate: float
    epoch: int
    validation_loss: float
    validation_accuracy: float


@nan_refused()
def select_rate(
    build: Callable[[float], keras.Model],
    training: BagDataset,
    validation: BagDataset,
    rates: Sequence[float],
    *,
    epochs: int,
    batch_size: int = 512,
    seed: int = 0,
) -> Selection:
    """Train a model with each learning rate, and return the rate and the epoch of the lowest validation loss.

    Each model begins with the same random state and gets the same batches.

    Args:
        build: returns a compiled model with the metric accuracy, for a learning rate.
        training: training samples.
        validation: validation samples.
        rates: learning rates, one or more.
        epochs: the most epochs for each; it ends after two epochs without a lower loss.
        batch_size: samples per update.
        seed: of the models and of the order of samples.

    Raises:
        InputError: if there are no rates, or the outputs of a model become NaN.
    """
    refuse([unless(len(rates) > 0, "one learning rate or more, got none")])
    found = [
        Selection(rate, int(epoch["epoch"]), epoch["val_loss"], epoch["val_accuracy"])
        for rate in rates
        for epoch in _history(build, training, validation, rate, epochs, batch_size, seed)
    ]
    return min(found, key=lambda selection: selection.validation_loss)


def _history(
    build: Callable[[float], keras.Model],
    training: BagDataset,
    validation: BagDataset,
    rate: float,
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[dict[str, float]]:
    """Return the metrics of each epoch."""
    keras.utils.set_random_seed(seed)
    history: list[dict[str, float]] = []
    fit(
        build(rate),
        bag_loader(training, batch_size, shuffle=True, seed=seed),
        validation=bag_loader(validation, batch_size),
        epochs=epochs,
        title=f"learning rate {rate:g}",
        history=history,
        callbacks=[keras.callbacks.EarlyStopping(patience=PATIENCE)],
    )
    return history
