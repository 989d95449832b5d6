"""Compare ways to fight overfitting on the film reviews: one network, varied, 20 epochs each.

    make overfit-imdb
    make overfit-imdb ARGS="--variants original dropout --seed 1"
    python scripts/compare_overfitting.py --variants original mine

The variants train in processes of their own, as many at a time as there are cores; each starts from the same seed and
sees the same batches. They are validated on reviews held out of the training half, and never see the test half. All
curves and metrics are the plain cross-entropy: Keras adds the penalty of a regularizer to the loss of training and of
validation alike, so those losses of two variants cannot be compared. To try a variant of your own, change the function
``mine``. Takes about 15 seconds on two cores.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

import joblib
from k3torch import cli, runtime
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.imdb import Reviews, load_data
from k3torch.errors import InputError
from k3torch.models.builders import imdb_classifier
from k3torch.reports import tables
from k3torch.reports.overfitting import plot_variants
from k3torch.reports.plots import plot_curves
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
from k3torch.stack.stateless import given_metrics
from k3torch.training.fast_model import FastModel
from k3torch.training.progress import EpochBar, History
import keras
from keras.regularizers import L1, L1L2, L2
import numpy as np
import tyro

LOSS = "binary_crossentropy"  # as a metric it is the loss without penalties


def variant(num_words: int, **choices: Any) -> keras.Model:
    """Build the lecture's classifier with other ``choices``: any argument of ``vanilla_model``."""
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
# A picture each; those of variants that were not run are left out.
COMPARISONS = [
    ("original", "smaller"),
    ("original-adam", "smaller-adam"),
    ("original", "original-adam"),
    ("smaller", "smaller-adam"),
    *(("original", other) for other in ("l2", "l1", "l1l2", "dropout", "mine")),
]


@dataclass(frozen=True)
class Settings(RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    variants: tuple[str, ...] = tuple(name for name in VARIANTS if name != "mine")
    """Which to run: original smaller l2 l1 l1l2 dropout original-adam smaller-adam mine."""
    source: Annotated[str, tyro.conf.arg(metavar="auto|keras|reviews|PATH")] = "auto"
    """Where the reviews come from, as for train_imdb.py."""
    num_words: int = 10_000
    """Width of the bags: the most frequent words that are told apart."""
    epochs: int = 20
    """Epochs of each variant."""
    batch_size: int = 512
    """Reviews an update."""


def main(settings: Settings) -> None:
    check(settings)
    device = runtime.configure(settings.device, settings.precision, settings.seed)
    for name in settings.variants:  # refuses a variant that lacks the compared metrics before any is trained
        build(name, settings)
    data = load_data(settings.source, settings.num_words)
    print(data.reason)
    validation, training = split(data.train)

    with RunFolder("overfit", settings) as run:
        run.metrics |= {
            "source": data.source,
            "sizes": {"train": len(training), "validation": len(validation)},
            "device": str(device),
            "seed": settings.seed,
        }
        train_all(settings, run, processes=joblib.cpu_count() if device.type == "cpu" else 1)
        draw(run)
        run.metrics |= {"seconds_total": run.seconds, "peak_memory_mb": runtime.peak_memory_mb()}
    show(run)


def check(settings: Settings) -> None:
    cli.check_counts(settings, "epochs", "batch_size")
    cli.check_names(settings, "variants", VARIANTS)
    if len(set(settings.variants)) != max(1, len(settings.variants)):
        raise InputError(f"expected each variant once, and one at least, got {list(settings.variants)}: name others")
    check_free(settings)


def split(reviews: Reviews) -> tuple[Reviews, Reviews]:
    """Return the reviews to validate on, 10,000 of 25,000, and those to train on."""
    held_out = len(reviews) * 2 // 5
    return reviews.slice(0, held_out), reviews.slice(held_out, len(reviews))


def bags(reviews: Reviews, settings: Settings, device: Any) -> BagDataset:
    rows = bag_of_words(reviews.ids, reviews.offsets, settings.num_words)
    return BagDataset(rows, reviews.labels, device=device)


def build(name: str, settings: Settings) -> keras.Model:
    """Build a variant, from the seed, so that it does not depend on those built before it."""
    keras.utils.set_random_seed(settings.seed)
    model = VARIANTS[name](settings.num_words)
    names = {getattr(m, "name", m) for m in given_metrics(model)} if isinstance(model, keras.Model) else set()
    if not names >= {"accuracy", LOSS}:
        raise InputError(
            f"expected {name!r} to return a compiled Keras model with the metrics accuracy and {LOSS}, "
            f"got {model!r} with {sorted(map(str, names)) or 'none'}: build it with variant()"
        )
    return model


def train_all(settings: Settings, run: RunFolder, processes: int) -> None:
    """Train the variants in processes of their own; ``run`` gets the results of each as soon as it ends."""
    workers = joblib.Parallel(n_jobs=min(processes, len(settings.variants)), return_as="generator_unordered")
    results: dict[str, Result] = {}
    try:
        with EpochBar("variants", len(settings.variants)) as bar:
            for result in workers(joblib.delayed(train)(name, settings) for name in settings.variants):
                results[result.name] = result
                bar.advance({"val_loss": result.metrics["last_validation_loss"]})
    finally:  # an interrupted run keeps the variants that are complete
        complete = [results[name] for name in settings.variants if name in results]
        run.history.extend(merged(result.curves for result in complete))
        run.metrics["variants"] = {result.name: result.metrics for result in complete}
        run.metrics["seconds_training"] = {result.name: result.seconds for result in complete}


@dataclass(frozen=True)
class Result:
    """One variant's curves, by epoch, the metrics of the table, and the seconds of its epochs."""

    name: str
    seconds: float
    curves: list[dict[str, float]]
    metrics: dict[str, float]


def train(name: str, settings: Settings) -> Result:
    """Train one variant, in a process of its own."""
    device = runtime.configure(settings.device, settings.precision, settings.seed)
    validation, training = (
        bags(part, settings, device) for part in split(load_data(settings.source, settings.num_words).train)
    )
    model = build(name, settings)
    keras.utils.set_random_seed(settings.seed)
    history: list[dict[str, float]] = []
    with runtime.single_threaded():
        model.fit(
            bag_loader(training, settings.batch_size, shuffle=True, seed=settings.seed),
            validation_data=bag_loader(validation, settings.batch_size),
            epochs=settings.epochs,
            callbacks=[History(history)],
            shuffle=False,  # the loader shuffles
            verbose=0,
        )
        # Once more without dropout and after the last update, as the validation reviews are evaluated.
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
    """Return one row an epoch with the columns of all variants."""
    return [dict(ChainMap(*reversed(rows))) for rows in zip(*curves, strict=True)]


def draw(run: RunFolder) -> None:
    """Draw each comparison whose variants were run, and one picture of all."""
    curves = {name: [row[f"{name} validation"] for row in run.history] for name in run.metrics["variants"]}
    quantity = "validation loss (cross-entropy, no penalty)"
    for pair in COMPARISONS:
        if set(pair) <= set(curves):
            title = f"{pair[0]} against {pair[1]}"
            plot_curves(run.path / f"{'-vs-'.join(pair)}.png", {n: curves[n] for n in pair}, quantity, title)
    plot_variants(run.path / "all.png", curves, quantity, "Ways to fight overfitting")


FIGURES = ("lowest_validation_loss", "validation_accuracy", "last_validation_loss", "last_training_loss", "gap")


def show(run: RunFolder) -> None:
    """Print the table of all variants."""
    tables.show(
        "Validation loss without penalties; gap: last minus training loss",
        ["variant", "best epoch", "lowest", "accuracy", "last", "training", "gap"],
        [
            (
                name,
                found["best_epoch"],
                *(f"{found[figure]:.3f}" for figure in FIGURES),
            )
            for name, found in run.metrics["variants"].items()
        ],
    )
    print(f"{run.metrics['seconds_total']:.1f} s in all; written to {run.path}")


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
