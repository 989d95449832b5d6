"""The jobs of a benchmark in which several contenders run once in each round, and their tables."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
import statistics
from typing import Any

Round = Mapping[str, Mapping[str, Any]]  # the results of each contender by name; None where it has none


@dataclass(frozen=True)
class Job:
    """What contenders train, and the results in its table.

    Attributes:
        contenders: names, and what they are called in the table.
        first: the contender in the first row, which always runs.
        time: the name of the time among a contender's results.
        columns: of other results: heading and format.
        peer: the contender by whose time the others are divided, if it runs; else that is the first one.
    """

    contenders: dict[str, str]
    first: str
    time: str
    columns: dict[str, tuple[str, str]]
    peer: str | None = None

    def base(self, contenders: Collection[str]) -> str:
        """Return by whose time the others are divided, among those that run."""
        return self.peer if self.peer is not None and self.peer in contenders else self.first


JOBS = {
    "reviews": Job(
        {
            "rung-1": "1 fit on arrays",
            "rung-2": "2 fit on a dense DataLoader",
            "rung-3": "3 fit on the sparse DataLoader",
            "rung-4": "4 an overridden train_step",
            "rung-5": "5 a custom training loop",
            "rung-6": "6 the compiled step",
            "keras-torch": "Keras on torch, fit on a matrix",
            "torch-dense": "PyTorch, dense",
            "torch-bag": "PyTorch, EmbeddingBag",
            "numba": "Numba loop, one core",
            "keras-jax": "Keras on JAX, fit on a matrix",
            "keras-tensorflow": "Keras on TensorFlow, fit on a matrix",
        },
        first="rung-4",
        time="seconds",
        columns={"peak memory MB": ("peak MB", ".0f"), "validation accuracy": ("accuracy", ".4f")},
    ),
    "boston": Job(
        {
            "stacked-4": "4 models as a stack",
            "stacked-32": "32 models as a stack",
            "keras-torch": "Keras on torch, fit",
            "torch": "PyTorch",
            "numba": "Numba loop, one core",
            "jax-4": "JAX by hand, 4 models",
            "jax-32": "JAX by hand, 32 models",
            "keras-jax": "Keras on JAX, fit",
            "keras-tensorflow": "Keras on TensorFlow, fit",
        },
        first="stacked-4",
        time="microseconds",
        columns={"peak memory MB": ("peak MB", ".0f"), "training error": ("error", ".2f")},
    ),
    "sizes": Job(
        {
            "k3torch-cached": "k3torch cached",
            "k3torch-cold": "k3torch cold",
            "jax": "JAX",
            "keras-fit": "Keras",
        },
        first="k3torch-cached",
        peer="jax",
        time="seconds",
        columns={},
    ),
}
"""The jobs of the benchmark."""


def summary(job: Job, rounds: Sequence[Round]) -> list[dict[str, str]]:
    """Return a row per contender: medians over rounds, and the ratio to the base with its lowest and highest round."""
    base = job.base(rounds[0])
    rows = []
    for name in rounds[0]:
        found = ratios(rounds, name, base, job.time)
        medians = {key: statistics.median(results[name][key] for results in rounds) for key in (job.time, *job.columns)}
        row = {
            "contender": job.contenders[name],
            job.time: short(medians[job.time]),
            "ratio": short(statistics.median(found)),
            "in rounds": f"{short(min(found))} to {short(max(found))}",
            **{heading: f"{medians[key]:{form}}" for key, (heading, form) in job.columns.items()},
        }
        if rounds[0][base].get("seconds by device events"):
            row["device s"] = short(rounds[0][name].get("seconds by device events") or float("nan"))
        rows.append(row)
    return rows


def ratios(rounds: Sequence[Round], name: str, base: str, time: str) -> list[float]:
    """Return a contender's time divided by that of the base, for each round in which both have one."""
    both = [(results.get(name, {}).get(time), results.get(base, {}).get(time)) for results in rounds]
    return [own / other for own, other in both if own is not None and other is not None]


def median(rounds: Sequence[Round], name: str, time: str) -> float | None:
    """Return the median of a contender's results, or None if it has none."""
    found = [value for results in rounds if (value := results.get(name, {}).get(time)) is not None]
    return statistics.median(found) if found else None


def short(value: float) -> str:
    """Return a time or a ratio with about three digits: ``"0.412"``, ``"4.12"``, ``"41"``."""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows as a Markdown table."""
    columns = list(rows[0])
    lines = [
        "| " + " | ".join(columns) + " |",
        "|---" + "|---:" * (len(columns) - 1) + "|",
        *("| " + " | ".join(row.values()) + " |" for row in rows),
    ]
    return "\n".join(lines)
