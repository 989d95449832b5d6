"""Time a search whose candidates differ in numbers.

    make bench-candidates
    make bench-candidates ARGS="--batch-sizes 1 --rounds 1"

The candidates are networks of 64-64 units for the 506 samples of the Boston table, with learning rates, weight decays
and dropout rates of their own. Each round times three searches, one after another: all candidates; one candidate with a
repeat for each candidate, which trains as many models; and all candidates with halving. A first search of two
candidates, which is not timed, compiles the steps. Takes about 5 minutes on two cores.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from k3torch import cli
from k3torch.options import Machine, Output, shown_as

Search = Literal["all", "repeats", "halving"]


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    batch_sizes: Annotated[tuple[int, ...], shown_as("INT ...")] = (16, 1)
    """Samples per update; each is timed on its own."""
    searches: Annotated[tuple[Search, ...], shown_as("{all,repeats,halving} ...")] = get_args(Search)
    """Which are timed: all candidates, one candidate with repeats, all candidates with halving."""
    candidates: int = 50
    """Number of candidates, and of repeats of the one."""
    folds: int = 10
    """Models of each candidate, and of each repeat."""
    epochs: int = 100
    """Passes over the training samples of a fold."""
    rounds: int = 3
    """How often each search is timed."""
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

from k3torch import runtime
from k3torch.data import boston
from k3torch.errors import count_problem, refuse, unless
from k3torch.reports import tables
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.validation.search import search
from k3torch.validation.search_result import SearchResult
import keras
import numpy as np

NAMES: dict[Search, str] = {
    "all": "all candidates",
    "repeats": "one candidate, repeated",
    "halving": "all candidates, halving",
}


def build_model(rate: float, decay: float, dropout: float) -> keras.Model:
    """Return a network of 64-64 units for the 13 features."""
    layers = keras.layers
    hidden = [layers.Dense(64, activation="relu"), layers.Dropout(dropout), layers.Dense(64, activation="relu")]
    model = keras.Sequential([keras.Input((13,)), *hidden, layers.Dense(1)])
    model.compile(keras.optimizers.AdamW(rate, weight_decay=decay), "mse", metrics=["mae"])
    return model


def drawn(count: int) -> list[dict[str, list[float]]]:
    """Return a grid of so many settings, the same each time."""
    draw = np.random.default_rng(0)
    spans = {"rate": (-3.5, -2.0), "decay": (-4.0, -1.0), "dropout": (-1.3, -0.5)}  # powers of ten
    return [{name: [float(10 ** draw.uniform(*span))] for name, span in spans.items()} for _ in range(count)]


def main(settings: Settings) -> None:
    """Time all searches in each round, and leave a run folder."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    x, y = (np.concatenate(parts) for parts in zip(*boston.load_data(), strict=True))
    grid = drawn(settings.candidates)
    common: dict[str, Any] = {"folds": settings.folds, "epochs": settings.epochs, "normalize": "fold"}
    winners: dict[int, str] = {}
    with RunFolder("bench-candidates", settings) as run:
        for batch_size in settings.batch_sizes:
            started: Callable[..., SearchResult] = partial(
                search, build_model, x=x, y=y, batch_size=batch_size, seed=settings.machine.seed, **common
            )
            ways: dict[Search, Callable[[], SearchResult]] = {
                "all": partial(started, grid),
                "repeats": partial(started, grid[:1], repeats=settings.candidates),
                "halving": partial(started, grid, halving=3),
            }
            started(grid[:2])
            for number in range(1, settings.rounds + 1):
                cli.progress(f"batches of {batch_size}, round {number}")
                found = {way: timed(run_search) for way, run_search in ways.items() if way in settings.searches}
                run.history += rows(batch_size, number, found)
                if {"all", "halving"} <= found.keys():
                    said = winner(found["all"][1], found["halving"][1])
                    winners[batch_size] = f"Batches of {batch_size}: {said}"
        run.metrics |= {"device": str(device), "seconds_total": run.seconds}
        run.results = [*results(run.history, settings), *winners.values()]
    print(f"{run.metrics['seconds_total']:.0f} s in all\nwritten to {run.path}\n")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    refuse(
        [
            unless(settings.batch_sizes, "a value for --batch-sizes, got none"),
            unless(settings.searches, "a value for --searches, got none"),
            *(count_problem("batch_sizes", size) for size in settings.batch_sizes),
            *(count_problem(name, getattr(settings, name)) for name in ("epochs", "rounds")),
            *(count_problem(name, getattr(settings, name), minimum=2) for name in ("candidates", "folds")),
        ]
    )
    check_free(settings.output)


def timed(run_search: Callable[[], SearchResult]) -> tuple[float, SearchResult]:
    started = perf_counter()
    result = run_search()
    return perf_counter() - started, result


def rows(batch_size: int, number: int, found: dict[Search, tuple[float, SearchResult]]) -> list[dict[str, Any]]:
    """Return what one round measures: seconds of each whole search, and of its training."""
    return [
        {
            "batch_size": batch_size,
            "round": number,
            "search": way,
            "seconds": seconds,
            "training": float(result.seconds.sum()),
        }
        for way, (seconds, result) in found.items()
    ]


def winner(whole: SearchResult, halved: SearchResult) -> str:
    """Say how the candidate that halving selects does in the search without it."""
    interval = whole.interval(whole.best_index)
    score = float(whole.scores[halved.best_index].mean())  # after all epochs, as those it is compared with
    which = "the same candidate" if whole.best_index == halved.best_index else "another candidate"
    inside = "inside" if interval.low <= score <= interval.high else "outside"
    place = f"{inside} the 95% interval of the best, {whole.best_score:.3f}"
    return f"halving selects {which}: mean score {score:.3f}, {place}."


def results(history: list[dict[str, Any]], settings: Settings) -> list[tables.ResultTable | str]:
    """Return a table for each size of batches: medians over the rounds, and the lowest and highest of the seconds."""
    found: list[tables.ResultTable | str] = []
    for batch_size in settings.batch_sizes:
        own = [row for row in history if row["batch_size"] == batch_size]
        of_ways = {way: [row for row in own if row["search"] == way] for way in settings.searches}
        base = [row["seconds"] for row in of_ways.get("repeats", [])]
        lines = []
        for way, measured in of_ways.items():
            seconds, training = (np.array([row[name] for row in measured]) for name in ("seconds", "training"))
            ratio = f"{np.median(seconds / base):.2f}" if base else None
            spread = f"{seconds.min():.1f} to {seconds.max():.1f}"
            lines.append((NAMES[way], f"{np.median(seconds):.1f}", spread, f"{np.median(training):.1f}", ratio))
        models = f"{settings.candidates} x {settings.folds} models, {settings.epochs} epochs"
        columns = ["", "s", "in rounds", "s training", "ratio"]
        found.append(tables.ResultTable(f"batches of {batch_size}: {models}", columns, lines))
    return found


if __name__ == "__main__":
    cli.run(main, SETTINGS)
