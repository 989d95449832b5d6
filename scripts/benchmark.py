"""Time the rungs of the ladder beside other ways to train the same classifier, and the ratios between them.

    make bench
    make bench ARGS="--rounds 5 --jax-python jaxenv/bin/python --tensorflow-python tfenv/bin/python"
    python scripts/benchmark.py --contenders rung-4 torch-bag numba

15,000 film reviews to train and 10,000 to validate, 10,000 words, 16-16-1, RMSprop, batches of 512; an epoch is
training and validation (the rungs validate in batches of 2,500, the peers in PyTorch and Numba in one, the Keras
peers as Keras does, in the batches they train on). In each round every contender runs once, in a process of its
own, so that a slow minute of
the machine meets all of them. Ratios are taken within a round. Takes about two minutes on two cores; the table also
lands in the run folder as benchmark.md.
"""

from collections.abc import Mapping, Sequence
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
from k3torch.data.bags import bag_of_words
from k3torch.data.imdb import load_data
from k3torch.errors import InputError, did_you_mean
from k3torch.reports import tables
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
import numpy as np
import scipy.sparse
import tyro

HERE = Path(__file__).parent
OURS = {
    "rung-1": "1 fit on arrays",
    "rung-2": "2 fit on a dense DataLoader",
    "rung-3": "3 fit on the sparse DataLoader",
    "rung-4": "4 an overridden train_step",
    "rung-5": "5 a loop of one's own",
    "rung-6": "6 the compiled step",
}
PEERS = {
    "keras-torch": "Keras on torch, fit on a matrix, shuffled",
    "torch-dense": "PyTorch, dense",
    "torch-bag": "PyTorch, EmbeddingBag",
    "numba": "Numba loop, one core",
    "keras-jax": "Keras on JAX, fit on a matrix",
    "keras-tensorflow": "Keras on TensorFlow, fit on a matrix",
}
BASE = "rung-4"


@dataclass(frozen=True)
class Settings(RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    source: Annotated[str, tyro.conf.arg(metavar="auto|keras|reviews|PATH")] = "auto"
    """Reviews, as in train_imdb.py."""
    num_words: int = 10_000
    """Width of the bags."""
    epochs: int = 6
    """Timed epochs a run; a first one is not counted."""
    rounds: int = 3
    """How often each contender runs."""
    contenders: tuple[str, ...] = ()
    """Which to run, rung-4 always among them; by default all that are installed."""
    jax_python: Path | None = None
    """Python of an environment with Keras and JAX, for the contender keras-jax."""
    tensorflow_python: Path | None = None
    """Python of an environment with Keras and TensorFlow, for the contender keras-tensorflow."""


def main(settings: Settings) -> None:
    pythons = interpreters(settings)
    names = chosen(settings, pythons)
    check_free(settings)
    with RunFolder("benchmark", settings) as run, tempfile.TemporaryDirectory() as folder:
        bags = write_bags(Path(folder) / "bags.npz", settings)
        rounds = []
        for _ in range(settings.rounds):
            rounds.append({name: measure(name, bags, pythons, settings) for name in names})
        run.metrics |= {"rounds": rounds, "machine": machine()}
        rows = summary(names, rounds)
        (run.path / "benchmark.md").write_text(markdown(rows, settings))
    tables.show(
        f"Seconds an epoch, and how many times those of {BASE}", list(rows[0]), [tuple(r.values()) for r in rows]
    )
    print(f"\nThe run folder: {run.path}")


def interpreters(settings: Settings) -> dict[str, Path]:
    """Return the Python that runs each peer that can run here."""
    found = {name: Path(sys.executable) for name in ("keras-torch", "torch-dense", "torch-bag")}
    if importlib.util.find_spec("numba"):
        found["numba"] = Path(sys.executable)
    for name, python in (("keras-jax", settings.jax_python), ("keras-tensorflow", settings.tensorflow_python)):
        if python is not None:
            if not python.exists():
                raise InputError(f"expected a Python interpreter for {name}, found no file {python}: give another path")
            found[name] = python
    return found


def chosen(settings: Settings, pythons: Mapping[str, Path]) -> list[str]:
    for name in ("epochs", "rounds"):
        if getattr(settings, name) < 1:
            raise InputError(f"expected {name} of 1 or more, got {getattr(settings, name)}: choose another")
    can_run = [*OURS, *(name for name in PEERS if name in pythons)]
    for name in settings.contenders:
        if name not in can_run:
            raise InputError(
                f"expected contenders among {', '.join(can_run)}, got {name!r}{did_you_mean(name, can_run)}: "
                "the others need their package or --jax-python, --tensorflow-python"
            )
    return [name for name in can_run if not settings.contenders or name in (BASE, *settings.contenders)]


def write_bags(path: Path, settings: Settings) -> Path:
    """Write the reviews that the peers read: the rows that ladder.py trains and validates on."""
    data = load_data(settings.source, settings.num_words)
    halves = (data.train, data.test) if data.source == "reviews" else (data.train,)
    bags = scipy.sparse.vstack([bag_of_words(h.ids, h.offsets, settings.num_words) for h in halves], format="csr")
    labels = np.concatenate([half.labels for half in halves])
    held_out = len(labels) * 2 // 5
    np.savez(path, offsets=bags.indptr.astype(np.int64), ids=bags.indices, labels=labels, num_words=settings.num_words,
             validation=np.arange(held_out), train=np.arange(held_out, len(labels)))  # fmt: skip
    return path


def measure(name: str, bags: Path, pythons: Mapping[str, Path], settings: Settings) -> dict[str, float]:
    """Run one contender in a process of its own; seconds an epoch, peak memory, validation accuracy."""
    if name in OURS:
        options = {key: getattr(settings, key) for key in ("source", "epochs", "device", "precision", "seed")}
        arguments = [f"--{key}={value}" for key, value in options.items()]
        command = [sys.executable, HERE / "ladder.py", f"--rung={name[-1]}", *arguments,
                   f"--num-words={settings.num_words}"]  # fmt: skip
    else:
        command = [pythons[name], HERE / "benchmark_peers.py", name, bags, settings.epochs + 1]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KERAS_")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, env=environment)
    if done.returncode == 2:
        raise InputError(done.stderr.strip().removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if name not in OURS:
        found["seconds"] = statistics.median(found["seconds"][1:])
    return found


def summary(names: Sequence[str], rounds: Sequence[Mapping[str, Mapping[str, float]]]) -> list[dict[str, str]]:
    """Return a row a contender: medians over rounds, and the ratio's lowest and highest round."""
    rows = []
    for name in names:
        ratios = [found[name]["seconds"] / found[BASE]["seconds"] for found in rounds]
        median = {key: statistics.median(found[name][key] for found in rounds)
                  for key in ("seconds", "peak memory MB", "validation accuracy")}  # fmt: skip
        row = {
            "way": {**OURS, **PEERS}[name],
            "s/epoch": f"{median['seconds']:.3f}",
            f"times {BASE}": f"{statistics.median(ratios):.2f}",
            "lowest to highest": f"{min(ratios):.2f} to {max(ratios):.2f}",
            "peak MB": f"{median['peak memory MB']:.0f}",
            "val. accuracy": f"{median['validation accuracy']:.4f}",
        }
        if by_events := rounds[0][BASE].get("seconds by device events"):
            row["s/epoch by events"] = f"{rounds[0][name].get('seconds by device events') or by_events:.3f}"
        rows.append(row)
    return rows


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


def markdown(rows: Sequence[Mapping[str, str]], settings: Settings) -> str:
    columns = list(rows[0])
    lines = [
        f"{date.today()}: {settings.rounds} rounds of {settings.epochs} epochs. " + "; ".join(machine().values()) + ".",
        "",
        "| " + " | ".join(columns) + " |",
        "|---" + "|---:" * (len(columns) - 1) + "|",
        *("| " + " | ".join(row.values()) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
