"""Compare the error of searched networks with boosted trees.

    make bench-search
    make bench-search ARGS="--seeds 0"

All 506 samples of the Boston table are divided into 10 outer folds, shuffled by each seed. For each fold, ``search``
selects a network by inner folds of the samples outside it, and the mean of the selected network's models of the inner
folds predicts the samples in it, which were not used to choose. There are two searches, one for each activation: the
table has the better one by the inner folds, and the mean of both. Then the same with Keras's own split, 404 training
and 102 test samples. Gradient boosting of scikit-learn and CatBoost (the extra ``peers``), with their defaults, are
trained and tested on the same samples. Takes about 10 minutes on two cores.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from k3torch import cli
from k3torch.options import Machine, Output, shown_as

Division = Literal["folds", "split"]


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    seeds: Annotated[tuple[int, ...], shown_as("INT ...")] = (0, 1, 2, 3, 4)
    """Of the outer folds, and of all models."""
    divisions: Annotated[tuple[Division, ...], shown_as("{folds,split} ...")] = get_args(Division)
    """Outer folds of all samples, or Keras's own split."""
    outer_folds: int = 10
    """Number of folds of all samples; each is the test set once."""
    inner_folds: int = 10
    """Number of folds of the samples outside the test set, by which a network is selected."""
    epochs: int = 200
    """Passes over the training samples of an inner fold."""
    batch_size: int = 16
    """Samples per update."""
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

import importlib.util
from typing import Any

from k3torch import runtime
from k3torch.data import boston
from k3torch.errors import count_problem, refuse, unless
from k3torch.models.builders import boston_regressor
from k3torch.reports import tables
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.validation.folds import Split, make_folds
from k3torch.validation.search import search
from k3torch.validation.search_result import SearchResult
import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

Float = NDArray[np.float64]

# 1. What a network may be, in each search: candidates that differ in dropout alone train as one stack.

GRIDS: dict[str, dict[str, list[Any]]] = {
    "ReLU": {"activation": ["relu"], "rate": [0.003], "dropout": [0.1, 0.2]},
    "SiLU": {"activation": ["silu"], "rate": [0.01], "dropout": [0.1, 0.2]},
}


def build_model(activation: str, rate: float, dropout: float, steps: int) -> keras.Model:
    """Return a network of 64-64 units, trained by AdamW, whose learning rate falls to 0 within ``steps`` updates."""
    schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
    return boston_regressor(
        units=(64, 64),
        activation=activation,
        dropout=dropout,
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.02),
        loss=keras.losses.Huber(),
    )


def main(settings: Settings) -> None:
    """Predict the test samples of all divisions by all models, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    # 2. The samples and their divisions, each a list of training and test samples.
    halves = boston.load_data()
    x, y = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    samples = np.arange(len(x))
    split = [(samples[: len(halves[0][0])], samples[len(halves[0][0]) :])]
    with RunFolder("bench-search", settings) as run:
        for seed in settings.seeds:
            folds = make_folds(KFold(settings.outer_folds, shuffle=True, random_state=seed), x, y)
            divided = {"folds": (f"{settings.outer_folds} folds", folds), "split": ("Keras's split", split)}
            for name, outer in (divided[division] for division in settings.divisions):
                # 3. The networks: all that is chosen is chosen by the training samples.
                cli.progress(f"seed {seed}, {name}: networks")
                found = {kind: searched(grid, x, y, outer, seed, settings) for kind, grid in GRIDS.items()}
                # 4. The models to compare them with.
                cli.progress(f"seed {seed}, {name}: boosted trees")
                predicted = networks(found, outer) | boosted(x, y, outer, seed)
                run.history += errors({"division": name, "seed": seed}, predicted, y, outer)
                selected = {
                    kind: [{**fold.params, "inner_score": fold.inner_score} for fold in result.outer or []]
                    for kind, result in found.items()
                }
                run.metrics.setdefault("selected", {})[f"{name}, seed {seed}"] = selected
        run.metrics |= {"means": means(run.history), "device": str(device), "seconds_total": run.seconds}
        run.results = results(run)
    print(f"{run.metrics['seconds_total']:.0f} s in all\nwritten to {run.path}\n")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    refuse(
        [
            *(count_problem(name, getattr(settings, name)) for name in ("epochs", "batch_size")),
            *(count_problem(name, getattr(settings, name), minimum=2) for name in ("outer_folds", "inner_folds")),
            *(unless(getattr(settings, name), f"a value for --{name}, got none") for name in ("seeds", "divisions")),
            *(
                unless(0 <= seed < 2**32, f"seeds as whole numbers from 0 to {2**32 - 1}, got {seed}")
                for seed in settings.seeds
            ),
        ]
    )
    check_free(settings.output)


def searched(
    grid: dict[str, list[Any]], x: Float, y: Float, outer: list[Split], seed: int, settings: Settings
) -> SearchResult:
    training = len(outer[0][0])
    inner = training - training // settings.inner_folds
    steps = settings.epochs * -(-inner // settings.batch_size)
    return search(
        build_model,
        {**grid, "steps": [steps]},
        x,
        y,
        outer=outer,
        folds=KFold(settings.inner_folds, shuffle=True, random_state=seed),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        normalize="fold",
        normalize_y=True,
        seed=seed,
    )


def networks(found: dict[str, SearchResult], outer: list[Split]) -> dict[str, Float]:
    """Return the predictions by the means of fold models: of the better search in each outer fold, and of both."""
    both = {kind: result.outer_predictions for kind, result in found.items()}
    arrays = {kind: predictions[:, 0] for kind, predictions in both.items() if predictions is not None}
    better = np.full(len(next(iter(arrays.values()))), np.nan)
    for number, (_, test) in enumerate(outer):
        kind = min(found, key=lambda kind: (found[kind].outer or [])[number].inner_score)
        better[test] = arrays[kind][test]
    return {
        "search: the better by the inner folds": better,
        "search: the mean of both": np.mean(list(arrays.values()), axis=0),
    }


def boosted(x: Float, y: Float, outer: list[Split], seed: int) -> dict[str, Float]:
    """Return the predictions of boosted trees, all with their defaults; of CatBoost only where it is installed."""
    peers: dict[str, Any] = {
        "scikit-learn: gradient boosting": GradientBoostingRegressor(random_state=seed),
        "scikit-learn: histogram gradient boosting": HistGradientBoostingRegressor(random_state=seed),
    }
    if importlib.util.find_spec("catboost"):
        from catboost import CatBoostRegressor

        quiet = {"verbose": False, "allow_writing_files": False, "thread_count": 1}
        peers["CatBoost"] = CatBoostRegressor(random_seed=seed, **quiet)
    predicted = {name: np.full(len(y), np.nan) for name in peers}
    with threadpool_limits(1):  # on few samples threads wait for each other
        for training, test in outer:
            for name, peer in peers.items():
                predicted[name][test] = peer.fit(x[training], y[training]).predict(x[test])
    return predicted


# 5. The errors, of all test samples of a seed together, and their means over the seeds.


def errors(place: dict[str, Any], predicted: dict[str, Float], y: Float, outer: list[Split]) -> list[dict[str, Any]]:
    """Return for each model its mean absolute error and the root of its mean squared error."""
    tested = np.concatenate([test for _, test in outer])
    found = []
    for model, values in predicted.items():
        difference = values[tested] - y[tested]
        mae, rmse = float(np.abs(difference).mean()), float(np.sqrt((difference**2).mean()))
        found.append({**place, "model": model, "mae": mae, "rmse": rmse})
    return found


def means(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the means over the seeds, and the deviation of the mean absolute error."""
    found = []
    for division, model in sorted(
        dict.fromkeys((row["division"], row["model"]) for row in history), key=lambda k: k[0]
    ):
        rows = [row for row in history if (row["division"], row["model"]) == (division, model)]
        mae, rmse = np.array([row["mae"] for row in rows]), np.array([row["rmse"] for row in rows])
        found.append({"division": division, "model": model, "mae": mae.mean(), "rmse": rmse.mean(), "std": mae.std()})
    return found


def results(run: RunFolder) -> list[tables.ResultTable | str]:
    """Return a table for each division."""
    found: list[tables.ResultTable | str] = []
    for division in dict.fromkeys(row["division"] for row in run.metrics["means"]):
        rows = [
            (row["model"], *(f"{row[name]:.3f}" for name in ("mae", "rmse", "std")))
            for row in run.metrics["means"]
            if row["division"] == division
        ]
        columns = ["", "MAE", "RMSE", "deviation of MAE"]
        found.append(tables.ResultTable(f"{division}: means over the seeds (1000 USD)", columns, rows))
    return found


if __name__ == "__main__":
    cli.run(main, SETTINGS)
