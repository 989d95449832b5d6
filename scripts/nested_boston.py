"""Select a price regressor by nested cross-validation.

    make nested-boston
    make nested-boston ARGS="--candidates small lecture --outer-folds 10"

All 506 samples of the Boston table are split into outer folds. Each is the test set once. The samples outside it are
split into inner folds, on which every candidate trains, and the candidate and the number of epochs with the lowest
error there are selected. Only then does the selected candidate train on all samples outside the test set, and is
tested. The inner error of the selected candidate is too low, because it was selected for being low; the outer error is
not biased by the selection. All inner models of a candidate train as one stack. To try a candidate of your own, add its
name to ``Candidate`` and its builder to ``CANDIDATES``. Takes about 12 seconds on two cores, and 4 more the first
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

from collections.abc import Callable

from k3torch import runtime
from k3torch.data import boston
from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor
from k3torch.reports import tables
from k3torch.reports.nested import plot_nested
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.validation.result import mean_interval
from k3torch.validation.search import search
from k3torch.validation.search_result import OuterFold, SearchResult
import keras
import numpy as np

# 1. The candidates, and how the table of results names them.

CANDIDATES: dict[str, Callable[[], keras.Model]] = {
    "small": lambda: boston_regressor(units=(16,)),
    "lecture": boston_regressor,
    "l2": lambda: boston_regressor(kernel_regularizer=keras.regularizers.L2(0.01)),
    "dropout": lambda: boston_regressor(dropout=0.2),
}
LABELS = {"small": "small (16)", "lecture": "lecture (64-64)", "l2": "L2 (0.01)", "dropout": "dropout (0.2)"}


def build_model(candidate: str) -> keras.Model:
    return CANDIDATES[candidate]()


def main(settings: Settings) -> None:
    """Select on the inner folds, test on the outer ones, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    # 2. All samples: the outer folds are the test sets.
    x, y = (np.concatenate(halves) for halves in zip(*boston.load_data(), strict=True))
    with RunFolder("nested", settings) as run:
        # 3. The whole selection, once in each outer fold, and once more on all samples.
        found = search(
            build_model,
            {"candidate": settings.candidates},
            x,
            y,
            outer=settings.outer_folds,
            folds=settings.inner_folds,
            choose_epochs=True,
            normalize="fold",
            epochs=settings.epochs,
            batch_size=settings.batch_size,
            seed=settings.machine.seed,
        )
        # 4. The error of the selected networks where they were selected, and where they are tested.
        run.metrics |= metrics(found) | {"device": str(device), "seed": settings.machine.seed}
        selected = run.metrics["selections"]
        plot_nested(
            run.plot("inner_and_outer"),
            [fold["inner_score"] for fold in selected],
            [fold["score"] for fold in selected],
            quantity="mean absolute error (1000 USD)",
            data=f"Boston prices (1000 USD), {settings.outer_folds} outer folds",
        )
        run.metrics |= {"seconds_total": run.seconds}
        run.results = results(found.outer or [], run)
    print(f"{run.metrics['seconds_total']:.1f} s in all\nwritten to {run.path}")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "epochs", "batch_size")
    if not settings.candidates:
        raise InputError(f"expected at least one candidate among {', '.join(CANDIDATES)}, got none")
    check_free(settings.output)


def metrics(found: SearchResult) -> dict[str, object]:
    """Return the results for metrics.json: each fold's selection and errors, and the selection on all samples."""
    outer, scores = found.outer or [], np.array(found.outer_scores)
    return {
        "selections": [
            {**fold.params, "epochs": fold.epochs, "inner_score": fold.inner_score, "score": fold.score}
            for fold in outer
        ],
        "scores": scores.tolist(),
        "mean": float(scores.mean()),
        "std": float(scores.std(ddof=1)),
        "interval": vars(mean_interval(scores, 1 / (len(scores) - 1))),
        "mean_inner": float(np.mean([fold.inner_score for fold in outer])),
        "selected_over_all": {**found.best_params, "epochs": int(found.epochs[found.best_index])},
    }


def results(outer: list[OuterFold], run: RunFolder) -> list[tables.ResultTable | str]:
    """Return each fold's selection with its inner and outer error."""
    found, overall = run.metrics, run.metrics["selected_over_all"]
    low, high, method = found["interval"].values()
    rows: list[tuple[object, ...]] = [
        (f"outer fold {number}", LABELS[fold.params["candidate"]], fold.epochs, f"{fold.inner_score:.3f}",
         f"{fold.score:.3f}")
        for number, fold in enumerate(outer, start=1)
    ]  # fmt: skip
    rows.append(("mean", None, None, f"{found['mean_inner']:.3f}", f"{found['mean']:.3f}"))
    title = "Mean absolute error of the selected networks (1000 USD)"
    return [
        f"selected on all samples: {LABELS[overall['candidate']]}, {overall['epochs']} epochs",
        f"expected error {found['mean']:.2f}, between {low:.2f} and {high:.2f}: {method}",
        tables.ResultTable(title, ["", "selected", "epochs", "inner folds", "test"], rows),
    ]


if __name__ == "__main__":
    cli.run(main, SETTINGS)
