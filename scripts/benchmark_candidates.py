"""Time a search whose candidates differ in numbers, beside one candidate with as many models.

    make bench-candidates
    make bench-candidates ARGS="--batch-sizes 1 --rounds 1"

The candidates are networks of 64-64 units for the 506 samples of the Boston table, with learning rates, weight decays
and dropout rates of their own. Each round times three searches, one after another: all candidates; one candidate with a
repeat for each candidate, which trains as many models; and all candidates with halving. A first search of two
candidates, which is not timed, compiles the steps. Takes about 5 minutes on two cores.
"""

from dataclasses import dataclass
from typing import Annotated

from k3torch import cli
from k3torch.options import Machine, Output, shown_as


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    batch_sizes: Annotated[tuple[int, ...], shown_as("INT ...")] = (16, 1)
    """Samples per update; each is timed on its own."""
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

ALL, REPEATS, HALVING = "all candidates", "one candidate, repeated", "all candidates, halving"


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
    common = {"folds": settings.folds, "epochs": settings.epochs, "normalize": "fold", "seed": settings.machine.seed}
    with RunFolder("bench-candidates", settings) as run:
        for batch_size in settings.batch_sizes:
            started: Callable[..., SearchResult] = partial(
                search, build_model, x=x, y=y, batch_size=batch_size, **common
            )
            ways: dict[str, Callable[[], SearchResult]] = {
                ALL: partial(started, grid),
                REPEATS: partial(started, grid[:1], repeats=settings.candidates),
                HALVING: partial(started, grid, halving=3),
            }
            started(grid[:2])
            for number in range(1, settings.rounds + 1):
                cli.progress(f"batches of {batch_size}, round {number}")
                found = {way: timed(run_search) for way, run_search in ways.items()}
                run.history += rows(batch_size, number, found)
        run.metrics |= {"device": str(device), "seconds_total": run.seconds}
        run.results = results(run.history, settings)
    print(f"{run.metrics['seconds_total']:.0f} s in all\nwritten to {run.path}\n")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    refuse(
        [
            unless(settings.batch_sizes, "a value for --batch-sizes, got none"),
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


def rows(batch_size: int, number: int, found: dict[str, tuple[float, SearchResult]]) -> list[dict[str, Any]]:
    """Return what one round measures: seconds of the whole search and of training, and how halving's winner does."""
    whole, halved = found[ALL][1], found[HALVING][1]
    interval = whole.interval(whole.best_index)
    place = {"batch_size": batch_size, "round": number}
    winner = "same" if whole.best_index == halved.best_index else "other"
    score = float(whole.scores[halved.best_index].mean())  # after all epochs, as those it is compared with
    in_interval = interval.low <= score <= interval.high
    extra = {HALVING: {"winner": winner, "score": score, "best_score": whole.best_score, "in_interval": in_interval}}
    return [
        {**place, "search": way, "seconds": seconds, "training": float(result.seconds.sum()), **extra.get(way, {})}
        for way, (seconds, result) in found.items()
    ]


def results(history: list[dict[str, Any]], settings: Settings) -> list[tables.ResultTable | str]:
    """Return a table for each size of batches: medians over the rounds, and the lowest and highest of the seconds."""
    found: list[tables.ResultTable | str] = []
    for batch_size in settings.batch_sizes:
        own = [row for row in history if row["batch_size"] == batch_size]
        base = np.array([row["seconds"] for row in own if row["search"] == REPEATS])
        lines = []
        for way in (ALL, REPEATS, HALVING):
            seconds, training = (
                np.array([row[name] for row in own if row["search"] == way]) for name in ("seconds", "training")
            )
            spread = f"{seconds.min():.1f} to {seconds.max():.1f}"
            ratio = float(np.median(seconds / base))
            lines.append((way, f"{np.median(seconds):.1f}", spread, f"{np.median(training):.1f}", f"{ratio:.2f}"))
        models = f"{settings.candidates} x {settings.folds} models, {settings.epochs} epochs"
        columns = ["", "s", "in rounds", "s training", "ratio"]
        found.append(tables.ResultTable(f"batches of {batch_size}: {models}", columns, lines))
        last = own[-1]
        inside = "inside" if last["in_interval"] else "outside"
        found.append(
            f"Halving selects the {last['winner']} candidate: mean score {last['score']:.3f}, {inside} the 95% "
            f"interval of the best, {last['best_score']:.3f}."
        )
    return found


if __name__ == "__main__":
    cli.run(main, SETTINGS)
