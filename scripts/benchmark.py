"""Time this project and other ways to train its networks.

    make bench
    make bench ARGS="--rounds 5 --jax-python jaxenv/bin/python"
    k3torch bench --jobs reviews --contenders torch-bag numba

reviews: 15,000 film reviews to train and 10,000 to validate, 10,000 words, 16-16-1, RMSprop, batches of 512; seconds
per epoch, validation included (the rungs of ladder.py validate in batches of 2,500, the peers in PyTorch and Numba in
one, Keras peers in batches of 512). boston: 13-64-64-1, RMSprop, batches of one sample; microseconds per update of one
model (the stacks and JAX train 4 or 32 models at once).

In each round every contender runs once, in a process of its own, so that a slow minute of the machine affects all of
them; an epoch's time is the median over a run's epochs without the first. A ratio is a contender's time divided by
that of the table's first row in the same round: the median, and the lowest and highest. Takes eight minutes on two
cores with all of them. The tables are also written to the run folder, as benchmark.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Machine, Output, ReviewSource, shown_as

JobName = Literal["reviews", "boston"]
Contender = Literal[
    "rung-1", "rung-2", "rung-3", "rung-4", "rung-5", "rung-6", "keras-torch", "torch-dense", "torch-bag", "numba",
    "keras-jax", "keras-tensorflow", "stacked-4", "stacked-32", "torch", "jax-4", "jax-32",
]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    jobs: Annotated[tuple[JobName, ...], shown_as("{reviews,boston} ...")] = ("reviews", "boston")
    """Networks to train."""
    source: ReviewSource = "auto"
    """Reviews, as for train-imdb."""
    num_words: int = 10_000
    """Width of the bags: the number of most frequent words that are told apart."""
    epochs: int = 6
    """Timed epochs per run, after a first one that is not timed."""
    rounds: int = 3
    """How often each contender runs."""
    contenders: Annotated[tuple[Contender, ...], shown_as("NAME ...", "all that are installed")] = ()
    """What to run beside the base of the ratios. reviews has rung-1 to rung-6, keras-torch, torch-dense, torch-bag,
    numba, keras-jax, keras-tensorflow; boston has stacked-4, stacked-32, keras-torch, torch, numba, jax-4, jax-32,
    keras-jax, keras-tensorflow."""
    jax_python: Annotated[Path | None, shown_as("PATH", "none")] = None
    """Python interpreter of an environment with Keras and JAX, for the contenders that need them."""
    tensorflow_python: Annotated[Path | None, shown_as("PATH", "none")] = None
    """Python interpreter of an environment with Keras and TensorFlow, for the contender that needs them."""
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Callable, Mapping, Sequence
from datetime import date
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from k3torch import runtime
from k3torch.data import boston
from k3torch.data.bags import bag_of_words
from k3torch.data.imdb import load_data
from k3torch.data.scaling import Standardizer
from k3torch.errors import InputError
from k3torch.options import flat
from k3torch.reports import tables
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.training.progress import EpochBar
import numpy as np
import scipy.sparse

HERE = Path(__file__).parent
Pythons = dict[str, dict[str, Path]]  # of each job, the contenders and the Python interpreter for each
JAX, TENSORFLOW = ("keras-jax", "jax-4", "jax-32"), ("keras-tensorflow",)


@dataclass(frozen=True)
class Job:
    """One network to train: contenders, the base of the ratios, and what is measured."""

    contenders: dict[str, str]
    base: str
    time: str  # the name under which a contender prints its times
    columns: dict[str, tuple[str, str]]  # its other results: heading and format
    write_data: Callable[[Path, Settings], None]
    script: str


def write_reviews(path: Path, settings: Settings) -> None:
    """Write the reviews for the peers: the samples on which ladder.py trains and validates."""
    data = load_data(settings.source, settings.num_words)
    halves = (data.train, data.test) if data.source == "reviews" else (data.train,)
    bags = scipy.sparse.vstack([bag_of_words(h.ids, h.offsets, settings.num_words) for h in halves], format="csr")
    labels = np.concatenate([half.labels for half in halves])
    held_out = len(labels) * 2 // 5
    np.savez(path, offsets=bags.indptr.astype(np.int64), ids=bags.indices, labels=labels, num_words=settings.num_words,
             validation=np.arange(held_out), train=np.arange(held_out, len(labels)))  # fmt: skip


def write_boston(path: Path, _: Settings) -> None:
    """Write the standardised Boston table for the peers."""
    (x, y), _test = boston.load_data()
    np.savez(path, x=Standardizer.fit(x).transform(x).astype("float32"), y=y.astype("float32"))


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
        base="rung-4",
        time="seconds",
        columns={"peak memory MB": ("peak MB", ".0f"), "validation accuracy": ("accuracy", ".4f")},
        write_data=write_reviews,
        script="benchmark_reviews.py",
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
        base="stacked-4",
        time="microseconds",
        columns={"peak memory MB": ("peak MB", ".0f"), "training error": ("error", ".2f")},
        write_data=write_boston,
        script="benchmark_boston.py",
    ),
}


def main(settings: Settings) -> None:
    """Run all rounds of all jobs, and leave a run folder."""
    check(settings)
    pythons = interpreters(settings)
    runtime.configure(**vars(settings.machine))  # refuses a device that this machine lacks
    with tempfile.TemporaryDirectory() as folder:
        data: dict[str, Path] = {name: Path(folder) / f"{name}.npz" for name in settings.jobs}
        for name, path in data.items():
            JOBS[name].write_data(path, settings)
        with RunFolder("benchmark", settings) as run:
            run.metrics |= {"machine": machine()}
            run_all(settings, pythons, data, run)
            tables_of = {name: summary(JOBS[name], run.metrics[name]) for name in settings.jobs}
            counts = f"Rounds: {settings.rounds}, epochs: {settings.epochs}."
            parts = [f"{date.today()}, {'; '.join(machine().values())}. {counts}", *map(markdown, tables_of.values())]
            with run.draft("benchmark.md") as path:
                path.write_text("\n\n".join(parts) + "\n")
    print(f"written to {run.path}\n")
    for name, rows in tables_of.items():
        tables.show(name, list(rows[0]), [tuple(row.values()) for row in rows])


def run_all(settings: Settings, pythons: Pythons, data: Mapping[str, Path], run: RunFolder) -> None:
    """Run each contender in each round; an interrupted run keeps the results so far in its metrics."""
    with EpochBar("runs", settings.rounds * sum(map(len, pythons.values()))) as bar:
        for name, contenders in pythons.items():
            rounds: list[dict[str, Any]] = run.metrics.setdefault(name, [])
            for _ in range(settings.rounds):
                rounds.append({})
                for contender in contenders:
                    found = measure(JOBS[name], contender, data[name], contenders, settings)
                    rounds[-1][contender] = found
                    bar.advance({f"{contender}: {JOBS[name].time}": found[JOBS[name].time]})


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "num_words", "epochs", "rounds")
    if not settings.jobs:
        raise InputError(f"expected at least one job among {', '.join(JOBS)}, got none")
    for option, python in (("jax", settings.jax_python), ("tensorflow", settings.tensorflow_python)):
        if python is not None and not (python.is_file() and os.access(python, os.X_OK)):
            raise InputError(f"expected a Python interpreter for --{option}-python, got {python}")
    known = {name for job in settings.jobs for name in JOBS[job].contenders}
    if others := [name for name in settings.contenders if name not in known]:
        raise InputError(f"expected contenders of {' and '.join(settings.jobs)}, got {', '.join(others)}: set --jobs")
    check_free(settings.output)


def interpreters(settings: Settings) -> Pythons:
    """Return for each job the chosen contenders that can run here, and the Python interpreter for each."""
    found: Pythons = {}
    for job in settings.jobs:
        wanted = [n for n in JOBS[job].contenders if not settings.contenders or n in settings.contenders]
        found[job] = {JOBS[job].base: Path(sys.executable)}
        for name in wanted:
            other = settings.jax_python if name in JAX else settings.tensorflow_python if name in TENSORFLOW else None
            missing = name in JAX + TENSORFLOW or (name == "numba" and not importlib.util.find_spec("numba"))
            if other is not None or not missing:
                found[job][name] = other or Path(sys.executable)
            elif settings.contenders:
                needed = "--jax-python" if name in JAX else "--tensorflow-python" if name in TENSORFLOW else "numba"
                raise InputError(f"expected {needed} for the contender {name}, got none")
    return found


def measure(job: Job, name: str, data: Path, pythons: Mapping[str, Path], settings: Settings) -> dict[str, float]:
    """Run one contender in a process of its own, and return its median time and the other results that it prints."""
    if name.startswith("rung"):
        names = ("source", "num_words", "epochs", "device", "precision", "seed")
        options = [f"--{option.replace('_', '-')}={flat(settings)[option]}" for option in names]
        command = [sys.executable, HERE / "ladder.py", f"--rung={name[-1]}", *options]
    else:
        command = [pythons[name], HERE / job.script, name, data, settings.epochs + 1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KERAS_")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 2:
        raise InputError(done.stderr.strip().removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if isinstance(found[job.time], list):
        found[job.time] = statistics.median(found[job.time][1:])
    return found


def summary(job: Job, rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> list[dict[str, str]]:
    """Return a row per contender: medians over rounds, and the ratio to the base with its lowest and highest round."""
    rows = []
    for name in rounds[0]:
        ratios = [found[name][job.time] / found[job.base][job.time] for found in rounds]
        medians = {key: statistics.median(found[name][key] for found in rounds) for key in (job.time, *job.columns)}
        row = {
            "contender": job.contenders[name],
            job.time: _short(medians[job.time]),
            "ratio": _short(statistics.median(ratios)),
            "in rounds": f"{_short(min(ratios))} to {_short(max(ratios))}",
            **{heading: f"{medians[key]:{form}}" for key, (heading, form) in job.columns.items()},
        }
        if rounds[0][job.base].get("seconds by device events"):
            row["device s"] = _short(rounds[0][name].get("seconds by device events") or float("nan"))
        rows.append(row)
    return rows


def _short(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def machine() -> dict[str, str]:
    """Describe the machine and the software of the measurement."""
    import keras
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = models[0] if models else cpu
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    software = f"Python {platform.python_version()}, torch {torch.__version__}, Keras {keras.__version__}"
    return {"processor": f"{cpu}, {os.cpu_count()} cores, {device}", "software": software}


def markdown(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows as a Markdown table."""
    columns = list(rows[0])
    lines = [
        "| " + " | ".join(columns) + " |",
        "|---" + "|---:" * (len(columns) - 1) + "|",
        *("| " + " | ".join(row.values()) + " |" for row in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, SETTINGS)
