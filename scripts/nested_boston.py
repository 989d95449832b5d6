"""Choose a network for the Boston prices and report an error that no choice has seen: nested cross-validation.

    make nested-boston
    make nested-boston ARGS="--candidates small lecture --outer-folds 10"

All 506 rows are cut into outer folds. Each is the test part once; the rows outside it are cut into inner folds, on
which every candidate trains, and the candidate and the number of epochs with the lowest error there are chosen. Only
then does the choice train on all rows outside the test part, and meet the test part. The inner error of the choice is
too good, since it was chosen for being low; the outer one is honest. All inner models of a candidate train as one
stack. To try a candidate of your own, add a line to ``CANDIDATES``. Takes about 15 seconds on two cores, and 10 more
the first time, to compile.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from k3torch import cli, runtime
from k3torch.data import boston
from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor
from k3torch.reports import tables
from k3torch.reports.nested import plot_nested
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
from k3torch.validation.cross_validate import cross_validate
from k3torch.validation.curves import best_epoch
from k3torch.validation.folds import Split, make_folds
from k3torch.validation.result import CrossValidation
import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]

CANDIDATES: dict[str, Callable[[], keras.Model]] = {
    "small": lambda: boston_regressor(units=(16,)),
    "lecture": boston_regressor,
    "l2": lambda: boston_regressor(kernel_regularizer=keras.regularizers.L2(0.01)),
    "dropout": lambda: boston_regressor(dropout=0.2),
}


@dataclass(frozen=True)
class Settings(RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    candidates: tuple[str, ...] = tuple(CANDIDATES)
    """Networks to choose among: small lecture l2 dropout."""
    outer_folds: int = 5
    """Parts of all rows; each is the test part once."""
    inner_folds: int = 4
    """Parts of the rows outside the test part; each is the validation part once."""
    epochs: int = 150
    """The most passes over the rows; how many are best is chosen too."""
    batch_size: int = 4
    """Rows an update."""


@dataclass(frozen=True)
class Choice:
    """What the inner folds chose for one outer fold, and the mean absolute error that it had on them."""

    candidate: str
    epochs: int
    error: float


def main(settings: Settings) -> None:
    check(settings)
    device = runtime.configure(settings.device, settings.precision, settings.seed)
    x, y = (np.concatenate(halves) for halves in zip(*boston.load_data(), strict=True))
    outer = make_folds(settings.outer_folds, x, y)
    inner = [pair for training, _ in outer for pair in inside(training, settings)]
    with RunFolder("nested", settings) as run:
        curves = {}
        for name in settings.candidates:
            result = train(name, x, y, inner, settings)
            curves[name] = result.history["val_mae"].reshape(settings.outer_folds, settings.inner_folds, -1)
            run.history += history(name, curves[name])
        choices = [choose(curves, fold) for fold in range(settings.outer_folds)]
        unseen = meet_unseen_rows(choices, x, y, outer, settings)
        run.metrics |= figures(choices, unseen, curves) | {"device": str(device), "seed": settings.seed}
        plot_nested(run.path / "inner_and_outer.png", [c.error for c in choices], unseen.scores[0].tolist())
        run.metrics |= {"seconds_total": run.seconds}
    show(choices, unseen, run)


def check(settings: Settings) -> None:
    cli.check_counts(settings, "epochs", "batch_size")
    cli.check_names(settings, "candidates", CANDIDATES)
    if not settings.candidates:
        raise InputError("expected at least one candidate, got none: name some")
    check_free(settings)


def inside(training: NDArray[np.int64], settings: Settings) -> list[Split]:
    """Return the inner folds of one outer fold's training rows, as rows of the whole table."""
    folds = make_folds(settings.inner_folds, training[:, None], training)
    return [(training[learn], training[validate]) for learn, validate in folds]


def train(name: str, x: Float, y: Float, folds: list[Split], settings: Settings) -> CrossValidation:
    return cross_validate(
        CANDIDATES[name], x, y, folds=folds, epochs=settings.epochs, batch_size=settings.batch_size, seed=settings.seed
    )


def choose(curves: Mapping[str, Float], fold: int) -> Choice:
    """Return the candidate and epoch with the lowest error on an outer fold's inner folds, averaged and smoothed."""
    means = {name: curve[fold].mean(axis=0) for name, curve in curves.items()}
    epochs = {name: best_epoch(mean) for name, mean in means.items()}
    name = min(means, key=lambda name: means[name][epochs[name] - 1])
    return Choice(name, epochs[name], float(means[name][epochs[name] - 1]))


def meet_unseen_rows(
    choices: list[Choice], x: Float, y: Float, outer: list[Split], settings: Settings
) -> CrossValidation:
    """Train each fold's choice on all rows outside the test part, and measure it there: scores of one a fold."""
    scores = np.zeros((1, len(outer)))
    for name in dict.fromkeys(choice.candidate for choice in choices):
        result = train(name, x, y, outer, settings)
        for fold, choice in enumerate(choices):
            if choice.candidate == name:  # a longer training passes through the epoch that was chosen
                scores[0, fold] = result.history["val_mae"][0, fold, choice.epochs - 1]
    return replace(result, scores=scores)


def history(name: str, curves: Float) -> list[dict[str, Any]]:
    """Return a row for each epoch of each inner fold."""
    return [
        {"candidate": name, "outer fold": o + 1, "inner fold": i + 1, "epoch": e + 1, "val_mae": float(error)}
        for (o, i, e), error in np.ndenumerate(curves)
    ]


def figures(choices: list[Choice], unseen: CrossValidation, curves: Mapping[str, Float]) -> dict[str, Any]:
    """Return what goes into metrics.json: each fold's choice, the honest error, and the inner one beside it."""
    over_all = {name: curve.mean(axis=(0, 1)) for name, curve in curves.items()}
    overall = min(over_all, key=lambda name: over_all[name][best_epoch(over_all[name]) - 1])
    interval = unseen.interval
    return {
        "choices": [vars(choice) for choice in choices],
        "scores": unseen.scores[0].tolist(),
        "mean": unseen.mean,
        "std": unseen.std,
        "interval": {"low": interval.low, "high": interval.high, "method": interval.method},
        "mean_inner": float(np.mean([choice.error for choice in choices])),
        "chosen_over_all": {"candidate": overall, "epochs": best_epoch(over_all[overall])},
    }


def show(choices: list[Choice], unseen: CrossValidation, run: RunFolder) -> None:
    rows: list[tuple[object, ...]] = [
        (f"outer fold {number}", choice.candidate, choice.epochs, f"{choice.error:.3f}", f"{score:.3f}")
        for number, (choice, score) in enumerate(zip(choices, unseen.scores[0], strict=True), start=1)
    ]
    found = run.metrics
    rows.append(("mean", None, None, f"{found['mean_inner']:.3f}", f"{found['mean']:.3f}"))
    tables.show(
        "Mean absolute error of what was chosen", ["", "chosen", "epochs", "inner folds", "outer fold, unseen"], rows
    )
    low, high, method = found["interval"].values()
    print(f"error to expect: {found['mean']:.2f}, between {low:.2f} and {high:.2f}: {method}")
    overall = found["chosen_over_all"]
    print(f"chosen over all folds: {overall['candidate']}, {overall['epochs']} epochs")
    print(f"{found['seconds_total']:.1f} s in all; written to {run.path}")


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
