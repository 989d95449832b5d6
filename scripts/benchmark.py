"""Time this project beside other ways to train the same networks, and the ratios between them.

    make bench
    make bench ARGS="--rounds 5 --jax-python jaxenv/bin/python --tensorflow-python tfenv/bin/python"
    python scripts/benchmark.py --jobs reviews --contenders torch-bag numba

reviews: 15,000 film reviews to train and 10,000 to validate, 10,000 words, 16-16-1, RMSprop, batches of 512; seconds
of an epoch, validation included (the rungs of ladder.py validate in batches of 2,500, the peers in PyTorch and Numba
in one, Keras peers in the batches that they train on). boston: 13-64-64-1, RMSprop, batches of one row; microseconds
for each update of one model (the stacks and JAX train 4 or 32 models at once).

In each round every contender runs once, in a process of its own, so that a slow minute of the machine meets all of
them; an epoch's time is the median over a run's epochs but the first. A ratio is a way's time by that of the table's
first row, taken within a round: the median, and the lowest and highest. Takes eight minutes on two cores with all of
them; the tables also land in the run folder as benchmark.md.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
import importlib.util
import json
import os
from pathlib import Path
import platform
import statistics
import subprocess
import sys
import tempfile
from typing import Annotated, Any

from k3torch import cli, runtime
from k3torch.data import boston
from k3torch.data.bags import bag_of_words
from k3torch.data.imdb import load_data
from k3torch.data.scaling import Standardizer
from k3torch.errors import InputError, did_you_mean
from k3torch.reports import tables
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
import numpy as np
import scipy.sparse
import tyro

HERE = Path(__file__).parent
JAX, TENSORFLOW = ("keras-jax", "jax-4", "jax-32"), ("keras-tensorflow",)


@dataclass(frozen=True)
class Settings(RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    jobs: tuple[str, ...] = ("reviews", "boston")
    """Which networks to train."""
    source: Annotated[str, tyro.conf.arg(metavar="auto|keras|reviews|PATH")] = "auto"
    """Reviews, as in train_imdb.py."""
    num_words: int = 10_000
    """Width of the bags."""
    epochs: int = 6
    """Timed epochs a run; a first one is not counted."""
    rounds: int = 3
    """How often each contender runs."""
    contenders: tuple[str, ...] = ()
    """Which to run beside the one that the ratios refer to; by default all that are installed."""
    jax_python: Path | None = None
    """Python of an environment with Keras and JAX, for the contenders that need it."""
    tensorflow_python: Path | None = None
    """Python of an environment with Keras and TensorFlow, for the contender that needs it."""


@dataclass(frozen=True)
class Job:
    """One network to train: who does it, whom the ratios refer to, and what is measured."""

    contenders: dict[str, str]
    base: str
    time: str  # the key of the times that a contender prints
    columns: dict[str, tuple[str, str]]  # its other keys: their headings, and how to print them
    write_data: Callable[[Path, Settings], None]
    script: str


def write_reviews(path: Path, settings: Settings) -> None:
    """Write the reviews that the peers read: the rows that ladder.py trains and validates on."""
    data = load_data(settings.source, settings.num_words)
    halves = (data.train, data.test) if data.source == "reviews" else (data.train,)
    bags = scipy.sparse.vstack([bag_of_words(h.ids, h.offsets, settings.num_words) for h in halves], format="csr")
    labels = np.concatenate([half.labels for half in halves])
    held_out = len(labels) * 2 // 5
    np.savez(path, offsets=bags.indptr.astype(np.int64), ids=bags.indices, labels=labels, num_words=settings.num_words,
             validation=np.arange(held_out), train=np.arange(held_out, len(labels)))  # fmt: skip


def write_boston(path: Path, _: Settings) -> None:
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
    check(settings)
    pythons = interpreters(settings)
    with RunFolder("benchmark", settings) as run, tempfile.TemporaryDirectory() as folder:
        run.metrics |= {"machine": machine()}
        text = f"{date.today()}, {'; '.join(machine().values())}. Rounds: {settings.rounds}, epochs: {settings.epochs}."
        for name in settings.jobs:
            job, data = JOBS[name], Path(folder) / f"{name}.npz"
            job.write_data(data, settings)
            rounds = [
                {contender: measure(job, contender, data, pythons, settings) for contender in pythons[name]}
                for _ in range(settings.rounds)
            ]
            rows = summary(job, rounds)
            run.metrics[name] = rounds
            tables.show(name, list(rows[0]), [tuple(row.values()) for row in rows])
            text += f"\n\n{markdown(rows)}"
        (run.path / "benchmark.md").write_text(text + "\n")
    print(f"written to {run.path}")


def check(settings: Settings) -> None:
    cli.check_counts(settings, "epochs", "rounds")
    if not settings.jobs:
        raise InputError(f"expected at least one job among {', '.join(JOBS)}, got none: name some")
    for job in settings.jobs:
        if job not in JOBS:
            raise InputError(f"expected jobs among {', '.join(JOBS)}, got {job!r}{did_you_mean(job, JOBS)}")
    for option, python in (("jax", settings.jax_python), ("tensorflow", settings.tensorflow_python)):
        if python is not None and not (python.is_file() and os.access(python, os.X_OK)):
            raise InputError(f"expected a Python interpreter for --{option}-python, found none at {python}: check it")
    known = {name for job in settings.jobs for name in JOBS[job].contenders}
    for name in settings.contenders:
        if name not in known:
            raise InputError(
                f"expected contenders among {', '.join(sorted(known))}, got {name!r}{did_you_mean(name, known)}"
            )
    check_free(settings)


def interpreters(settings: Settings) -> dict[str, dict[str, Path]]:
    """Return for each job the contenders that can run here and were asked for, and the Python that runs each."""
    found: dict[str, dict[str, Path]] = {}
    for job in settings.jobs:
        wanted = [n for n in JOBS[job].contenders if not settings.contenders or n in settings.contenders]
        found[job] = {JOBS[job].base: Path(sys.executable)}
        for name in wanted:
            other = settings.jax_python if name in JAX else settings.tensorflow_python if name in TENSORFLOW else None
            missing = name in JAX + TENSORFLOW or (name == "numba" and not importlib.util.find_spec("numba"))
            if other is not None or not missing:
                found[job][name] = other or Path(sys.executable)
            elif settings.contenders:
                raise InputError(f"expected what {name} needs, found none: give --jax-python or --tensorflow-python")
    return found


def measure(
    job: Job, name: str, data: Path, pythons: Mapping[str, Mapping[str, Path]], settings: Settings
) -> dict[str, float]:
    """Run one contender in a process of its own; its time an epoch or update, and what else it prints."""
    if name.startswith("rung"):
        options = {key: getattr(settings, key) for key in ("source", "epochs", "device", "precision", "seed")}
        command = [sys.executable, HERE / "ladder.py", f"--rung={name[-1]}", f"--num-words={settings.num_words}",
                   *(f"--{key}={value}" for key, value in options.items())]  # fmt: skip
    else:
        python = next(found[name] for job_name, found in pythons.items() if JOBS[job_name] is job)
        command = [python, HERE / job.script, name, data, settings.epochs + 1]
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
    """Return a row a contender: medians over rounds, and the ratio to the base with its lowest and highest round."""
    rows = []
    for name in rounds[0]:
        ratios = [found[name][job.time] / found[job.base][job.time] for found in rounds]
        medians = {key: statistics.median(found[name][key] for found in rounds) for key in (job.time, *job.columns)}
        row = {
            "way": job.contenders[name],
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
    """Say what the figures were taken on."""
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
    columns = list(rows[0])
    lines = [
        "| " + " | ".join(columns) + " |",
        "|---" + "|---:" * (len(columns) - 1) + "|",
        *("| " + " | ".join(row.values()) + " |" for row in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
