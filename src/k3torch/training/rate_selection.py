"""The learning rate and the epoch of the lowest validation loss."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from k3torch import runtime
from k3torch.data.bags import BagDataset, Batch, bag_loader
from k3torch.data.batch_parts import own_parts
from k3torch.errors import refuse, unless
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.progress import History
from k3torch.training.rungs import nan_refused
import keras
from torch.utils.data import DataLoader

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
    bar: EpochBar | None = None,
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
        bar: advanced by one for each rate.

    Raises:
        InputError: if there are no rates, or the outputs of a model become NaN.
    """
    refuse([unless(len(rates) > 0, "one learning rate or more, got none")])
    found: list[Selection] = []
    for rate in rates:
        keras.utils.set_random_seed(seed)
        batches = (
            bag_loader(own_parts(training), batch_size, shuffle=True, seed=seed),
            bag_loader(own_parts(validation), batch_size),
        )
        history = _trained(build(rate), *batches, epochs)
        found += [Selection(rate, int(e["epoch"]), e["val_loss"], e["val_accuracy"]) for e in history]
        if bar is not None:
            bar.advance({f"rate {rate:g}: val_loss": min(epoch["val_loss"] for epoch in history)})
    return min(found, key=lambda selection: selection.validation_loss)


def _trained(
    model: keras.Model, batches: DataLoader[Batch], validation: DataLoader[Batch], epochs: int
) -> list[dict[str, float]]:
    """Return the metrics of each epoch."""
    history: list[dict[str, float]] = []
    with runtime.single_threaded():
        model.fit(
            batches,
            validation_data=validation,
            epochs=epochs,
            callbacks=[keras.callbacks.EarlyStopping(patience=PATIENCE), History(history)],
            shuffle=False,  # the loader shuffles
            verbose=0,
        )
    return history
