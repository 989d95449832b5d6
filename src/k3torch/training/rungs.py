"""Six ways to train the review classifier on the same rows, each with one thing more that is yours to change."""

from collections.abc import Sequence
from dataclasses import dataclass
import time
from typing import Any

from k3torch import runtime
from k3torch.data.bags import BagDataset, Batch, bag_loader
from k3torch.data.loaders import array_loader
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.training import loop
from k3torch.training.fast_model import FastModel
from k3torch.training.progress import EpochBar, fit
import keras
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset

NAMES = {
    1: "fit on arrays",
    2: "fit on a dense DataLoader",
    3: "fit on the sparse DataLoader",
    4: "an overridden train_step",
    5: "a loop of one's own",
    6: "the compiled step",
}
DENSE, FAST, OWN_LOOP, COMPILED = (1, 2), (4, 5, 6), 5, 6


@dataclass(frozen=True)
class Arrays:
    """What ``fit`` takes on the first rung: (rows, num_words) and (rows, 1), float32, and how to walk through them."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    batch_size: int
    shuffle: bool


Served = Arrays | DataLoader[Any]


def check_rung(rung: int) -> None:
    """Refuse a rung that is not there.

    Raises:
        InputError: names those that are.
    """
    if rung not in NAMES:
        raise InputError(f"expected rungs from 1 to {len(NAMES)}, got {rung}: choose among those")


def build(rung: int, num_words: int) -> keras.Model:
    """Build and compile the rung's model; layers and first weights are the same on all."""
    model = imdb_classifier(num_words, model_class=FastModel if rung in FAST else keras.Model)
    if rung == COMPILED:
        model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"], jit_compile=True)
    return model


def serve(rung: int, rows: BagDataset | Subset[Batch], batch_size: int, shuffle: bool = False, seed: int = 0) -> Served:
    """Return the rows as the rung takes them: with all their zeros on the first two, as CSR batches on the others."""
    if rung not in DENSE:
        return bag_loader(rows, batch_size, shuffle=shuffle, seed=seed)
    bags, chosen = (rows.dataset, list(rows.indices)) if isinstance(rows, Subset) else (rows, list(range(len(rows))))
    assert isinstance(bags, BagDataset)
    x, y = bags.bags[chosen].toarray(), bags.columns[0][chosen].cpu().numpy()
    if rung == 1:
        return Arrays(x, y, batch_size, shuffle)
    return array_loader(x, y, batch_size=batch_size, shuffle=shuffle, seed=seed)


def train(
    rung: int,
    model: keras.Model,
    data: Served,
    *,
    epochs: int,
    title: str,
    history: list[dict[str, float]],
    validation: Served | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> None:
    """Train with a progress bar, and append each epoch's metrics to ``history``.

    ``callbacks`` are not for the rung of the caller's own loop.
    """
    if rung == OWN_LOOP:
        _loop(model, data, () if validation is None else validation, epochs, title, history)
        return
    x: Any = data
    held_out: Any = validation
    how: dict[str, Any] = {}
    if isinstance(data, Arrays):
        x, how = data.x, {"y": data.y, "batch_size": data.batch_size, "shuffle": data.shuffle}
    if isinstance(validation, Arrays):
        held_out, how["validation_batch_size"] = (validation.x, validation.y), validation.batch_size
    fit(model, x, epochs=epochs, title=title, history=history, validation=held_out, callbacks=callbacks,
        one_thread=rung not in DENSE, **how)  # fmt: skip


def _loop(
    model: keras.Model, batches: Any, validation: Any, epochs: int, title: str, history: list[dict[str, float]]
) -> None:
    with EpochBar(title, epochs) as bar, runtime.single_threaded():
        for epoch in range(epochs):
            started = time.perf_counter()
            (metrics,) = loop.train(model, batches, validation, epochs=1)
            history.append({"epoch": epoch + 1, "seconds": time.perf_counter() - started, **metrics})
            bar.advance(metrics)
