"""Train the same network on every rung of the ladder.

    make ladder
    make ladder ARGS="--epochs 10 --rungs 1 4 5"
    k3torch ladder --rung 4

The rungs lead from fit on arrays to several processes, here two. Every rung has the same reviews, initial weights and
order of batches, and runs in a process of its own, so that its memory is its own. After one epoch its weights are
compared with those of rung 1: they differ by float32 rounding alone. docs/ladder.md explains the rungs. Takes about a
minute on two cores.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from k3torch import cli
from k3torch.options import Machine, Output, ReviewSource, Rung, shown_as


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    source: ReviewSource = "auto"
    """Reviews, as for train-imdb."""
    num_words: int = 10_000
    """Width of the bags: the number of most frequent words that are told apart."""
    epochs: int = 6
    """Timed epochs per rung, after the one whose weights are compared."""
    rungs: Annotated[tuple[Rung, ...], shown_as("{1,2,3,4,5,6,7} ...")] = get_args(Rung)
    """Rungs to run; 1 is always among them, because the others are compared with it."""
    rung: Annotated[Rung | None, shown_as("{1,2,3,4,5,6,7}", "all of --rungs")] = None
    """Run this rung alone, in this process, and print its results as JSON."""
    weights: Annotated[Path | None, shown_as("PATH", "none")] = None
    """With --rung: write the weights after the first epoch to this .npz."""
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Callable
from dataclasses import replace
from functools import partial
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from k3torch import processes, runtime
from k3torch.data.bags import BagDataset, bag_of_words
from k3torch.data.imdb import load_data
from k3torch.errors import InputError
from k3torch.options import flat
from k3torch.reports import tables
from k3torch.reports.ladder import plot_ladder
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.training import rungs
from k3torch.training.distributed import process_group
from k3torch.training.progress import EpochBar
import keras
import numpy as np
import scipy.sparse
import torch

# What a rung lets you change, and how many lines of code you write besides the model.
RUNGS = {
    1: ("the settings of compile and fit", 1),
    2: ("where samples come from, their order, their preprocessing", 2),
    3: ("what a batch is, and a layer that takes it", 3),
    4: ("what happens to a batch; fit's epochs, callbacks and logs stay", 3),
    5: ("everything", 25),
    6: ("as rung 4: the compiler joins the small operations", 4),
    7: ("how many processes train", 5),
}
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
EPOCH = "epoch "
BATCH = 512
VALIDATION_BATCH = 2500  # no update follows, so a batch need not be small


def main(settings: Settings) -> None:
    """Run one rung here, or all of them and leave a run folder."""
    check(settings)
    if settings.rung is not None:
        print(json.dumps(measure(settings.rung, settings)))
        return
    runtime.configure(**vars(settings.machine))  # refuses a device that this machine lacks
    data = load_data(settings.source, settings.num_words)
    print(cli.wrapped(data.reason))
    found = replace(settings, source=data.source)  # so that no rung searches again
    del data
    rows: list[dict[str, Any]] = []
    with RunFolder("ladder", settings) as run:
        try:
            compare(sorted({1, *settings.rungs}), found, rows)
        finally:  # an interrupted run keeps the complete rungs
            run.metrics |= {"rungs": rows}
            if rows:
                run.write_csv("ladder.csv", rows)
        plot_ladder(run.plot("ladder"), rows, "film reviews")
        run.results = results(rows)
    show(rows, run)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    cli.check_counts(settings, "num_words", "epochs")
    if settings.rung is None:
        if settings.weights is not None:
            raise InputError("expected --rung with --weights, got none: add the rung that writes them")
    elif settings.output != Output() or settings.rungs != Settings.rungs:
        raise InputError(
            "expected --rung without --rungs, --out, --force and --format, got some: its results are only printed"
        )
    if settings.weights is not None and not settings.weights.parent.is_dir():
        raise InputError(f"expected --weights in a folder that exists, got {settings.weights}")
    check_free(settings.output)


def compare(numbers: list[int], settings: Settings, rows: list[dict[str, Any]]) -> None:
    """Run each rung in a process of its own, and append the rows of the table to ``rows``."""
    with tempfile.TemporaryDirectory() as folder:
        for place, number in enumerate(numbers, start=1):
            weights = Path(folder) / f"{number}.npz"
            changes, lines = RUNGS[number]
            title = f"{place} of {len(numbers)}: {rungs.NAMES[number]}"
            with EpochBar(title, settings.epochs + 1) as bar:
                found = in_process(number, weights, settings, partial(bar.advance, {}))
            difference = largest_difference(weights, Path(folder) / "1.npz")
            row = {"rung": number, "name": rungs.NAMES[number], "lets you change": changes, "lines": lines}
            rows.append({**row, **found, "weight difference": difference})


def in_process(number: int, weights: Path, settings: Settings, advance: Callable[[], None]) -> dict[str, Any]:
    """Run this script for one rung in another process, and return the results that it prints.

    ``advance`` is called after each of its epochs.
    """
    names = ("source", "num_words", "epochs", "device", "precision", "seed")
    wanted = {"rung": number, "weights": weights} | {name: flat(settings)[name] for name in names}
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in wanted.items()]
    said = ""
    command = [sys.executable, *(TORCHRUN if number == rungs.SEVERAL else ()), __file__, *arguments]
    threads = {"OMP_NUM_THREADS": "1"} if number == rungs.SEVERAL else {}  # or torchrun prints that it sets it
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | threads
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if line.startswith(EPOCH):
                    advance()
                else:
                    said += line
            printed = process.stdout.read()
        except BaseException:  # an interrupt: leaving the block waits for the process
            process.terminate()  # torchrun ends its processes then
            raise
    refused = next((line for line in said.splitlines() if line.startswith("error: ")), None)
    if process.returncode and refused:  # bad input, reported in one line
        raise InputError(refused.removeprefix("error: "))
    if process.returncode:
        raise RuntimeError(f"rung {number} failed:\n{said}")
    return dict(json.loads(printed.splitlines()[-1]))


def largest_difference(ours: Path, theirs: Path) -> float:
    """Return the largest absolute difference of the weights in two .npz files."""
    with np.load(ours) as a, np.load(theirs) as b:
        return max(float(np.abs(a[name] - b[name]).max()) for name in b.files)


def measure(number: int, settings: Settings) -> dict[str, Any]:
    """Train on one rung: one epoch for the weights, then ``epochs`` that are timed."""
    device = runtime.configure(**vars(settings.machine))
    with process_group(device):
        return measured(number, settings, device)


def measured(number: int, settings: Settings, device: Any) -> dict[str, Any]:
    """Do so in this process, which may be one of several."""
    train, validation = batches(number, settings, device)
    model = rungs.build(number, settings.num_words)
    history: list[dict[str, float]] = ReportedHistory()
    title = f"rung {number}"
    for epochs in (1, settings.epochs):
        timer = DeviceTimer(device)
        rungs.train(number, model, train, validation=validation, epochs=epochs, title=title, history=history)
        on_device = timer.seconds() / epochs
        if len(history) == 1 and settings.weights and processes.is_main():
            np.savez(settings.weights, *(keras.ops.convert_to_numpy(v) for v in model.trainable_variables))
    seconds = [epoch["seconds"] for epoch in history[1:]]
    return {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "seconds by device events": on_device or None,
        "threads": torch.get_num_threads() if number in rungs.DENSE else 1,
        "peak memory MB": runtime.peak_memory_mb(),
        "peak GPU memory MB": runtime.peak_memories().get("peak_gpu_memory_mb"),
        "validation accuracy": history[-1]["val_accuracy"],
    }


class ReportedHistory(list[dict[str, float]]):
    """A history that prints a line on standard error for each epoch, unless that is a terminal, which has a bar."""

    def append(self, epoch: dict[str, float]) -> None:
        """Append the epoch, and tell the process that started this one."""
        super().append(epoch)
        if not sys.stderr.isatty() and processes.is_main():
            print(f"{EPOCH}{len(self)}", file=sys.stderr, flush=True)


class DeviceTimer:
    """Measures the time between two CUDA events, which includes kernels that run asynchronously; 0 on the CPU."""

    def __init__(self, device: Any):
        self.events: list[Any] = []
        if device.type == "cuda":
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]
            self.events[0].record()

    def seconds(self) -> float:
        """Synchronise with the device, and return the seconds since the timer was made."""
        if not self.events:
            return 0.0
        self.events[1].record()
        self.events[1].synchronize()
        return float(self.events[0].elapsed_time(self.events[1])) / 1e3


def batches(number: int, settings: Settings, device: Any) -> tuple[Any, Any]:
    """Return the training and validation batches as ``fit`` takes them on a rung.

    The samples are shuffled here, once, so that their order does not depend on the rung.
    """
    data = load_data(settings.source, settings.num_words)
    halves = (data.train, data.test) if data.source == "reviews" else (data.train,)
    bags = stack([bag_of_words(half.ids, half.offsets, settings.num_words) for half in halves])
    labels = np.concatenate([half.labels for half in halves])
    held_out = len(labels) * 2 // 5  # 10,000 of 25,000
    order = held_out + np.random.default_rng(settings.machine.seed).permutation(len(labels) - held_out)
    parts = (order, np.arange(held_out))
    train, validation = (BagDataset(bags[part], labels[part], device=device) for part in parts)
    return rungs.serve(number, train, BATCH), rungs.serve(number, validation, VALIDATION_BATCH)


def stack(bags: list[Any]) -> Any:
    """Return the bags concatenated along the samples, as CSR."""
    return bags[0] if len(bags) == 1 else scipy.sparse.vstack(bags, format="csr")


NOTES = (
    "s/epoch: median, validation included; speed: relative to rung 1; threads: of torch; MB: peak memory; "
    "differ: largest difference between a rung's weights and those of rung 1 after an epoch"
)


def show(rows: list[dict[str, Any]], run: RunFolder) -> None:
    """Print what each rung lets you change, and what it costs."""
    print("What each rung lets you change (lines of code besides the model):")
    for row in rows:
        print(f"  {row['rung']}  {row['lets you change']} ({row['lines']})")
    print(f"\nwritten to {run.path}")
    tables.show_results(results(rows))


def results(rows: list[dict[str, Any]]) -> list[tables.ResultTable | str]:
    """Return what each rung costs, relative to rung 1."""
    first = rows[0]["seconds"]
    table = tables.ResultTable(
        "The same training on every rung",
        ["rung", "s/epoch", "speed", "threads", "MB", "differ"],
        [
            (
                f"{row['rung']} {row['name']}",
                f"{row['seconds']:.3f}",
                f"{first / row['seconds']:.1f}",
                row["threads"],
                f"{row['peak memory MB']:.0f}",
                f"{row['weight difference']:.0e}",
            )
            for row in rows
        ],
    )
    return [NOTES, table]


if __name__ == "__main__":
    cli.run(main, SETTINGS)
