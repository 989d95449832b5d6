"""Estimate how well a network predicts a column of a table.

    k3torch kfold-table --table houses.csv --target price
    k3torch kfold-table --table houses.xlsx --target price --missing median
    k3torch kfold-table --resume runs/table-TIME
    make kfold-table ARGS="--table cells.tsv --target kind --units 32"

A fifth of the rows, drawn by the seed, are the test samples; the others are divided into folds. A target of texts or
of two values makes a classification, any other a regression. Features are normalised inside each fold, and the target
of a regression is too, so its unit does not matter; all results are in that unit. The network has two hidden layers of
64, trained with RMSprop. A final model is trained as those of the folds were, for the epochs that were best there, and
tested once. Simpler models are trained and tested on the same rows, to compare. The run folder gets model.keras, which
takes the columns of columns.json as they are in the table: predict-table applies it to new tables.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Machine, Network, Resumable, TableFormat, shown_as


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    table: Annotated[Path, shown_as("PATH")]
    """A .csv, .tsv, .txt, .xlsx or .parquet file, also compressed, with the names of the columns in its first row."""
    target: Annotated[str, shown_as("COLUMN")]
    """The column to predict."""
    task: Literal["auto", "regression", "classification"] = "auto"
    """auto is classification for texts, bools and two different numbers, otherwise regression."""
    missing: Literal["refuse", "drop", "median"] = "refuse"
    """Rows with missing values: refuse the table, drop the rows, or put the median of all training samples there."""
    drop: Annotated[tuple[str, ...], shown_as("COLUMN ...", "none")] = ()
    """Columns to leave out."""
    folds: int = 4
    """Number of folds of the training samples; each is the validation set once."""
    repeats: int = 1
    """Runs of all folds. From the second on, the samples are shuffled first."""
    epochs: int = 200
    """Passes over the training samples of a fold."""
    batch_size: int = 16
    """Samples per update."""
    engine: Literal["auto", "stacked", "fit"] = "auto"
    """stacked trains all models as one, fit one after another with Keras's fit, auto stacked where it is supported."""
    final_epochs: Annotated[int | None, shown_as("INT", "the best epoch of the smoothed mean curve")] = None
    """Epochs of the final model."""
    final_batch_size: Annotated[int | None, shown_as("INT", "--batch-size")] = None
    """Samples per update of the final model."""
    table_format: TableFormat = TableFormat()
    network: Network = Network(units=(64, 64))
    output: Resumable = Resumable()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

import time
from typing import Any

from k3torch import runtime
from k3torch.data.columns import COLUMNS
from k3torch.data.loaders import array_loader
from k3torch.data.table import Table, split_table
from k3torch.data.table_files import read_frame
from k3torch.formats import format_number
from k3torch.models.builders import table_network
from k3torch.models.network import builder_options, check_network
from k3torch.reports import tables
from k3torch.reports.plots import plot_band, plot_scores
from k3torch.reports.run_folder import CHECKPOINTS, RunFolder, check_free
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.fast_model import FastModel
from k3torch.training.progress import fit
from k3torch.training.rungs import nan_refused
from k3torch.validation.baselines import Task, baseline_warning, baselines_with_test
from k3torch.validation.cross_validate import cross_validate
from k3torch.validation.curves import skipped_epochs, smooth
from k3torch.validation.fold_scaling import FoldScaling
from k3torch.validation.folds import balanced_folds
from k3torch.validation.predictions import predict
from k3torch.validation.result import CrossValidation, recorded
import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

Float = NDArray[np.float64]
Samples = tuple[Table, Table]  # training, test

SCORES: dict[Task, str] = {"regression": "mean absolute error", "classification": "accuracy"}
METRICS: dict[Task, str] = {"regression": "mae", "classification": "accuracy"}


def main(settings: Settings) -> None:
    """Cross-validate, train and test the final model, compare with simpler models, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    frame = read_frame(settings.table, **vars(settings.table_format))
    training, _ = samples = split_table(
        frame, settings.target, task=settings.task, missing=settings.missing, drop=settings.drop,
        seed=settings.machine.seed,
    )  # fmt: skip
    print(cli.wrapped(Table.of(frame, training.columns).describe()))
    folds = balanced_folds(training.y, len(training.columns.classes), settings.folds, settings.machine.seed)
    with RunFolder("table", settings) as run:
        training.columns.save(run.file(COLUMNS))
        started = time.perf_counter()
        result = train(training, folds, settings, run)
        run.metrics |= metrics(result, training) | {
            "device": str(device), "seed": settings.machine.seed, "engine": result.engine,
            "seconds_training": time.perf_counter() - started,
        }  # fmt: skip
        draw(run, result, settings)
        final(samples, settings, run)
        compare(samples, result, run)
        run.metrics |= {"seconds_total": run.seconds}
        run.results = results(training, settings, run)
    print(
        f"{run.metrics['seconds_training']:.1f} s of cross-validation ({run.metrics['engine']}), "
        f"{run.metrics['seconds_total']:.1f} s in all\nwritten to {run.path}"
    )
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "repeats", "epochs", "batch_size", "final_epochs", "final_batch_size")
    check_network(settings.network, table_network)
    check_free(settings.output)


def network(table: Table, settings: Settings, model_class: type[keras.Model] = keras.Model) -> keras.Model:
    options = builder_options(settings.network, model_class)
    return table_network(table.x.shape[1], len(table.columns.classes), **options)


@nan_refused()
def train(training: Table, folds: int | StratifiedKFold, settings: Settings, run: RunFolder) -> CrossValidation:
    """Train and validate all models; an interrupted run keeps the epochs so far in its history."""
    return recorded(
        lambda: cross_validate(
            lambda: network(training, settings),
            training.x,
            training.y,
            folds=folds,
            repeats=settings.repeats,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            normalize="fold",
            normalize_y=not training.columns.classes,
            engine=settings.engine,
            seed=settings.machine.seed,
            checkpoint=CheckpointFolder(run.path / CHECKPOINTS / "folds", run.checkpoint),
        ),
        run.history,
    )


def metrics(result: CrossValidation, training: Table) -> dict[str, Any]:
    """Return the results for metrics.json; lists have one value per fold, repeat after repeat."""
    best = result.at_epoch(result.best_epoch)
    found = {
        "task": training.columns.task,
        "score": SCORES[training.columns.task],
        "best_epoch": result.best_epoch,
        "scores": best.scores.ravel().tolist(),
        "mean": best.mean,
        "std": best.std,
        "interval": vars(best.interval),
        "scores_last": result.scores.ravel().tolist(),
        "mean_last": result.mean,
        "std_last": result.std,
    }
    if training.columns.classes:
        found["auc_last"] = auc(training.y, result.out_of_fold)
    return found


def auc(y: NDArray[Any], probabilities: Float) -> float:
    """Return the area under the ROC curve; of more than two classes the mean of one against the others.

    NaN for a network that diverged, and for samples that lack a class.
    """
    classes = max(2, probabilities.shape[1])
    if not np.isfinite(probabilities).all() or len(np.unique(y)) < classes:
        return float("nan")
    scores = probabilities[:, 0] if probabilities.shape[1] == 1 else probabilities
    return float(roc_auc_score(y, scores, multi_class="ovr"))


def draw(run: RunFolder, result: CrossValidation, settings: Settings) -> None:
    """Plot the validation curves and the scores of the folds."""
    curves, best = (
        result.history[f"val_{result.metric}"].reshape(-1, settings.epochs),
        result.at_epoch(result.best_epoch),
    )
    data, skipped = settings.table.name, skipped_epochs(settings.epochs)
    quantity = f"validation {run.metrics['score']} of {settings.target}"
    plot_band(run.plot("validation"), curves, quantity, title=f"{data}, every epoch", best_epoch=result.best_epoch)
    title = f"{data}, smoothed, from epoch {skipped + 1}"
    smoothed = smooth(curves[:, skipped:])
    plot_band(run.plot("validation_smoothed"), smoothed, quantity, skipped + 1, title, result.best_epoch)
    low, high = best.interval.low, best.interval.high
    plot_scores(run.plot("scores"), best.scores, quantity, data=data, epoch=result.best_epoch, interval=(low, high))


@nan_refused()
def final(samples: Samples, settings: Settings, run: RunFolder) -> None:
    """Train a fresh model on all training samples for the best number of epochs, and test it once."""
    training, test = samples
    seed, epochs = settings.machine.seed, settings.final_epochs or run.metrics["best_epoch"]
    batch_size = settings.final_batch_size or settings.batch_size
    rows, y = np.arange(len(training.x)), training.y[:, None]
    scaling = FoldScaling.fit(training.x, y, rows, "fold", normalize_y=not training.columns.classes)
    keras.utils.set_random_seed(seed)
    model = network(training, settings, FastModel)
    batches = array_loader(
        scaling.transform_features(training.x), scaling.transform_targets(y),
        batch_size=batch_size, shuffle=True, seed=seed,
    )  # fmt: skip
    fit(
        model,
        batches,
        epochs=epochs,
        title="final model",
        history=[],
        checkpoint=ExactCheckpoint(run.path / CHECKPOINTS / "final", register=run.checkpoint),
        resume=run.resumed,
    )
    model = scaling.whole_model(model)
    run.save_model(model)
    found = model.evaluate(array_loader(test.x, test.y[:, None], batch_size=1024), return_dict=True, verbose=0)
    run.metrics |= {"final_epochs": epochs, "final_batch_size": batch_size, "test": found[METRICS[run.metrics["task"]]]}
    if training.columns.classes:
        run.metrics["test_auc"] = auc(test.y, predict(model, test.x))


def compare(samples: Samples, result: CrossValidation, run: RunFolder) -> None:
    """Train simpler models on the same folds, and on all training samples."""
    training, test = samples
    task, seed = training.columns.task, run.metrics["seed"]
    width = result.scores.shape[1]
    folds = [result.indices[first : first + width] for first in range(0, len(result.indices), width)]
    found = baselines_with_test((training.x, training.y), (test.x, test.y), folds, task=task, seed=seed)
    run.metrics["baselines"] = {
        name: {"mean": scores.mean(), "test": tested} for name, (scores, tested) in found.items()
    }
    validated = {name: scores for name, (scores, _) in found.items()}
    run.metrics["warning"] = baseline_warning(run.metrics["scores"], validated, task=task)


def results(training: Table, settings: Settings, run: RunFolder) -> list[tables.ResultTable | str]:
    """Return the results of the folds, and beside them those of simpler models."""
    found, score = run.metrics, run.metrics["score"]
    low, high, method = found["interval"].values()
    best, last = found["best_epoch"], settings.epochs
    labels = [f"repeat {i // settings.folds + 1}, fold {i % settings.folds + 1}" for i in range(len(found["scores"]))]
    rows = zip(
        [*labels, "mean", "deviation"],
        [*found["scores"], found["mean"], found["std"]],
        [*found["scores_last"], found["mean_last"], found["std_last"]],
        strict=True,
    )
    columns = [f"{score} of {settings.target}", f"epoch {best} (best)", f"epoch {last}"]
    shown: list[tables.ResultTable | str] = [
        f"mean after {best} epochs between {format_number(low)} and {format_number(high)}: {method}",
        tables.ResultTable("K-fold cross-validation", columns, list(rows)),
    ]
    compared = {f"network, epoch {best}": {"mean": found["mean"], "test": found["test"]}, **found["baselines"]}
    title = f"The network and simpler models, {score} of {settings.target}"
    pairs = [(name, values["mean"], values["test"]) for name, values in compared.items()]
    shown.append(tables.ResultTable(title, ["", "mean of the folds", "test"], pairs))
    if training.columns.classes:
        areas = f"{found['auc_last']:.4f} out of fold, {found['test_auc']:.4f} on the test samples"
        shown.append(f"area under the ROC curve: {areas}")
    shown.append(f"Epoch {best} was selected on these folds, so the network's mean there is a little too good.")
    if found["warning"]:
        shown.append(f"warning: {found['warning']}")
    return shown


if __name__ == "__main__":
    cli.run(main, SETTINGS)
