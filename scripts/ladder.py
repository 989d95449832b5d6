"""Train the same network on every rung, from ``fit`` on arrays to the compiled step, and compare.

    make ladder
    make ladder ARGS="--epochs 10 --rungs 1 4 5"
    python scripts/ladder.py --rung 4

Every rung has the same reviews, first weights and order of batches, and runs in a process of its own, so that its
memory is its own. After one epoch its weights are held against those of rung 1: they differ by float32 rounding
alone. docs/ladder.md explains the rungs. Takes about a minute on two cores.
"""

from dataclasses import dataclass
import json
from pathlib import Path
import statistics
import subprocess
import sys
import tempfile
from typing import Annotated, Any

from k3torch import cli, runtime
from k3torch.data.bags import BagDataset, bag_of_words
from k3torch.data.imdb import load_data
from k3torch.errors import InputError
from k3torch.reports import tables
from k3torch.reports.ladder import plot_ladder
from k3torch.reports.run_folder import RunFolder, RunSettings, check_free
from k3torch.training import rungs
import keras
import numpy as np
import scipy.sparse
import torch
import tyro

# What a rung lets you change, and lines of yours beside the model (the code below, or that of the module named).
RUNGS = {
    1: ("the settings of compile and fit", 1),
    2: ("where rows come from, their order, what is done to them", 2),
    3: ("what a batch is; a layer that takes it", 3),
    4: ("what happens to a batch; fit's epochs, callbacks and logs stay", 3),
    5: ("everything", 25),
    6: ("as rung 4: the compiler joins the small operations", 4),
}
BATCH = 512
VALIDATION_BATCH = 2500  # nothing is learnt there, so a batch need not be small


@dataclass(frozen=True)
class Settings(RunSettings, runtime.MachineSettings):
    """What a person may choose."""

    source: Annotated[str, tyro.conf.arg(metavar="auto|keras|reviews|PATH")] = "auto"
    """Reviews, as in train_imdb.py."""
    num_words: int = 10_000
    """Width of the bags: the most frequent words that are told apart."""
    epochs: int = 6
    """Timed epochs a rung, after the one whose weights are compared."""
    rungs: tuple[int, ...] = tuple(RUNGS)
    """Rungs to climb; 1 is always among them, since the others are held against it."""
    rung: int | None = None
    """Train on this rung alone, here, and print its figures as JSON."""
    weights: Path | None = None
    """With --rung: write the weights after the first epoch to this .npz."""


def main(settings: Settings) -> None:
    for number in (*settings.rungs, *([settings.rung] if settings.rung is not None else [])):
        rungs.check_rung(number)
    cli.check_counts(settings, "epochs")
    if settings.weights is not None and not settings.weights.parent.is_dir():
        raise InputError(f"expected --weights in a folder that is there, got {settings.weights}: make it first")
    if settings.rung is not None:
        print(json.dumps(climb(settings.rung, settings)))
        return
    check_free(settings)
    with RunFolder("ladder", settings) as run:
        rows = compare(sorted({1, *settings.rungs}), settings)
        run.metrics |= {"rungs": rows}
        run.write_csv("ladder.csv", rows)
        plot_ladder(run.path / "ladder.png", rows)
    show(rows)
    print(f"\nThe run folder: {run.path}")


def compare(numbers: list[int], settings: Settings) -> list[dict[str, Any]]:
    """Climb each rung in a process of its own; the rows of the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            weights = Path(folder) / f"{number}.npz"
            changes, lines = RUNGS[number]
            found = in_process(number, weights, settings)
            difference = largest_difference(weights, Path(folder) / "1.npz")
            row = {"rung": number, "name": rungs.NAMES[number], "lets you change": changes, "lines": lines}
            rows.append({**row, **found, "weight difference": difference})
    return rows


def in_process(number: int, weights: Path, settings: Settings) -> dict[str, Any]:
    """Run this script for one rung, and return the figures that it prints."""
    wanted = {
        "--rung": number,
        "--weights": weights,
        **{f"--{name}": getattr(settings, name) for name in ("source", "epochs", "device", "precision", "seed")},
        "--num-words": settings.num_words,
    }
    arguments = [str(item) for pair in wanted.items() for item in pair]
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, check=False)
    if done.returncode == 2:  # bad input, said by the rung in one line
        raise InputError(done.stderr.strip().removeprefix("error: "))
    if done.returncode:
        raise RuntimeError(f"rung {number} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def largest_difference(ours: Path, theirs: Path) -> float:
    with np.load(ours) as a, np.load(theirs) as b:
        return max(float(np.abs(a[name] - b[name]).max()) for name in b.files)


def climb(number: int, settings: Settings) -> dict[str, Any]:
    """Train on one rung: one epoch for the weights, then ``epochs`` against the clock."""
    device = runtime.configure(settings.device, settings.precision, settings.seed)
    train, validation = batches(number, settings, device)
    model = rungs.build(number, settings.num_words)
    rows: list[dict[str, float]] = []
    for epochs in (1, settings.epochs):
        timer = DeviceTimer(device)
        rungs.train(number, model, train, validation=validation, epochs=epochs, title=f"rung {number}", history=rows)
        on_device = timer.seconds() / epochs
        if len(rows) == 1 and settings.weights:
            np.savez(settings.weights, *(keras.ops.convert_to_numpy(v) for v in model.trainable_variables))
    seconds = [row["seconds"] for row in rows[1:]]
    return {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "seconds by device events": on_device or None,
        "peak memory MB": runtime.peak_memory_mb(),
        "validation accuracy": rows[-1]["val_accuracy"],
    }


class DeviceTimer:
    """Measures on the device what the clock cannot see: the time between two events there; 0 on the CPU."""

    def __init__(self, device: Any):
        self.events: list[Any] = []
        if device.type == "cuda":
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]
            self.events[0].record()

    def seconds(self) -> float:
        """Wait for the device, and return the seconds between the two events."""
        if not self.events:
            return 0.0
        self.events[1].record()
        self.events[1].synchronize()
        return float(self.events[0].elapsed_time(self.events[1])) / 1e3


def batches(number: int, settings: Settings, device: Any) -> tuple[Any, Any]:
    """Return what ``fit`` takes on a rung: training and validation batches.

    The rows are shuffled here, once, so that all rungs see them in one order whatever serves them.
    """
    data = load_data(settings.source, settings.num_words)
    halves = (data.train, data.test) if data.source == "reviews" else (data.train,)
    bags = stack([bag_of_words(half.ids, half.offsets, settings.num_words) for half in halves])
    labels = np.concatenate([half.labels for half in halves])
    held_out = len(labels) * 2 // 5  # 10,000 of 25,000
    order = held_out + np.random.default_rng(settings.seed).permutation(len(labels) - held_out)
    rows = (order, np.arange(held_out))
    train, validation = (BagDataset(bags[part], labels[part], device=device) for part in rows)
    return rungs.serve(number, train, BATCH), rungs.serve(number, validation, VALIDATION_BATCH)


def stack(bags: list[Any]) -> Any:
    """Return the bags one under the other, as CSR."""
    return bags[0] if len(bags) == 1 else scipy.sparse.vstack(bags, format="csr")


def show(rows: list[dict[str, Any]]) -> None:
    first = rows[0]["seconds"]
    tables.show(
        "The ladder: the same training on every rung",
        ["rung", "s/epoch", "x rung 1", "MB", "accuracy", "differ"],
        [
            (
                f"{row['rung']} {row['name']}",
                f"{row['seconds']:.3f}",
                f"{first / row['seconds']:.1f}",
                f"{row['peak memory MB']:.0f}",
                f"{row['validation accuracy']:.4f}",
                f"{row['weight difference']:.0e}",
            )
            for row in rows
        ],
    )
    print("MB: peak memory; accuracy: of validation; differ: how far the weights are from rung 1's after an epoch")
    print("\nWhat each rung lets you change, and the lines of yours beside the model:")
    for row in rows:
        print(f"  {row['rung']}  {row['lets you change']} ({row['lines']})")


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
