"""Time this project and other ways to train its networks.

    make bench
    make bench ARGS="--rounds 5 --jax-python jaxenv/bin/python"
    k3torch bench --jobs reviews --contenders torch-bag numba

reviews: 15,000 film reviews to train and 10,000 to validate, 10,000 words, 16-16-1, RMSprop, batches of 512; seconds
per epoch, validation included (the rungs of ladder.py validate in batches of 2,500, the peers in PyTorch and Numba in
one, Keras peers in batches of 512). boston: 13-64-64-1, RMSprop, batches of one sample; microseconds per update of one
model (the stacks and JAX train 4 or 32 models at once). sizes: cross-validation of networks with two hidden layers, on
a grid of eight lines from 404 samples, width 64 and batches of one to 20,000 samples, width 1,024 and batches of 256;
seconds of the whole job without imports, and microseconds per update after start-up, also as plots.

In each round every contender runs once, in a process of its own, so that a slow minute of the machine affects all of
them; an epoch's time is the median over a run's epochs without the first. A ratio is a contender's time divided by
that of the table's base in the same round: the median, and the lowest and highest. The base is the first row, and for
sizes JAX. On two cores reviews and boston take eight minutes with all contenders, sizes a quarter of an hour for each
optimizer. The tables are also written to the run folder, as benchmark.md.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Flag, Machine, Output, ReviewSource, shown_as

JobName = Literal["reviews", "boston", "sizes"]
Optimizer = Literal["adam", "rmsprop", "sgd-momentum"]
Line = Literal[1, 2, 3, 4, 5, 6, 7, 8]
Contender = Literal[
    "rung-1", "rung-2", "rung-3", "rung-4", "rung-5", "rung-6", "keras-torch", "torch-dense", "torch-bag", "numba",
    "keras-jax", "keras-tensorflow", "stacked-4", "stacked-32", "torch", "jax-4", "jax-32",
    "k3torch-cached", "k3torch-cold", "jax", "keras-fit",
]  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    jobs: Annotated[tuple[JobName, ...], shown_as("{reviews,boston,sizes} ...")] = ("reviews", "boston", "sizes")
    """Networks to train."""
    source: ReviewSource = "auto"
    """Reviews, as for train-imdb."""
    num_words: int = 10_000
    """Width of the bags: the number of most frequent words that are told apart."""
    epochs: int = 6
    """Timed epochs per run of reviews and boston, after a first one that is not timed."""
    rounds: int = 3
    """How often each contender runs."""
    contenders: Annotated[tuple[Contender, ...], shown_as("NAME ...", "all that are installed")] = ()
    """What to run beside the first contender of each job. reviews has rung-1 to rung-6, keras-torch, torch-dense,
    torch-bag, numba, keras-jax, keras-tensorflow; boston has stacked-4, stacked-32, keras-torch, torch, numba, jax-4,
    jax-32, keras-jax, keras-tensorflow; sizes has k3torch-cached, k3torch-cold, jax, keras-fit."""
    lines: Annotated[tuple[Line, ...], shown_as("NUMBER ...", "1 to 8")] = (1, 2, 3, 4, 5, 6, 7, 8)
    """Lines of the grid of sizes."""
    optimizers: Annotated[tuple[Optimizer, ...], shown_as("{adam,rmsprop,sgd-momentum} ...")] = ("adam",)
    """Optimizers of sizes."""
    allow_load: Flag = False
    """Measure even if the load average is over 1.5, which other programs cause: they change the ratios too."""
    jax_python: Annotated[Path | None, shown_as("PATH", "none")] = None
    """Python interpreter of an environment with Keras and JAX, for the contenders that need them; sizes needs JAX."""
    tensorflow_python: Annotated[Path | None, shown_as("PATH", "none")] = None
    """Python interpreter of an environment with Keras and TensorFlow, for the contender that needs them."""
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Sequence
from datetime import date
import os
import statistics
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
from k3torch.reports import sizes, tables
from k3torch.reports.benchmark import JOBS, markdown, summary
from k3torch.reports.contenders import environment_on, printed_by
from k3torch.reports.machine import check_load, describe_machine, kernel_settings, missing_package
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.training.progress import EpochBar
import numpy as np
import scipy.sparse

HERE = Path(__file__).parent
Pythons = dict[str, dict[str, Path]]  # of each job, the contenders and the Python interpreter for each
PACKAGES = {  # that a contender needs beside those of this project
    "numba": ("numba",), "jax": ("jax",), "jax-4": ("jax",), "jax-32": ("jax",), "keras-jax": ("jax", "keras"),
    "keras-tensorflow": ("tensorflow", "keras"),
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A job, or one line of the grid with one optimizer, and what its script is told after the contender's name."""

    name: str
    job: str
    arguments: tuple[object, ...]


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


WRITE_DATA = {"reviews": write_reviews, "boston": write_boston}  # the contenders of sizes draw their samples


def main(settings: Settings) -> None:
    """Run all rounds of all jobs, and leave a run folder."""
    check(settings)
    pythons = interpreters(settings)
    runtime.configure(**vars(settings.machine))  # refuses a device that this machine lacks
    load = check_load(settings.allow_load)
    with tempfile.TemporaryDirectory() as folder:
        tasks = tasks_of(settings, Path(folder))
        with RunFolder("benchmark", settings) as run:
            run.metrics |= {"machine": describe_machine(), "load average": load, "kernel settings": kernel_settings()}
            run_all(settings, pythons, tasks, run, Path(folder))
            tables_of = results(settings, run)
            about = f"{date.today()}, {'; '.join(describe_machine().values())}. {caption(settings, load)}"
            parts = [f"## {title}\n\n{markdown(rows)}" for title, rows in tables_of.items()]
            with run.draft("benchmark.md") as path:
                path.write_text("\n\n".join([about, *parts]) + "\n")
            run.results = [about, *(table(title, rows) for title, rows in tables_of.items())]
    print(f"written to {run.path}\n")
    tables.show_results(run.results)


def table(title: str, rows: list[dict[str, Any]]) -> tables.ResultTable:
    return tables.ResultTable(title, list(rows[0]), [tuple(row.values()) for row in rows])


def tasks_of(settings: Settings, folder: Path) -> list[Task]:
    """Write the data of the jobs into the folder, and return what the contenders run on."""
    found = []
    for job in dict.fromkeys(settings.jobs):
        if job == "sizes":
            found += [
                Task(size_name(optimizer, line), job, (optimizer, *sizes.GRID[line - 1]))
                for optimizer in dict.fromkeys(settings.optimizers)
                for line in sorted(set(settings.lines))
            ]
        else:
            WRITE_DATA[job](path := folder / f"{job}.npz", settings)
            found.append(Task(job, job, (path, settings.epochs + 1)))
    return found


def size_name(optimizer: str, line: int) -> str:
    """Return the name of a task of the job sizes, in the metrics of the run folder too."""
    return f"sizes, {optimizer}, line {line}"


def run_all(settings: Settings, pythons: Pythons, tasks: Sequence[Task], run: RunFolder, folder: Path) -> None:
    """Run each contender in each round; an interrupted run keeps the results so far in its metrics."""
    with EpochBar("runs", settings.rounds * sum(len(pythons[task.job]) for task in tasks)) as bar:
        for task in tasks:
            rounds: list[dict[str, Any]] = run.metrics.setdefault(task.name, [])
            time = JOBS[task.job].time
            for _ in range(settings.rounds):
                rounds.append({})
                for contender, python in pythons[task.job].items():
                    found = measure(task, contender, python, settings, folder)
                    rounds[-1][contender] = found
                    bar.advance({f"{contender}: {time}": found[time]})


def results(settings: Settings, run: RunFolder) -> dict[str, list[dict[str, str]]]:
    """Return the tables by title, and draw the plots."""
    found: dict[str, list[dict[str, str]]] = {}
    for name in dict.fromkeys(settings.jobs):
        job = JOBS[name]
        if name != "sizes":
            found[name] = summary(job, run.metrics[name])
            continue
        for optimizer in dict.fromkeys(settings.optimizers):
            lines: dict[int, Any] = {
                line: run.metrics[size_name(optimizer, line)] for line in sorted(set(settings.lines))
            }
            tables_of = sizes.size_tables(job, lines)
            found |= {f"sizes, {optimizer}: {title}": rows for title, rows in tables_of.items()}
            sizes.plot_sizes(run.plot(f"sizes-{optimizer}"), job, lines, f"Cross-validation with {optimizer}")
    return found


def caption(settings: Settings, load: float | None) -> str:
    """Return what a reader must know of the tables."""
    parts = [f"Rounds: {settings.rounds}, epochs of reviews and boston: {settings.epochs}."]
    if load is not None:
        parts.append(f"Load average at the start: {load:.1f}.")
    parts += [f"{setting} is set." for setting in kernel_settings()]
    if "sizes" in settings.jobs:
        parts.append(sizes.CAPTION)
    return " ".join(parts)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "num_words", "epochs", "rounds")
    if not settings.jobs:
        raise InputError(f"expected at least one job among {', '.join(JOBS)}, got none")
    for option in ("lines", "optimizers"):
        if not getattr(settings, option):
            raise InputError(f"expected a value for --{option}, got none")
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
        found[job] = {JOBS[job].first: Path(sys.executable)}
        for name in wanted:
            other = {"jax": settings.jax_python, "tensorflow": settings.tensorflow_python}
            needed = PACKAGES.get(name, ())
            python = other.get(needed[0], Path(sys.executable)) if needed else Path(sys.executable)
            missing = f"--{needed[0]}-python" if python is None else missing_package(python, needed)
            if python is not None and missing is None:
                found[job][name] = python
            elif settings.contenders:
                place = "" if python is None else f" in the environment of {python}"
                raise InputError(f"expected {missing}{place} for the contender {name}, got none")
    return found


def measure(task: Task, name: str, python: Path, settings: Settings, folder: Path) -> dict[str, Any]:
    """Run one contender in a process of its own, and return its median time and the other results that it prints.

    A contender of sizes has a cache folder to itself: an empty one, or the one that an earlier run has filled.
    """
    if name.startswith("rung"):
        names = ("source", "num_words", "epochs", "device", "precision", "seed")
        options = [f"--{option.replace('_', '-')}={flat(settings)[option]}" for option in names]
        command = [sys.executable, HERE / "ladder.py", f"--rung={name[-1]}", *options]
    else:
        command = [python, HERE / f"benchmark_{task.job}.py", name, *task.arguments]
    environment = environment_on(os.environ.get("KERAS_TORCH_DEVICE", "cpu"))  # which runtime.configure sets
    if task.job == "sizes":
        cache = folder / f"cache of {task.name}"
        environment["K3TORCH_CACHE"] = str(cache if name == "k3torch-cached" else tempfile.mkdtemp(dir=folder))
        if name == "k3torch-cached" and not cache.exists():
            printed_by(name, command, environment)  # compiles
    found = printed_by(name, command, environment)
    time = JOBS[task.job].time
    if isinstance(found[time], list):
        found[time] = statistics.median(found[time][1:])
    return found


if __name__ == "__main__":
    cli.run(main, SETTINGS)
