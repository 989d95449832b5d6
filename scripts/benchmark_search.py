"""Compare the error of a searched network with that of boosted trees, on samples that no choice has seen.

    python scripts/benchmark_search.py
    python scripts/benchmark_search.py --seeds 0 --views plain

Two divisions of the Boston table: 10 folds of all 506 samples, shuffled by each seed, each fold the test set once; and
Keras's own split, 404 training and 102 test samples, with each seed for the models. In each, ``search`` selects a
network by the inner folds of the training samples, and the mean of the selected network's fold models predicts the test
samples. It does so from each view of the features: plain, and as normal scores (the quantiles of the training samples).
The mean of both views is the last line. Gradient boosting of scikit-learn and CatBoost (the extra ``peers``), both with
their defaults, are trained and tested on the same samples. Takes about 25 minutes on two cores.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from k3torch import cli
from k3torch.options import Machine, Output, shown_as

View = Literal["plain", "ranks"]
Divided = Literal["10 folds", "split"]


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    seeds: Annotated[tuple[int, ...], shown_as("INT ...")] = (0, 1, 2, 3, 4)
    """Of the 10 folds, and of all models."""
    divisions: Annotated[tuple[Divided, ...], shown_as('{"10 folds",split} ...')] = get_args(Divided)
    """Of all samples, or Keras's own."""
    views: Annotated[tuple[View, ...], shown_as("{plain,ranks} ...")] = get_args(View)
    """Of the features, one search for each."""
    inner_folds: int = 10
    """Folds of the training samples, by which a network is selected."""
    epochs: int = 200
    """Passes over the training samples of an inner fold."""
    batch_size: int = 16
    """Samples per update."""
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Iterator
import importlib.util
from typing import Any

from k3torch import runtime
from k3torch.data import boston
from k3torch.errors import InputError
from k3torch.models.builders import boston_regressor
from k3torch.reports import tables
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.validation.search import search
from k3torch.validation.search_result import SearchResult
import keras
import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.model_selection import KFold
from sklearn.preprocessing import QuantileTransformer
from threadpoolctl import threadpool_limits

Float = NDArray[np.float64]
Part = tuple[Float, Float]  # x, y

# 1. What a network may be. Candidates that differ in dropout alone train as one stack.

GRID = {"activation": ["relu", "silu"], "dropout": [0.1, 0.2]}
RATE, DECAY = 3e-3, 0.02


def build_model(activation: str, dropout: float, steps: int) -> keras.Model:
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
    return boston_regressor(
        units=(64, 64),
        activation=activation,
        dropout=dropout,
        optimizer=keras.optimizers.AdamW(rate, weight_decay=DECAY),
        loss=keras.losses.Huber(),
    )


def main(settings: Settings) -> None:
    """Predict the test samples of all divisions by all models, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    with RunFolder("search-benchmark", settings) as run:
        run.metrics["device"] = str(device)
        for division in settings.divisions:
            for seed in settings.seeds:
                for fold, (training, test) in enumerate(parts(division, seed), start=1):
                    cli.progress(f"{division}, seed {seed}, fold {fold}")
                    predicted, notes = predictions(training, test[0], seed, settings)
                    run.history += rows({"division": division, "seed": seed, "fold": fold}, predicted, test[1], notes)
        run.metrics["errors"] = errors(run.history)
        run.metrics["seconds_total"] = run.seconds
    show(run)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "epochs", "batch_size")
    for name in ("seeds", "divisions", "views"):
        if not getattr(settings, name):
            raise InputError(f"expected a value for --{name}, got none")
    check_free(settings.output)


# 2. The samples.


def parts(division: str, seed: int) -> Iterator[tuple[Part, Part]]:
    """Yield the training and the test samples of each fold."""
    (x, y), (x_test, y_test) = boston.load_data()
    if division == "split":
        yield (x, y), (x_test, y_test)
        return
    x, y = np.concatenate([x, x_test]), np.concatenate([y, y_test])
    for training, test in KFold(10, shuffle=True, random_state=seed).split(x):
        yield (x[training], y[training]), (x[test], y[test])


# 3. The models: all that they are and see comes from the training samples.


def predictions(
    training: Part, x_test: Float, seed: int, settings: Settings
) -> tuple[dict[str, Float], dict[str, Any]]:
    """Return the predictions for the test samples by the name of the model, and what was selected."""
    found, selected = {}, {}
    for view in settings.views:
        x, x_new = seen_as(view, training[0], x_test)
        result = searched(x, training[1], seed, settings)
        found[f"search, {view}: the best model"] = result.best_model.predict(x_new, verbose=0)[:, 0]
        found[f"search, {view}: mean of fold models"] = result.ensemble.predict(x_new)[:, 0]
        selected[view] = result.best_params
    if len(settings.views) > 1:
        means = [found[f"search, {view}: mean of fold models"] for view in settings.views]
        found["search: mean of both"] = np.mean(means, axis=0)
    with threadpool_limits(1):
        found |= {name: peer.fit(*training).predict(x_test) for name, peer in peers(seed).items()}
    return found, selected


def seen_as(view: str, x: Float, x_test: Float) -> tuple[Float, Float]:
    """Return the features of training and test samples in a view that is fitted on the training samples."""
    if view == "plain":
        return x, x_test
    ranks = QuantileTransformer(n_quantiles=100, output_distribution="normal").fit(x)
    limit = 2.5  # beyond which the normal scores of the lowest and the highest values lie, at 5.2
    return np.clip(ranks.transform(x), -limit, limit), np.clip(ranks.transform(x_test), -limit, limit)


def searched(x: Float, y: Float, seed: int, settings: Settings) -> SearchResult:
    samples = len(x) - len(x) // settings.inner_folds  # training samples of an inner fold
    steps = settings.epochs * -(-samples // settings.batch_size)
    return search(
        build_model,
        {**GRID, "steps": [steps]},
        x,
        y,
        folds=KFold(settings.inner_folds, shuffle=True, random_state=seed),
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        normalize="fold",
        normalize_y=True,
        seed=seed,
    )


def peers(seed: int) -> dict[str, Any]:
    """Return the models to compare with, all with their defaults; CatBoost only where it is installed."""
    found = {
        "scikit-learn, gradient boosting": GradientBoostingRegressor(random_state=seed),
        "scikit-learn, histogram gradient boosting": HistGradientBoostingRegressor(random_state=seed),
    }
    if importlib.util.find_spec("catboost"):
        from catboost import CatBoostRegressor

        found["CatBoost"] = CatBoostRegressor(
            random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False
        )
    return found


# 4. The errors, of all test samples of a seed together.


def rows(
    place: dict[str, Any], predicted: dict[str, Float], y: Float, selected: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return a row for each model, with its errors on the test samples of one fold."""
    return [
        {
            **place, "model": model, "samples": len(y), "absolute": float(np.abs(values - y).mean()),
            "squared": float(((values - y) ** 2).mean()), "selected": selected,
        }
        for model, values in predicted.items()
    ]  # fmt: skip


def errors(history: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the mean absolute error and the root of the mean squared error, and the deviation over the seeds."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for division, model in dict.fromkeys((row["division"], row["model"]) for row in history):
        seeds: dict[int, list[dict[str, Any]]] = {}
        for row in history:
            if (row["division"], row["model"]) == (division, model):
                seeds.setdefault(row["seed"], []).append(row)
        absolute, squared = (
            np.array([np.average([r[kind] for r in of], weights=[r["samples"] for r in of]) for of in seeds.values()])
            for kind in ("absolute", "squared")
        )
        found.setdefault(division, {})[model] = {
            "mae": float(absolute.mean()), "mae_std": float(absolute.std()),
            "rmse": float(np.sqrt(squared).mean()), "rmse_std": float(np.sqrt(squared).std()),
        }  # fmt: skip
    return found


def show(run: RunFolder) -> None:
    print(f"{run.seconds:.0f} s in all\nwritten to {run.path}\n")
    for division, models in run.metrics["errors"].items():
        lines = [(name, f"{e['mae']:.3f}", f"{e['rmse']:.3f}", f"{e['mae_std']:.3f}") for name, e in models.items()]
        title = {"10 folds": "10 folds of all samples", "split": "Keras's split"}[division]
        tables.show(f"{title}, mean over the seeds (1000 USD)", ["", "MAE", "RMSE", "deviation of MAE"], lines)


if __name__ == "__main__":
    cli.run(main, SETTINGS)
