"""Search for a better network than the lecture's.

    make search-boston
    make search-boston ARGS="--candidates 60 --halving 3"
    k3torch search-boston --table houses.csv --target price

Draws settings of a network at random: its width, activation, dropout, learning rate and weight decay. Each is
cross-validated on the training samples, on the same folds; settings that differ in numbers train as one stack. The best
one is trained once more on all training samples, and tested once on samples that the search has not seen. So are the
lecture's network, for its own best number of epochs, and simpler models. The best setting was selected for its score on
the folds, which is therefore too good; the score on the test samples is not. The run folder gets candidates.csv, and
model.keras, which predict-table applies to new tables. With --table, a table of your own is used as by kfold-table.
Takes about 20 seconds on two cores, and 10 more the first time, to compile.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Machine, Output, TableFormat, shown_as, typed


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    table: Annotated[Path | None, shown_as("PATH", "the Boston table")] = None
    """A table of your own: a .csv, .tsv, .txt, .xlsx or .parquet file, also compressed. A fifth of its rows, drawn by
    the seed, are the test samples."""
    target: Annotated[str | None, shown_as("COLUMN", "the price")] = None
    """The column of --table to predict."""
    task: Literal["auto", "regression", "classification"] = "auto"
    """Of --table: auto is classification for texts, bools and two different numbers, otherwise regression."""
    missing: Literal["refuse", "drop", "median"] = "refuse"
    """Rows of --table with missing values: refuse it, drop them, or put the median of all training samples there."""
    drop: Annotated[tuple[str, ...], shown_as("COLUMN ...", "none")] = ()
    """Columns of --table to leave out."""
    candidates: int = 24
    """Settings to draw."""
    halving: Annotated[int | None, shown_as("INT", "train all to the end")] = None
    """Go on with the better one of INT settings after a part of the epochs: 3 keeps the better third."""
    folds: int = 5
    """Number of folds of the training samples; each is the validation set once."""
    repeats: int = 1
    """Runs of all folds. From the second on, the samples are shuffled first."""
    epochs: int = 200
    """Passes over the training samples of a fold."""
    batch_size: int = 16
    """Samples per update."""
    table_format: TableFormat = TableFormat()
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from typing import Any

from k3torch import runtime
from k3torch.data import boston
from k3torch.data.column import Column
from k3torch.data.columns import COLUMNS, Columns
from k3torch.data.table import Table, split_table
from k3torch.data.table_files import read_frame
from k3torch.errors import count_problem, refuse, unless
from k3torch.models.builders import table_network
from k3torch.reports import tables
from k3torch.reports.plots import figure_to
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.training.rungs import nan_refused
from k3torch.validation.baselines import baselines_with_test
from k3torch.validation.folds import balanced_folds
from k3torch.validation.predictions import predict
from k3torch.validation.search import search
from k3torch.validation.search_result import SearchResult
import keras
import numpy as np
from numpy.typing import NDArray
from scipy.stats import loguniform, uniform
from sklearn.model_selection import ParameterSampler

Float = NDArray[np.float64]
Samples = tuple[Table, Table]  # training, test

SCORES = {"regression": "mean absolute error", "classification": "accuracy"}


def main(settings: Settings) -> None:
    """Search on the training samples, test what was found on the others, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    training, test = load(settings)
    arguments(training, settings)  # refuses a wrong number of folds
    with RunFolder("search", settings) as run:
        found = find(training, settings)
        training.columns.save(run.file(COLUMNS))
        run.save_model(found.best_model)
        run.write_csv("candidates.csv", found.to_frame().reset_index().to_dict("records"))
        lecture = train_lectures(training, settings)
        run.metrics |= metrics(found) | {"device": str(device), "seed": settings.machine.seed}
        run.metrics["compared"] = compare(found, lecture, (training, test), settings.machine.seed)
        run.metrics["test"] = run.metrics["compared"]["the best candidate"]["test"]
        score = SCORES[training.columns.task]
        draw(found, f"{score} of {training.columns.target}", run.plot("candidates"))
        run.metrics |= {"seconds_total": run.seconds}
        run.results = results(run.metrics, f"{score} of {training.columns.target}")
    print(f"{run.metrics['seconds_total']:.1f} s in all\nwritten to {run.path}")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    check_free(settings.output)
    own = settings.table is not None
    refuse(
        [
            *(
                count_problem(name, getattr(settings, name))
                for name in ("candidates", "repeats", "epochs", "batch_size")
            ),
            None if settings.halving is None else count_problem("halving", settings.halving, minimum=2),
            unless(not own or settings.target is not None, "--target with --table, got none"),
            *(unless(own, f"{option} only with --table, got no table") for option in table_options(settings)),
        ]
    )


def table_options(settings: Settings) -> list[str]:
    """Return the options given that say how --table is used."""
    names = ("target", "task", "missing", "drop")
    given = [name for name in names if getattr(settings, name) != getattr(Settings, name)]
    return [f"--{name}" for name in (*given, *(name for name, text in vars(settings.table_format).items() if text))]


# 1. The samples: those of the search, and those of the test.


def load(settings: Settings) -> Samples:
    """Return training and test samples: Keras's split of the Boston table, or a table of the user's."""
    if settings.table is not None and settings.target is not None:
        frame = read_frame(settings.table, **vars(settings.table_format))
        training, test = split_table(
            frame, settings.target, task=settings.task, missing=settings.missing, drop=settings.drop,
            seed=settings.machine.seed,
        )  # fmt: skip
        print(cli.wrapped(Table.of(frame, training.columns).describe()))
        return training, test
    columns = Columns(boston.TARGET, "regression", (), tuple(Column(name, "number") for name in boston.FEATURES))
    training, test = (Table(x, y, columns, np.arange(len(x))) for x, y in boston.load_data())
    return training, test


# 2. The search.


def draws(settings: Settings, steps: int) -> ParameterSampler:
    """Return the candidates, drawn at random: those with the same units and activation differ in numbers alone."""
    parameters = {
        "units": [(64, 64), (128, 128)],
        "activation": ["relu", "silu"],
        "dropout": uniform(0.05, 0.25),  # from 0.05 to 0.3
        "rate": loguniform(1e-3, 1e-2),
        "decay": loguniform(1e-3, 1e-1),
        "steps": [steps],
    }
    return ParameterSampler(parameters, settings.candidates, random_state=settings.machine.seed)


@nan_refused()
def find(training: Table, settings: Settings) -> SearchResult:
    """Cross-validate all candidates, and train the best one on all training samples."""
    classes = len(training.columns.classes)
    options: dict[str, Any] = {} if classes else {"loss": keras.losses.Huber()}  # outliers count less than squared

    def build_model(
        units: tuple[int, ...], activation: str, dropout: float, rate: float, decay: float, steps: int
    ) -> keras.Model:
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay)
        return table_network(
            training.x.shape[1], classes, units=units, activation=activation, dropout=dropout, optimizer=optimizer,
            **options,
        )  # fmt: skip

    of_a_fold = len(training.x) - len(training.x) // settings.folds
    steps = settings.epochs * -(-of_a_fold // settings.batch_size)  # after which the learning rate is 0
    return search(build_model, draws(settings, steps), halving=settings.halving, **arguments(training, settings))


@nan_refused()
def train_lectures(training: Table, settings: Settings) -> SearchResult:
    """Do the same with the lecture's network, whose number of epochs is selected, since it overfits."""

    def build_model() -> keras.Model:
        return table_network(training.x.shape[1], len(training.columns.classes))

    return search(build_model, {}, choose_epochs=True, **arguments(training, settings))


def arguments(training: Table, settings: Settings) -> dict[str, Any]:
    """Return the arguments that both have, so that their folds are the same."""
    return {
        "x": training.x,
        "y": training.y,
        "folds": balanced_folds(training.y, len(training.columns.classes), settings.folds, settings.machine.seed),
        "repeats": settings.repeats,
        "epochs": settings.epochs,
        "batch_size": settings.batch_size,
        "normalize": "fold",
        "normalize_y": not training.columns.classes,
        "seed": settings.machine.seed,
    }


# 3. The test, of the best candidate and of others.


def compare(found: SearchResult, lecture: SearchResult, samples: Samples, seed: int) -> dict[str, Any]:
    """Return the mean score of the folds and the score on the test samples, of networks and of simpler models."""
    training, test = samples
    networks = {f"the lecture's network, {lecture.epochs[0]} epochs": lecture, "the best candidate": found}
    compared: dict[str, Any] = {
        name: {"mean": result.best_score, "test": score(predict(result.best_model, test.x), test)}
        for name, result in networks.items()
    }
    compared["the mean of its fold models"] = {"mean": None, "test": score(found.ensemble.predict(test.x), test)}
    indices, width = found.ensemble.indices, found.scores.shape[-1]
    folds = [indices[first : first + width] for first in range(0, len(indices), width)]
    task = training.columns.task
    simpler = baselines_with_test((training.x, training.y), (test.x, test.y), folds, task=task, seed=seed)
    return compared | {name: {"mean": scores.mean(), "test": tested} for name, (scores, tested) in simpler.items()}


def score(outputs: Float, table: Table) -> float:
    """Return the mean absolute error, or the accuracy, of a network's outputs, (samples, outputs)."""
    if not table.columns.classes:
        return float(np.abs(outputs[:, 0] - table.y).mean())
    labels = outputs.argmax(axis=1) if outputs.shape[1] > 1 else outputs[:, 0] > 0.5
    return float((labels == table.y).mean())


# 4. What is shown.


def metrics(found: SearchResult) -> dict[str, Any]:
    """Return the results of the search for metrics.json."""
    return {
        "candidates": len(found.params),
        "best_params": {name: value for name, value in found.best_params.items() if name != "steps"},
        "mean": found.best_score,
        "interval": vars(found.interval(found.best_index)),
        "seconds_training": float(found.seconds.sum()),
    }


def draw(found: SearchResult, quantity: str, path: Path) -> None:
    """Plot the score of each candidate by each parameter."""
    names = [name for name in found.params[0] if name != "steps"]
    with figure_to(path, 3 * len(names), 4.5, columns=len(names), sharey=True) as (figure, panels):
        for name, axes in zip(names, panels, strict=True):
            found.plot(name, axes)
            axes.set(title="", ylabel=quantity if axes is panels[0] else "")
            if legend := axes.get_legend():
                legend.remove()
        figure.suptitle(f"{len(found.params)} candidates: mean of the folds and its 95% confidence interval")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)


def results(metrics: dict[str, Any], score: str) -> list[tables.ResultTable | str]:
    """Return the best candidate, and what it is worth beside others."""
    best = ", ".join(f"{name} {_shown(value)}" for name, value in metrics["best_params"].items())
    rows = [(name, values["mean"], values["test"]) for name, values in metrics["compared"].items()]
    return [
        f"the best of {metrics['candidates']} candidates: {best}",
        tables.ResultTable(f"The network and others, {score}", ["", "mean of the folds", "test"], rows),
        "The best candidate was selected on these folds, so its mean there is too good.",
    ]


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else typed(value)


if __name__ == "__main__":
    cli.run(main, SETTINGS)
