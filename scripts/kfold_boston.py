"""Estimate a price regressor's error by K-fold validation.

    make kfold-boston
    make kfold-boston ARGS="--repeats 8"
    make kfold-boston ARGS="--resume runs/boston-TIME"
    k3torch kfold-boston --table houses.csv --target price

The network is 64-64-1, trained with RMSprop and squared error. All folds and repeats train as one stack of models. The
epoch with the lowest smoothed validation error then sets how long a fresh model trains on all training samples, which
is tested once. Takes about 10 seconds on two cores, half of them to import Keras, and 6 more the first time, to
compile. Expect a mean absolute error of 2.2 to 2.6 over the folds after 100 epochs, where the lecture reports it (0.1
to 0.4 more after 200: the networks overfit), and of 2.5 to 3.2 on the test samples. With --table, a table of your own,
the command kfold-table runs instead, and takes its options.
"""

from dataclasses import dataclass
import sys
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Machine, Network, Resumable, shown_as


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    folds: int = 4
    """Number of folds of the training samples; each is the validation set once."""
    repeats: int = 1
    """Runs of all folds. From the second on, the samples are shuffled first."""
    epochs: int = 200
    """Passes over the training samples of a fold."""
    batch_size: int = 1
    """Samples per update."""
    normalize: Literal["fold", "train"] = "fold"
    """Samples whose mean and deviation normalise the inputs: the training samples of each fold, or (train, as in the
    lecture) those of all folds, which leaks information on the validation samples."""
    engine: Literal["auto", "stacked", "fit"] = "auto"
    """stacked trains all models as one, fit one after another with Keras's fit, auto stacked where it is supported."""
    final_epochs: Annotated[int | None, shown_as("INT", "the best epoch of the smoothed mean curve")] = None
    """Epochs of the final model."""
    final_batch_size: int = 16
    """Samples per update of the final model."""
    network: Network = Network(units=(64, 64))
    output: Resumable = Resumable()
    machine: Machine = Machine()


if __name__ == "__main__":
    if any(argument.split("=")[0] == "--table" for argument in sys.argv[1:]):
        cli.run_script("kfold_table.py")
        sys.exit()
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

import time
from typing import Any

from k3torch import runtime
from k3torch.data import boston
from k3torch.data.column import Column
from k3torch.data.columns import COLUMNS, Columns
from k3torch.data.loaders import array_loader
from k3torch.data.scaling import Standardizer
from k3torch.models.builders import boston_regressor
from k3torch.models.network import builder_options, check_network
from k3torch.reports import tables
from k3torch.reports.plots import plot_band, plot_scores
from k3torch.reports.run_folder import CHECKPOINTS, RunFolder, check_free
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.fast_model import FastModel
from k3torch.training.progress import fit
from k3torch.training.scaling_layers import with_scaling_layers
from k3torch.validation.cross_validate import cross_validate
from k3torch.validation.curves import skipped_epochs, smooth
from k3torch.validation.folds import make_folds
from k3torch.validation.result import CrossValidation, recorded
import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Data = tuple[tuple[Float, Float], tuple[Float, Float]]

# Mean absolute errors of the lecture's own run: 4 folds, 100 epochs, normalised over all training samples.
LECTURE = {"mean": 2.365, "best epoch": "about 80", "test": 2.717}
LECTURE_FOLDS = (2.00, 2.21, 2.88, 2.37)
LECTURE_EPOCHS = 100


def main(settings: Settings) -> None:
    """Cross-validate, train and test the final model, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    (x, y), _ = data = boston.load_data()
    make_folds(settings.folds, x, y)  # refuses a wrong number of folds
    with RunFolder("boston", settings) as run:
        started = time.perf_counter()
        result = train(x, y, settings, run)
        curves = result.history["val_mae"].reshape(-1, settings.epochs)
        run.metrics |= {
            **metrics(result),
            "best_epoch": result.best_epoch,
            "device": str(device),
            "seed": settings.machine.seed,
            "engine": result.engine,
            "seconds_training": time.perf_counter() - started,
        }
        draw(run, result, curves)
        final(data, settings, run)
        run.metrics |= {"seconds_total": run.seconds}
        run.results = results(settings, run)
    print(
        f"{run.metrics['seconds_training']:.1f} s of cross-validation ({run.metrics['engine']}), "
        f"{run.metrics['seconds_total']:.1f} s in all\nwritten to {run.path}"
    )
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "repeats", "epochs", "batch_size", "final_epochs", "final_batch_size")
    check_network(settings.network, boston_regressor)
    check_free(settings.output)


def train(x: Float, y: Float, settings: Settings, run: RunFolder) -> CrossValidation:
    """Train and validate all models; an interrupted run keeps the epochs so far in its history."""
    return recorded(
        lambda: cross_validate(
            lambda: boston_regressor(x.shape[1], **builder_options(settings.network)),
            x,
            y,
            folds=settings.folds,
            repeats=settings.repeats,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            normalize=settings.normalize,
            engine=settings.engine,
            seed=settings.machine.seed,
            checkpoint=CheckpointFolder(run.path / CHECKPOINTS / "folds", run.checkpoint),
        ),
        run.history,
    )


def metrics(result: CrossValidation) -> dict[str, Any]:
    """Return the results for metrics.json; scores are lists with one value per fold, repeat after repeat.

    Mean, deviation and interval are those after 100 epochs, to compare with the lecture's; those of the last epoch
    have names of their own. A run of fewer epochs has those of the last epoch only.
    """
    early = at_lecture_epochs(result)
    reported = early or result
    return {
        "scores": result.scores.ravel().tolist(),
        "scores_at_100": early and early.scores.ravel().tolist(),
        "mean": reported.mean,
        "std": reported.std,
        "interval": vars(reported.interval),
        "mean_last": result.mean,
        "std_last": result.std,
    }


def at_lecture_epochs(result: CrossValidation) -> CrossValidation | None:
    """Return the same result with the scores after 100 epochs, or None if there were fewer."""
    epochs = result.history["loss"].shape[-1]
    return None if epochs < LECTURE_EPOCHS else result.at_epoch(LECTURE_EPOCHS)


def draw(run: RunFolder, result: CrossValidation, curves: Float) -> None:
    """Plot the validation curves and the scores of the folds."""
    data, quantity = "Boston prices", "validation mean absolute error (1000 USD)"
    skipped = skipped_epochs(curves.shape[1])
    plot_band(run.plot("validation_mae"), curves, quantity, 1, f"{data}, every epoch", result.best_epoch)
    title = f"{data}, smoothed, from epoch {skipped + 1}"
    smoothed = smooth(curves[:, skipped:])
    plot_band(run.plot("validation_mae_smoothed"), smoothed, quantity, skipped + 1, title, result.best_epoch)
    reported = at_lecture_epochs(result) or result
    epoch = min(LECTURE_EPOCHS, curves.shape[1])
    bounds = (reported.interval.low, reported.interval.high)
    plot_scores(run.plot("scores"), reported.scores, quantity, data=data, epoch=epoch, interval=bounds)


def final(data: Data, settings: Settings, run: RunFolder) -> None:
    """Train a fresh model on all training samples for the best number of epochs, and test it once."""
    (x, y), (x_test, y_test) = data
    scale = Standardizer.fit(x)
    epochs = settings.final_epochs or run.metrics["best_epoch"]
    seed, batch_size = settings.machine.seed, settings.final_batch_size
    keras.utils.set_random_seed(seed)
    model = boston_regressor(x.shape[1], **builder_options(settings.network, FastModel))
    batches = array_loader(scale.transform(x), y[:, None], batch_size=batch_size, shuffle=True, seed=seed)
    fit(
        model,
        batches,
        epochs=epochs,
        title="final model",
        history=[],
        checkpoint=ExactCheckpoint(run.path / CHECKPOINTS / "final", register=run.checkpoint),
        resume=run.resumed,
    )
    whole = with_scaling_layers(model, features=scale)
    test = array_loader(x_test, y_test[:, None], batch_size=len(x_test))
    run.metrics |= {"final_epochs": epochs, "test_mae": whole.evaluate(test, return_dict=True, verbose=0)["mae"]}
    run.save_model(whole)
    columns = Columns(boston.TARGET, "regression", (), tuple(Column(name, "number") for name in boston.FEATURES))
    columns.save(run.file(COLUMNS))


def results(settings: Settings, run: RunFolder) -> list[tables.ResultTable | str]:
    """Return the results, next to the lecture's where the data are the same."""
    found = run.metrics
    at_100 = found["scores_at_100"] is not None
    low, high, method = found["interval"].values()
    epochs = LECTURE_EPOCHS if at_100 else settings.epochs
    scores, early = found["scores"], found["scores_at_100"]
    folds = LECTURE_FOLDS if settings.folds == len(LECTURE_FOLDS) else ()
    columns: dict[str, list[object]] = {
        "mean absolute error": [
            *(f"repeat {i // settings.folds + 1}, fold {i % settings.folds + 1}" for i in range(len(scores))),
            *("mean", "deviation", "best epoch", "test, final model"),
        ],
        f"epoch {LECTURE_EPOCHS}": [*early, found["mean"], found["std"], None, None] if early else [],
        f"epoch {settings.epochs}": [
            *scores, found["mean_last"], found["std_last"], found["best_epoch"], found["test_mae"]
        ],
        "lecture": [
            *folds, *[None] * (len(scores) - len(folds)),
            *(LECTURE["mean"], None, LECTURE["best epoch"], LECTURE["test"]),
        ],
    }  # fmt: skip
    shown = {name: column for name, column in columns.items() if column}
    changes = settings.network.differences(Settings.network)
    return [
        f"mean after {epochs} epochs between {low:.2f} and {high:.2f}: {method}",
        tables.ResultTable("K-fold cross-validation", list(shown), list(zip(*shown.values(), strict=True))),
        *(f"The lecture trained another network: this run has {', '.join(changes)}." for _ in changes[:1]),
    ]


if __name__ == "__main__":
    cli.run(main, SETTINGS)
