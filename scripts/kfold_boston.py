"""Estimate how well a small network predicts prices, by K-fold cross-validation: 64-64-1, RMSprop, squared error.

    make kfold-boston
    make kfold-boston ARGS="--repeats 8"
    python scripts/kfold_boston.py --table houses.csv --target price --batch-size 16

All folds and repeats train as one stack of models. The epoch with the lowest smoothed validation error then sets how
long a fresh model trains on all training rows, which is tested once. Takes about 10 seconds on two cores, half of them
to import Keras, and 6 more the first time, to compile. Expect a mean absolute error of 2.2 to 2.6 over the folds after
100 epochs, where the lecture reads it off (0.1 to 0.4 more after 200: the networks overfit), and of 2.5 to 3.2 on the
test rows.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
import time
from typing import Any, Literal

from k3torch import cli, runtime
from k3torch.data import boston
from k3torch.data.loaders import array_loader
from k3torch.data.scaling import Standardizer
from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor
from k3torch.reports import tables
from k3torch.reports.plots import BLUE, plot_band, plot_to
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
from k3torch.training.fast_model import FastModel
from k3torch.training.progress import fit
from k3torch.validation.cross_validate import cross_validate
from k3torch.validation.curves import best_epoch, skipped_epochs, smooth
from k3torch.validation.result import CrossValidation, Interrupted
import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Data = tuple[tuple[Float, Float], tuple[Float, Float]]

# What the lecture gives for its own run: 4 folds, 100 epochs, normalised over all rows.
LECTURE = {"mean": 2.365, "best epoch": "about 80", "test": 2.717}
LECTURE_FOLDS = (2.00, 2.21, 2.88, 2.37)
LECTURE_EPOCHS = 100


@dataclass(frozen=True)
class Settings(RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    folds: int = 4
    """Parts that the training rows are cut into; each is the validation part once."""
    repeats: int = 1
    """Runs through all folds; from the second on the rows are shuffled first."""
    epochs: int = 200
    """Passes over a fold's training rows."""
    batch_size: int = 1
    """Rows an update."""
    normalize: Literal["fold", "train"] = "fold"
    """Mean and deviation from each fold's training rows, or from all rows, as the lecture does (which leaks)."""
    engine: Literal["auto", "stacked", "fit"] = "auto"
    """stacked trains all models as one, fit one after another with Keras's loop."""
    final_epochs: int | None = None
    """Epochs of the final model; by default the best epoch of the smoothed mean curve."""
    final_batch_size: int = 16
    """Rows an update of the final model."""
    table: Path | None = None
    """A CSV file of your own instead of the Boston table; a fifth of its rows, drawn by the seed, is the test."""
    target: str | None = None
    """The column of that file to predict."""


def main(settings: Settings) -> None:
    check(settings)
    device = runtime.configure(settings.device, settings.precision, settings.seed)
    data = boston.load_data() if settings.table is None else own_table(settings)
    (x, y), _ = data
    with RunFolder("boston", settings) as run:
        started = time.perf_counter()
        result = train(x, y, settings, run)
        curves = result.history["val_mae"].reshape(-1, settings.epochs)
        run.metrics |= {
            **figures(result),
            "best_epoch": best_epoch(curves.mean(axis=0)),
            "device": str(device),
            "seed": settings.seed,
            "engine": result.engine,
            "seconds_training": time.perf_counter() - started,
        }
        draw(run.path, result, curves)
        final(data, settings, run)
        run.metrics |= {"seconds_total": run.seconds}
        show(result, settings, run)


def check(settings: Settings) -> None:
    cli.check_counts(settings, "repeats", "epochs", "batch_size", "final_epochs", "final_batch_size")
    if (settings.table is None) != (settings.target is None):
        raise InputError("expected --table and --target together, got one of them: give both")
    check_free(settings)


def own_table(settings: Settings) -> Data:
    assert settings.table is not None
    assert settings.target is not None
    from k3torch.data.table import read_table  # pandas takes half a second to import, and only this needs it

    x, y, _ = read_table(settings.table, settings.target)
    order = np.random.default_rng(settings.seed).permutation(len(x))
    training, test = order[: len(x) * 4 // 5], order[len(x) * 4 // 5 :]
    return (x[training], y[training]), (x[test], y[test])


def train(x: Float, y: Float, settings: Settings, run: RunFolder) -> CrossValidation:
    """Train and measure all models; the run's history holds their epochs even if somebody interrupts them."""
    try:
        result = cross_validate(
            partial(boston_regressor, x.shape[1]),
            x,
            y,
            folds=settings.folds,
            repeats=settings.repeats,
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            normalize=settings.normalize,
            engine=settings.engine,
            seed=settings.seed,
        )
    except Interrupted as stop:
        run.history += history(stop.result)
        raise
    run.history += history(result)
    return result


def figures(result: CrossValidation) -> dict[str, Any]:
    """Return what goes into metrics.json; scores are lists of one a fold, repeat after repeat.

    Mean, deviation and interval are those after 100 epochs, to be held beside the lecture's; those of the last epoch
    have names of their own. A run of fewer epochs has the last ones alone.
    """
    early = at_lecture_epochs(result)
    read = early or result
    interval = read.interval
    return {
        "scores": result.scores.ravel().tolist(),
        "scores_at_100": early and early.scores.ravel().tolist(),
        "mean": read.mean,
        "std": read.std,
        "interval": {"low": interval.low, "high": interval.high, "method": interval.method},
        "mean_last": result.mean,
        "std_last": result.std,
    }


def at_lecture_epochs(result: CrossValidation) -> CrossValidation | None:
    """Return the same result read off after 100 epochs, if there were so many."""
    curves = result.history[f"val_{result.metric}"]
    if curves.shape[-1] < LECTURE_EPOCHS:
        return None
    return replace(result, scores=curves[..., LECTURE_EPOCHS - 1])


def history(result: CrossValidation) -> list[dict[str, float]]:
    """Return a row for each epoch that was done, of each repeat and fold."""
    repeats, folds, epochs = result.history["loss"].shape
    return [
        {"repeat": r + 1, "fold": f + 1, "epoch": e + 1, **{k: float(v[r, f, e]) for k, v in result.history.items()}}
        for r in range(repeats)
        for f in range(folds)
        for e in range(epochs)
        if not np.isnan(result.history["loss"][r, f, e])
    ]


def draw(path: Path, result: CrossValidation, curves: Float) -> None:
    quantity, skipped = "validation mean absolute error", skipped_epochs(curves.shape[1])
    plot_band(path / "validation_mae.png", curves, quantity, title="Every epoch")
    title = f"Smoothed, from epoch {skipped + 1}"
    plot_band(path / "validation_mae_smoothed.png", smooth(curves[:, skipped:]), quantity, skipped + 1, title)
    with plot_to(path / "scores.png", width=5.0) as axes:
        axes.boxplot(list(result.scores), widths=0.5, medianprops={"color": BLUE})
        for number, scores in enumerate(result.scores, start=1):
            axes.plot([number] * len(scores), scores, "o", color=BLUE, alpha=0.6)
        axes.set(xlabel="repeat", ylabel=quantity, title="Scores of the folds, last epoch")


def final(data: Data, settings: Settings, run: RunFolder) -> None:
    """Train a fresh model on all training rows, for as long as the folds advise, and test it once."""
    (x, y), (x_test, y_test) = data
    scale = Standardizer.fit(x)
    epochs = settings.final_epochs or run.metrics["best_epoch"]
    keras.utils.set_random_seed(settings.seed)
    model = boston_regressor(x.shape[1], model_class=FastModel)
    rows = array_loader(
        scale.transform(x), y[:, None], batch_size=settings.final_batch_size, shuffle=True, seed=settings.seed
    )
    fit(model, rows, epochs=epochs, title="final model", history=[])
    test = array_loader(scale.transform(x_test), y_test[:, None], batch_size=len(x_test))
    run.metrics |= {
        "final_epochs": epochs,
        "test_mae": model.evaluate(test, return_dict=True, verbose=0)["mae"],
    }
    run.save_model(model)


def show(result: CrossValidation, settings: Settings, run: RunFolder) -> None:
    """Print the figures, beside the lecture's where they are of the same table."""
    found, given = run.metrics, settings.table is None
    early = found["scores_at_100"] or [None] * len(found["scores"])
    lecture = LECTURE_FOLDS if given and settings.folds == 4 else ()
    rows: list[tuple[object, ...]] = [
        (f"repeat {i // settings.folds + 1}, fold {i % settings.folds + 1}", *scores)
        for i, scores in enumerate(zip_longest(early, found["scores"], lecture))
    ]
    at_100 = found["scores_at_100"] is not None
    rows += [
        ("mean", found["mean"] if at_100 else None, found["mean_last"], LECTURE["mean"] if given else None),
        ("deviation", found["std"] if at_100 else None, found["std_last"], None),
        ("best epoch", None, found["best_epoch"], LECTURE["best epoch"] if given else None),
        ("test, final model", None, found["test_mae"], LECTURE["test"] if given else None),
    ]
    columns = ["mean absolute error", f"epoch {LECTURE_EPOCHS}", f"epoch {settings.epochs}", "lecture"]
    tables.show("Validation by folds", columns, rows)
    low, high, method = found["interval"].values()
    when = LECTURE_EPOCHS if at_100 else settings.epochs
    print(f"mean after {when} epochs between {low:.2f} and {high:.2f}: {method}")
    print(
        f"{found['seconds_training']:.1f} s of cross-validation ({result.engine}), {found['seconds_total']:.1f} s in "
        f"all; written to {run.path}"
    )


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
