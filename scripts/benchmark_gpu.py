"""Time training on a GPU: many small models side by side, and film reviews.

    python scripts/benchmark_gpu.py
    python scripts/benchmark_gpu.py --models 32 128 --batch-size 16

Each way trains as many networks 13-64-64-1 as --models says, each on 303 random samples, and prints microseconds of a
step of all models: by one kernel for all steps of an epoch, by kernels that torch.compile fuses, and by the kernels of
the operators; the last two as CUDA graphs. Then FastModel trains the lecture's classifier of film reviews, on dense
batches with CUDA graphs and on sparse ones without, and prints milliseconds of an epoch, validation included. The
first epochs are not counted. The tables are also written to the run folder, as benchmark.md.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Output, ReviewSource, shown_as

Way = Literal["kernel", "fused", "operators"]


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    models: Annotated[tuple[int, ...], shown_as("NUMBER ...")] = (4, 32, 128, 256, 1024)
    """Numbers of models that are trained side by side; none measures none."""
    ways: Annotated[tuple[Way, ...], shown_as("{kernel,fused,operators} ...")] = ("kernel", "fused", "operators")
    """How they are trained."""
    optimizer: Literal["rmsprop", "adam", "sgd"] = "rmsprop"
    """Optimizer of the models."""
    batch_size: int = 1
    """Samples in a batch of the models."""
    epochs: int = 8
    """Epochs of each training, the first ones included."""
    source: ReviewSource = "auto"
    """Reviews, as for train-imdb."""
    output: Output = Output()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from datetime import date
from functools import partial
from itertools import product
import statistics
import time
from typing import Any

from k3torch import runtime
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.imdb import load_data
from k3torch.errors import InputError, count_problem, refuse
from k3torch.models.builders import boston_regressor, imdb_classifier
from k3torch.reports import tables
from k3torch.reports.benchmark import markdown
from k3torch.reports.machine import describe_machine
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.stack import stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.mapped_models import MappedModels
from k3torch.stack.triton_models import TritonModels
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import torch

SAMPLES, FEATURES, WORDS, BATCH = 303, 13, 10_000, 512
NAMES = {
    "kernel": "one kernel for all steps",
    "fused": "fused kernels, captured",
    "operators": "kernels of the operators, captured",
}
UNCOUNTED = 3  # epochs, in which steps are compared, compiled and captured


def main(settings: Settings) -> None:
    """Measure all rows, and leave a run folder with the tables."""
    check(settings)
    runtime.configure("cuda")
    with RunFolder("benchmark-gpu", settings) as run:
        about = f"{date.today()}, {'; '.join(describe_machine().values())}; {torch.cuda.get_device_name()}."
        parts = {}
        if settings.models:
            parts["Models side by side"] = [
                stack_row(way, n, settings) for n, way in product(settings.models, settings.ways)
            ]
        parts["Film reviews"] = review_rows(settings)
        run.metrics |= parts
        run.results = [about, *(table(title, rows) for title, rows in parts.items())]
        with run.draft("benchmark.md") as path:
            path.write_text("\n\n".join([about, *(f"## {t}\n\n{markdown(rows)}" for t, rows in parts.items())]) + "\n")
    print(f"written to {run.path}\n")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    check_free(settings.output)
    refuse(
        [
            *(count_problem("models", number) for number in settings.models),
            count_problem("batch_size", settings.batch_size),
            count_problem("epochs", settings.epochs, minimum=UNCOUNTED + 1),
        ]
    )
    if not torch.cuda.is_available():
        raise InputError("expected a GPU that this build of PyTorch can use, got none")


def stack_row(way: Way, count: int, settings: Settings) -> dict[str, str]:
    """Return how long a step of so many models takes."""
    keras.utils.set_random_seed(0)
    draw = np.random.default_rng(0)
    models = [boston_regressor(FEATURES, optimizer=settings.optimizer) for _ in range(count)]
    shapes = (SAMPLES, FEATURES), (SAMPLES, 1)
    samples = [Samples(*(draw.standard_normal(shape, np.float32) for shape in shapes)) for _ in models]
    for model in models:
        stateless.build(model, samples[0].x, samples[0].y)
    held_out = [Samples(own.x[:1], own.y[:1]) for own in samples]
    make = TritonModels if way == "kernel" else partial(MappedModels, compiled=way == "fused")
    started = time.perf_counter()
    group: Any = make(models, samples, held_out, settings.batch_size)
    seconds = []
    for _ in range(settings.epochs):
        group.load([draw.permutation(SAMPLES) for _ in models])
        torch.cuda.synchronize()
        began = time.perf_counter()
        group.train()  # reads the metrics, which synchronises with the device
        seconds.append(time.perf_counter() - began)
        if len(seconds) == 1:
            first = time.perf_counter() - started
    steps = -(-SAMPLES // settings.batch_size)
    microseconds = [1e6 * each / steps for each in seconds[UNCOUNTED:]]
    return {
        "way": NAMES[way],
        "models": str(count),
        "µs per step": spread(microseconds),
        "µs per update of one model": f"{statistics.median(microseconds) / count:.3g}",
        "s before the second epoch": f"{first:.1f}",
    }


def review_rows(settings: Settings) -> list[dict[str, str]]:
    """Return how long an epoch over the reviews takes, and its accuracy."""
    data = load_data(settings.source, WORDS)
    bags, labels = bag_of_words(data.train.ids, data.train.offsets, WORDS), data.train.labels
    held_out = len(labels) // 4
    halves = slice(held_out, None), slice(held_out)
    rows = []
    for name, dense in (("dense batches, CUDA graphs", True), ("sparse batches, kernel by kernel", False)):
        keras.utils.set_random_seed(0)
        parts = [BagDataset(bags[half], labels[half], device="cuda", dense=dense) for half in halves]
        clock, model = Clock(), imdb_classifier(WORDS, model_class=FastModel)
        found = model.fit(
            bag_loader(parts[0], BATCH, shuffle=True), validation_data=bag_loader(parts[1], 5 * BATCH), verbose=0,
            epochs=settings.epochs, callbacks=[clock],
        ).history  # fmt: skip
        milliseconds = spread([1e3 * each for each in clock.seconds[UNCOUNTED:]])
        rows.append({"way": name, "ms per epoch": milliseconds, "accuracy": f"{max(found['val_accuracy']):.4f}"})
    return rows


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures epochs, until the device has done all that they ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the time."""
        torch.cuda.synchronize()
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note how long the epoch took."""
        torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self._started)


def spread(values: list[float]) -> str:
    """Return the median, and the lowest and the highest value."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def table(title: str, rows: list[dict[str, str]]) -> tables.ResultTable:
    """Return rows as they are shown."""
    return tables.ResultTable(title, list(rows[0]), [tuple(row.values()) for row in rows])


if __name__ == "__main__":
    cli.run(main, SETTINGS)
