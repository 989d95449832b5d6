"""Select a price regressor by nested cross-validation.

    make nested-boston
    make nested-boston ARGS="--candidates small lecture --outer-folds 10"

All 506 samples of the Boston table are split into outer folds. Each is the test set once. The samples outside it are
split into inner folds, on which every candidate trains, and the candidate and the number of epochs with the lowest
error there are selected. Only then does the selected candidate train on all samples outside the test set, and is
tested. The inner error of the selected candidate is too low, because it was selected for being low; the outer error is
not biased by the selection. All inner models of a candidate train as one stack. To try a candidate of your own, add its
name to ``Candidate`` and its builder to ``CANDIDATES``. Takes about 15 seconds on two cores, and 10 more the first
time, to compile.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from k3torch import cli
from k3torch.options import Machine, Output, shown_as

Candidate = Literal["small", "lecture", "l2", "dropout"]


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    candidates: Annotated[tuple[Candidate, ...], shown_as("{small,lecture,l2,dropout} ...")] = get_args(Candidate)
    """Networks to select from: 16 units, the lecture's 64-64, the same with L2 (0.01), with dropout (0.2)."""
    outer_folds: int = 5
    """Number of folds of all samples; each is the test set once."""
    inner_folds: int = 4
    """Number of folds of the samples outside the test set; each is the validation set once."""
    epochs: int = 150
    """Highest number of epochs. The best number is selected too."""
    batch_size: int = 4
    """Samples per update."""
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from k3torch import runtime
from k3torch.data import boston
from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor
from k3torch.reports import tables
from k3torch.reports.nested import plot_nested
from k3torch.reports.run_folder import RunFolder, check_free
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
LABELS = {"small": "small (16)", "lecture": "lecture (64-64)", "l2": "L2 (0.01)", "dropout": "dropout (0.2)"}
"""Names in the table, with the strength of what was changed; the other names are used as they are."""


@dataclass(frozen=True)
class Selection:
    """What was selected on the inner folds of one outer fold, and its mean absolute error there."""

    candidate: str
    epochs: int
    error: float


def main(settings: Settings) -> None:
    """Select on the inner folds, test on the outer ones, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    x, y = (np.concatenate(halves) for halves in zip(*boston.load_data(), strict=True))
    outer = make_folds(settings.outer_folds, x, y)
    inner = [pair for training, _ in outer for pair in inside(training, settings)]
    with RunFolder("nested", settings) as run:
        curves: dict[str, Float] = {}
        for number, name in enumerate(settings.candidates, start=1):
            stage = f"candidate {number} of {len(settings.candidates)}"
            cli.progress(f"{stage}: {name}, {len(inner)} models, on the inner folds of all outer folds")
            result = train(name, x, y, inner, settings)
            curves[name] = result.history["val_mae"].reshape(settings.outer_folds, settings.inner_folds, -1)
            run.history += history(name, curves[name])
        selections = [select(curves, fold) for fold in range(settings.outer_folds)]
        tested = test(selections, x, y, outer, settings)
        run.metrics |= metrics(selections, tested, curves) | {"device": str(device), "seed": settings.machine.seed}
        plot_nested(
            run.plot("inner_and_outer"),
            [selection.error for selection in selections],
            tested.scores[0].tolist(),
            quantity="mean absolute error (1000 USD)",
            data=f"Boston prices (1000 USD), {settings.outer_folds} outer folds",
        )
        run.metrics |= {"seconds_total": run.seconds}
        run.results = results(selections, tested, run)
    print(f"{run.metrics['seconds_total']:.1f} s in all\nwritten to {run.path}")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "epochs", "batch_size")
    if not settings.candidates:
        raise InputError(f"expected at least one candidate among {', '.join(CANDIDATES)}, got none")
    check_free(settings.output)


def inside(training: NDArray[np.int64], settings: Settings) -> list[Split]:
    """Return the inner folds of one outer fold's training samples, as indices of all samples."""
    folds = make_folds(settings.inner_folds, training[:, None], training)
    return [(training[learn], training[validate]) for learn, validate in folds]


def train(name: str, x: Float, y: Float, folds: list[Split], settings: Settings) -> CrossValidation:
    return cross_validate(
        CANDIDATES[name],
        x,
        y,
        folds=folds,
        normalize="fold",
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        seed=settings.machine.seed,
    )


def select(curves: Mapping[str, Float], fold: int) -> Selection:
    """Return the candidate and epoch with the lowest error on an outer fold's inner folds, averaged and smoothed."""
    means = {name: curve[fold].mean(axis=0) for name, curve in curves.items()}
    epochs = {name: best_epoch(mean) for name, mean in means.items()}
    name = min(means, key=lambda name: means[name][epochs[name] - 1])
    return Selection(name, epochs[name], float(means[name][epochs[name] - 1]))


def test(selections: list[Selection], x: Float, y: Float, outer: list[Split], settings: Settings) -> CrossValidation:
    """Train each fold's selected candidate on all samples outside the test set, and return the scores on that set."""
    scores = np.zeros((1, len(outer)))
    selected = list(dict.fromkeys(selection.candidate for selection in selections))
    for number, name in enumerate(selected, start=1):
        cli.progress(f"selected {number} of {len(selected)}: {name}, {len(outer)} models, on the outer folds")
        result = train(name, x, y, outer, settings)
        for fold, selection in enumerate(selections):
            if selection.candidate == name:  # the history of a longer training contains the selected epoch
                scores[0, fold] = result.history["val_mae"][0, fold, selection.epochs - 1]
    return replace(result, scores=scores)


def history(name: str, curves: Float) -> list[dict[str, Any]]:
    """Return the validation error of each epoch of each inner fold."""
    return [
        {"candidate": name, "outer fold": o + 1, "inner fold": i + 1, "epoch": e + 1, "val_mae": float(error)}
        for (o, i, e), error in np.ndenumerate(curves)
    ]


def metrics(selections: list[Selection], tested: CrossValidation, curves: Mapping[str, Float]) -> dict[str, Any]:
    """Return the results for metrics.json: each fold's selection, the outer errors and the inner ones."""
    over_all = {name: curve.mean(axis=(0, 1)) for name, curve in curves.items()}
    overall = min(over_all, key=lambda name: over_all[name][best_epoch(over_all[name]) - 1])
    return {
        "selections": [vars(selection) for selection in selections],
        "scores": tested.scores[0].tolist(),
        "mean": tested.mean,
        "std": tested.std,
        "interval": vars(tested.interval),
        "mean_inner": float(np.mean([selection.error for selection in selections])),
        "selected_over_all": {"candidate": overall, "epochs": best_epoch(over_all[overall])},
    }


def label(name: str) -> str:
    return LABELS.get(name, name)


def results(selections: list[Selection], tested: CrossValidation, run: RunFolder) -> list[tables.ResultTable | str]:
    """Return each fold's selection with its inner and outer error."""
    found, overall = run.metrics, run.metrics["selected_over_all"]
    low, high, method = found["interval"].values()
    rows: list[tuple[object, ...]] = [
        (f"outer fold {number}", label(selection.candidate), selection.epochs, f"{selection.error:.3f}", f"{score:.3f}")
        for number, (selection, score) in enumerate(zip(selections, tested.scores[0], strict=True), start=1)
    ]
    rows.append(("mean", None, None, f"{found['mean_inner']:.3f}", f"{found['mean']:.3f}"))
    title = "Mean absolute error of the selected networks (1000 USD)"
    return [
        f"selected over all folds: {label(overall['candidate'])}, {overall['epochs']} epochs",
        f"expected error {found['mean']:.2f}, between {low:.2f} and {high:.2f}: {method}",
        tables.ResultTable(title, ["", "selected", "epochs", "inner folds", "test"], rows),
    ]


if __name__ == "__main__":
    cli.run(main, SETTINGS)
