"""Seven ways to train the review classifier on the same samples, each of which lets you change one more part."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any, Unpack

from k3torch import processes, runtime
from k3torch.data.bags import BagDataset, Batch, bag_loader
from k3torch.data.batch_parts import own_parts
from k3torch.data.loaders import array_loader
from k3torch.errors import InputError, refuse, unless
from k3torch.models.builders import BuilderOptions, imdb_classifier
from k3torch.options import Rung
from k3torch.training import custom_loop
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.fast_model import FastModel
from k3torch.training.fast_step import Unsupported
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
    5: "a custom training loop",
    6: "the compiled step",
    7: "several processes",
}
DENSE, FAST, OWN_LOOP, COMPILED, SEVERAL = (1, 2), (4, 5, 6, 7), 5, 6, 7


@dataclass(frozen=True)
class Arrays:
    """The arguments of ``fit`` on the first rung: x (samples, num_words) and y (samples, 1), float32."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    batch_size: int
    shuffle: bool


Data = Arrays | DataLoader[Any]


def build(rung: int, num_words: int, **options: Unpack[BuilderOptions]) -> keras.Model:
    """Build and compile the model of a rung; layers and initial weights are the same on all rungs.

    ``options`` are arguments of ``imdb_classifier``.
    """
    options["model_class"] = FastModel if rung in FAST else keras.Model
    model = imdb_classifier(num_words, **options)
    if rung == COMPILED:
        model.compile(model.optimizer, model.loss, metrics=["accuracy"], jit_compile=True)
    return model


def check_options(rung: int, **options: Unpack[BuilderOptions]) -> None:
    """Check that a rung can train what ``build`` returns for these options.

    Raises:
        InputError: for rung 5 with clipped gradients, for example, which only ``fit`` handles.
    """
    if rung == OWN_LOOP:
        try:
            custom_loop.train(build(rung, 1, **options), ())
        except Unsupported as reason:
            raise InputError(f"expected a network for the loop of rung 5, got {reason}: use another rung") from reason


def rung_of_processes(rung: Rung, default: Rung, resume: Path | None) -> Rung:
    """Return the rung to train on: that of several processes if ``torchrun`` started some and the default was chosen.

    Raises:
        InputError: if they are to train on another rung, or to go on with a run of one process.
    """
    if processes.started() == 1:
        return rung
    if resume is not None and rung != SEVERAL:
        raise InputError(
            f"expected a run of several processes in {resume}, got one of rung {rung}: resume it without torchrun"
        )
    refuse([unless(rung in (default, SEVERAL), f"rung as {SEVERAL} with torchrun, got {rung}")])
    return 7


def serve(
    rung: int, samples: BagDataset | Subset[Batch], batch_size: int, shuffle: bool = False, seed: int = 0
) -> Data:
    """Return the data in the format of a rung: dense on the first two, batches of CSR tensors on the others.

    On rung 7 the batches are this process's parts of those of ``batch_size`` samples.
    """
    if rung not in DENSE:
        samples = own_parts(samples) if rung == SEVERAL else samples
        return bag_loader(samples, batch_size, shuffle=shuffle, seed=seed)
    bags, chosen = (
        (samples.dataset, list(samples.indices))
        if isinstance(samples, Subset)
        else (samples, list(range(len(samples))))
    )
    assert isinstance(bags, BagDataset)
    x, y = bags.bags[chosen].toarray(), bags.labels_and_weights[0][chosen].cpu().numpy()
    if rung == 1:
        return Arrays(x, y, batch_size, shuffle)
    return array_loader(x, y, batch_size=batch_size, shuffle=shuffle, seed=seed)


@contextmanager
def nan_refused() -> Iterator[None]:
    """Turn the error of torch, which computes no binary cross-entropy of NaN, into an InputError."""
    try:
        yield
    except RuntimeError as error:
        if "between 0 and 1" not in str(error):
            raise
        raise InputError("expected finite outputs of the model, got NaN: lower learning_rate") from error


@nan_refused()
def train(
    rung: int,
    model: keras.Model,
    data: Data,
    *,
    epochs: int,
    title: str,
    history: list[dict[str, float]],
    validation: Data | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint: ExactCheckpoint | None = None,
    resume: bool = False,
) -> None:
    """Train with a progress bar, and append each epoch's metrics to ``history``.

    Args:
        rung: 1 to 7.
        model: as ``build`` returns it for this rung.
        data: training data, as ``serve`` returns it for this rung.
        epochs: passes over ``data``.
        title: of the progress bar.
        history: gets a dict per epoch: epoch (from 1), seconds and metrics.
        validation: validation data, as ``serve`` returns it, or None.
        callbacks: of ``fit``; the custom training loop ignores them.
        checkpoint: writes checkpoints, or None; the custom training loop writes none.
        resume: whether to go on from the newest of them; the custom training loop begins again, with the same result.

    Raises:
        InputError: if the model's outputs become NaN.
    """
    if rung == OWN_LOOP:
        _loop(model, data, () if validation is None else validation, epochs, title, history)
        return
    x: Any = data
    validation_data: Any = validation
    fit_arguments: dict[str, Any] = {}
    if isinstance(data, Arrays):
        x, fit_arguments = data.x, {"y": data.y, "batch_size": data.batch_size, "shuffle": data.shuffle}
    if isinstance(validation, Arrays):
        validation_data = (validation.x, validation.y)
        fit_arguments["validation_batch_size"] = validation.batch_size
    fit(model, x, epochs=epochs, title=title, history=history, validation=validation_data,
        callbacks=callbacks, checkpoint=checkpoint, resume=resume, one_thread=rung not in DENSE,
        **fit_arguments)  # fmt: skip


def _loop(
    model: keras.Model, batches: Any, validation: Any, epochs: int, title: str, history: list[dict[str, float]]
) -> None:
    with EpochBar(title, epochs) as bar, runtime.single_threaded():
        for epoch in range(epochs):
            started = time.perf_counter()
            (metrics,) = custom_loop.train(model, batches, validation, epochs=1)
            history.append({"epoch": epoch + 1, "seconds": time.perf_counter() - started, **metrics})
            bar.advance(metrics)
