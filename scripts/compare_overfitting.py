"""Compare ways to reduce overfitting on film reviews.

    make overfit-imdb
    make overfit-imdb ARGS="--variants original dropout --seed 1"
    k3torch overfit-imdb --variants original mine
    k3torch overfit-imdb --resume runs/overfit-TIME

One network and its variants are trained for 20 epochs each, in processes of their own, as many at a time as there are
cores. Each starts from the same seed and gets the same batches. They are validated on samples held out of the training
half, and never evaluated on the test half. All curves and metrics are the cross-entropy without penalties: Keras adds
the penalty of a regularizer to the loss of training and of validation alike, so those losses of two variants cannot be
compared. To try a variant of your own, change the function ``mine``. Takes about 15 seconds on two cores. With --resume
the variants that are complete are not trained again.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from k3torch import cli
from k3torch.options import Machine, Resumable, ReviewLabels, ReviewSource, shown_as

Variant = Literal[
    "original", "smaller", "l2", "l1", "l1l2", "dropout", "original-adam", "smaller-adam", "mine"
]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    variants: Annotated[tuple[Variant, ...], shown_as("NAME ...", "all but mine")] = tuple(
        name for name in get_args(Variant) if name != "mine"
    )
    """Variants to train: original, smaller, l2, l1, l1l2, dropout, original-adam, smaller-adam, mine."""
    source: ReviewSource = "auto"
    """Reviews, as for train-imdb."""
    num_words: int = 10_000
    """Width of the bags: the number of most frequent words that are told apart."""
    epochs: int = 20
    """Epochs of each variant."""
    batch_size: int = 512
    """Reviews per update."""
    reviews: ReviewLabels = ReviewLabels()
    output: Resumable = Resumable()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections import ChainMap
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import joblib
from k3torch import parallel, runtime
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.imdb import Reviews, load_data
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.reports import tables
from k3torch.reports.overfitting import plot_variants
from k3torch.reports.run_folder import CHECKPOINTS, RunFolder, check_free
from k3torch.stack.stateless import given_metrics
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.fast_model import FastModel
from k3torch.training.progress import EpochBar, History
import keras
from keras.regularizers import L1, L1L2, L2
import numpy as np

LOSS = "binary_crossentropy"  # as a metric, it is the loss without penalties


def variant(num_words: int, **choices: Any) -> keras.Model:
    """Build the lecture's classifier with other ``choices``, which are arguments of ``vanilla_model``."""
    return imdb_classifier(num_words, model_class=FastModel, metrics=("accuracy", LOSS), **choices)


def mine(num_words: int) -> keras.Model:
    """Build a variant of your own: change this function, and run with ``--variants original mine``."""
    return variant(num_words, units=(16,), dropout=0.3, kernel_regularizer=L2(0.0005), max_norm=3.0)


VARIANTS: dict[str, Callable[[int], keras.Model]] = {
    "original": variant,
    "smaller": lambda n: variant(n, units=(4, 4)),
    "l2": lambda n: variant(n, kernel_regularizer=L2(0.001)),
    "l1": lambda n: variant(n, kernel_regularizer=L1(0.001)),
    "l1l2": lambda n: variant(n, kernel_regularizer=L1L2(0.001, 0.001)),
    "dropout": lambda n: variant(n, dropout=0.5),
    "original-adam": lambda n: variant(n, optimizer="adam"),
    "smaller-adam": lambda n: variant(n, optimizer="adam", units=(4, 4)),
    "mine": mine,
}
LABELS = {
    "original": "original (16-16)",
    "smaller": "smaller (4-4)",
    "l2": "L2 (0.001)",
    "l1": "L1 (0.001)",
    "l1l2": "L1L2 (0.001, 0.001)",
    "dropout": "dropout (0.5)",
    "original-adam": "Adam (0.001)",
    "smaller-adam": "smaller, Adam (0.001)",
}
"""Names in plots and in the table, with the strength of what was changed; the other names are used as they are."""
# Pairs with a plot of their own, drawn if both were trained.
COMPARISONS = [
    ("original", "smaller"),
    ("original-adam", "smaller-adam"),
    ("original", "original-adam"),
    ("smaller", "smaller-adam"),
    *(("original", other) for other in ("l2", "l1", "l1l2", "dropout", "mine")),
]


def label(name: str) -> str:
    return LABELS.get(name, name)


def main(settings: Settings) -> None:
    """Train all variants, plot their validation losses, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    for name in settings.variants:  # refuses a variant that lacks the compared metrics before any is trained
        build(name, settings)
    data = load_data(settings.source, settings.num_words, **vars(settings.reviews))
    print(cli.wrapped(data.reason))
    validation, training = split(data.train)

    with RunFolder("overfit", settings) as run:
        run.metrics |= {
            "source": data.source,
            "sizes": {"train": len(training), "validation": len(validation)},
            "device": str(device),
            "seed": settings.machine.seed,
        }
        train_all(settings, run, processes=joblib.cpu_count() if device.type == "cpu" else 1)
        draw(run)
        run.metrics |= {"seconds_total": run.seconds} | runtime.peak_memories()
        run.results = results(run)
    print(f"{run.metrics['seconds_total']:.1f} s in all\nwritten to {run.path}")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "num_words", "epochs", "batch_size")
    if len(set(settings.variants)) != max(1, len(settings.variants)):
        raise InputError(f"expected at least one variant, and each once, got {' '.join(settings.variants) or 'none'}")
    check_free(settings.output)


def split(reviews: Reviews) -> tuple[Reviews, Reviews]:
    """Return the validation samples, 10,000 of 25,000, and the training samples."""
    held_out = len(reviews) * 2 // 5
    return reviews.slice(0, held_out), reviews.slice(held_out, len(reviews))


def bags(reviews: Reviews, settings: Settings, device: Any) -> BagDataset:
    words = bag_of_words(reviews.ids, reviews.offsets, settings.num_words)
    return BagDataset(words, reviews.labels, device=device)


def build(name: str, settings: Settings) -> keras.Model:
    """Build a variant from the seed, independent of those built before it."""
    keras.utils.set_random_seed(settings.machine.seed)
    model = VARIANTS[name](settings.num_words)
    names = {getattr(m, "name", m) for m in given_metrics(model)} if isinstance(model, keras.Model) else set()
    if not names >= {"accuracy", LOSS}:
        raise InputError(
            f"expected {name!r} to return a compiled Keras model with the metrics accuracy and {LOSS}, "
            f"got {model!r} with {sorted(map(str, names)) or 'none'}: build it with variant()"
        )
    return model


def train_all(settings: Settings, run: RunFolder, processes: int) -> None:
    """Train the variants in processes of their own, and put the results of those that are complete into ``run``."""
    folder = CheckpointFolder(run.path / CHECKPOINTS / "variants", run.checkpoint)
    _, stored = (folder.newest() if run.resumed else None) or (0, {})
    results = {name: Result(**values) for name, values in stored.items()}
    calls = {name: (name, settings) for name in settings.variants if name not in results}
    try:
        with EpochBar("variants", len(settings.variants)) as bar:
            bar.done = len(results)
            for name, result in parallel.completed(train, calls, (), min(processes, len(calls)), bar.notice):
                results[name] = result
                folder.write(len(results), {name: vars(result) for name, result in results.items()})
                bar.advance({f"{name}: val_loss": result.metrics["last_validation_loss"]})
    finally:  # an interrupted run keeps the complete variants
        complete = [results[name] for name in settings.variants if name in results]
        run.history.extend(merged(result.curves for result in complete))
        run.metrics["variants"] = {result.name: result.metrics for result in complete}
        run.metrics["seconds_training"] = {result.name: result.seconds for result in complete}


@dataclass(frozen=True)
class Result:
    """One variant's curves by epoch, its metrics for the table, and the sum of its epochs' seconds."""

    name: str
    seconds: float
    curves: list[dict[str, float]]
    metrics: dict[str, float]


def train(name: str, settings: Settings) -> Result:
    """Train one variant, in a process of its own."""
    device = runtime.configure(**vars(settings.machine))
    data = load_data(settings.source, settings.num_words, **vars(settings.reviews))
    validation, training = (bags(part, settings, device) for part in split(data.train))
    model = build(name, settings)
    keras.utils.set_random_seed(settings.machine.seed)
    history: list[dict[str, float]] = []
    with runtime.single_threaded():
        model.fit(
            bag_loader(training, settings.batch_size, shuffle=True, seed=settings.machine.seed),
            validation_data=bag_loader(validation, settings.batch_size),
            epochs=settings.epochs,
            callbacks=[History(history)],
            shuffle=False,  # the loader shuffles
            verbose=0,
        )
        # Without dropout and after the last update, as the validation samples are evaluated.
        last = model.evaluate(bag_loader(training, settings.batch_size), return_dict=True, verbose=0)[LOSS]
    losses = [row[f"val_{LOSS}"] for row in history]
    best = int(np.argmin(losses))
    metrics = {
        "best_epoch": best + 1,
        "lowest_validation_loss": losses[best],
        "validation_accuracy": history[best]["val_accuracy"],
        "last_validation_loss": losses[-1],
        "last_training_loss": last,
        "gap": losses[-1] - last,
    }
    curves = [
        {"epoch": row["epoch"], f"{name} training": row[LOSS], f"{name} validation": row[f"val_{LOSS}"]}
        for row in history
    ]
    return Result(name, sum(row["seconds"] for row in history), curves, metrics)


def merged(curves: Iterable[list[dict[str, float]]]) -> list[dict[str, float]]:
    """Return one row per epoch with the columns of all variants."""
    return [dict(ChainMap(*reversed(rows))) for rows in zip(*curves, strict=True)]


def draw(run: RunFolder) -> None:
    """Plot each comparison whose variants were trained, and all variants together, with one range of losses."""
    curves = {name: [epoch[f"{name} validation"] for epoch in run.history] for name in run.metrics["variants"]}
    data = f"film reviews, {run.metrics['sizes']['train']:,} training samples; RMSprop (0.001) where not named"
    plot = partial(plot_variants, curves=curves, quantity="validation loss (cross-entropy, no penalty)", labels=LABELS)
    pairs = [pair for pair in COMPARISONS if set(pair) <= set(curves)]
    for pair in pairs:
        plot(run.plot("-vs-".join(pair)), names=pair, title=f"{' and '.join(map(label, pair))}\n{data}")
    if not any(set(pair) == set(curves) for pair in pairs):  # else it is that pair's plot
        plot(run.plot("all"), title=f"Ways to reduce overfitting\n{data}")


LECTURE = "The lecture: the original network overfits after epoch 4, the smaller one after epoch 6."
COLUMNS = {
    "lowest": "lowest_validation_loss",
    "accuracy": "validation_accuracy",
    "last": "last_validation_loss",
    "training": "last_training_loss",
    "gap": "gap",
}


def results(run: RunFolder) -> list[tables.ResultTable | str]:
    """Return the table of all variants."""
    table = tables.ResultTable(
        "Validation loss without penalties",
        ["variant", "epoch", *COLUMNS],
        [
            (label(name), metrics["best_epoch"], *(f"{metrics[c]:.3f}" for c in COLUMNS.values()))
            for name, metrics in run.metrics["variants"].items()
        ],
    )
    notes = "epoch: of the lowest loss; gap: last validation minus training loss"
    return [notes, table, LECTURE]


if __name__ == "__main__":
    cli.run(main, SETTINGS)
