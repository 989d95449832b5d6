"""Time training on a GPU: many small models side by side, and film reviews.

    python scripts/benchmark_gpu.py
    python scripts/benchmark_gpu.py --models 32 128 --batch-size 16

Each way trains as many networks 13-64-64-1 as --models says, each on 303 random samples, and prints microseconds of a
step of all models: by one kernel for all steps of an epoch, by kernels that torch.compile fuses, and by the kernels of
the operators; the last two as CUDA graphs. Then FastModel trains the lecture's classifier of film reviews, on dense
batches with CUDA graphs and on sparse ones without, and prints milliseconds of an epoch, validation included. The
first epochs are not counted. Each row is printed when it is measured, and the tables so far are written to the run
folder, as benchmark.md. A row that fails has its error for a result, and the next one is measured.
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

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from functools import partial
import gc
from itertools import product
import statistics
import time
from typing import Any
import warnings

from k3torch import runtime
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.imdb import load_data
from k3torch.errors import InputError, count_problem, first_line, refuse
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
Row = dict[str, str]
Measurement = tuple[str, Row, Callable[[], Row]]  # the table of a row, its first cells, and what measures the others


def main(settings: Settings) -> None:
    """Measure all rows, and leave a run folder with the tables."""
    check(settings)
    runtime.configure("cuda")
    with RunFolder("benchmark-gpu", settings) as run:
        about = f"{date.today()}, {'; '.join(describe_machine().values())}; {torch.cuda.get_device_name()}."
        print(f"results so far are written to {run.path}\n")
        parts: dict[str, list[Row]] = {}
        for title, known, measure in measurements(settings, "cuda"):
            parts.setdefault(title, []).append(measured(known, measure))
            print("  ".join(parts[title][-1].values()), flush=True)
            texts = [about, *(f"## {title}\n\n{markdown(complete(rows))}" for title, rows in parts.items())]
            with run.draft("benchmark.md") as path:
                path.write_text("\n\n".join(texts) + "\n")
        run.metrics |= parts
        run.results = [about, *(table(title, complete(rows)) for title, rows in parts.items())]
    print(f"\nwritten to {run.path}\n")
    tables.show_results(run.results)


def measurements(settings: Settings, device: str) -> Iterator[Measurement]:
    """Yield each row that is to be measured on the device."""
    for count, way in product(settings.models, settings.ways):
        known = {"way": NAMES[way], "models": str(count)}
        yield "Models side by side", known, partial(stack_row, way, count, settings)
    for name, dense in (("dense batches, CUDA graphs", True), ("sparse batches, kernel by kernel", False)):
        yield "Film reviews", {"way": name}, partial(review_row, dense, settings, device)


def measured(known: Row, measure: Callable[[], Row]) -> Row:
    """Return a row with what is measured, or with the error in its place, and with what was said to be slower."""
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            row = known | measure()
        except Exception as error:  # of any kind: the other rows are worth as much
            row = known | {"error": first_line(error, with_type=True)}
    said = dict.fromkeys(str(each.message) for each in warned if "slower" in str(each.message))
    gc.collect()  # models are cycles, which would hold the memory of the device
    with suppress(RuntimeError):  # after some errors each call of CUDA fails
        torch.cuda.empty_cache()
    return row | ({"notice": "; ".join(said)} if said else {})


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


def stack_row(way: Way, count: int, settings: Settings) -> Row:
    """Return how long a step of so many models takes, on Keras's device."""
    keras.utils.set_random_seed(0)
    draw = np.random.default_rng(0)
    models = [boston_regressor(FEATURES, optimizer=settings.optimizer) for _ in range(count)]
    shapes = (SAMPLES, FEATURES), (SAMPLES, 1)
    samples = [Samples(*(draw.standard_normal(shape, np.float32) for shape in shapes)) for _ in models]
    for model in models:
        stateless.build(model, samples[0].x, samples[0].y)
    held_out = [Samples(own.x[:1], own.y[:1]) for own in samples]
    make = TritonModels if way == "kernel" else partial(MappedModels, compiled=way == "fused", notice=warnings.warn)
    started = time.perf_counter()
    group: Any = make(models, samples, held_out, settings.batch_size)
    seconds = []
    for _ in range(settings.epochs):
        group.load([draw.permutation(SAMPLES) for _ in models])
        synchronize()
        began = time.perf_counter()
        group.train()  # reads the metrics, which synchronises with the device
        seconds.append(time.perf_counter() - began)
        if len(seconds) == 1:
            first = time.perf_counter() - started
    steps = -(-SAMPLES // settings.batch_size)
    microseconds = [1e6 * each / steps for each in seconds[UNCOUNTED:]]
    return {
        "µs per step": spread(microseconds),
        "µs per update of one model": f"{statistics.median(microseconds) / count:.3g}",
        "s before the second epoch": f"{first:.1f}",
    }


def review_row(dense: bool, settings: Settings, device: str) -> Row:
    """Return how long an epoch over the reviews takes on the device, and its accuracy."""
    data = load_data(settings.source, WORDS)
    bags, labels = bag_of_words(data.train.ids, data.train.offsets, WORDS), data.train.labels
    held_out = 2 * len(labels) // 5  # 10,000 of 25,000
    keras.utils.set_random_seed(0)
    parts = [
        BagDataset(bags[half], labels[half], device=device, dense=dense)
        for half in (slice(held_out, None), slice(held_out))
    ]
    clock, model = Clock(), imdb_classifier(WORDS, model_class=FastModel)
    found = model.fit(
        bag_loader(parts[0], BATCH, shuffle=True), validation_data=bag_loader(parts[1], 5 * BATCH), verbose=0,
        epochs=settings.epochs, callbacks=[clock],
    ).history  # fmt: skip
    milliseconds = spread([1e3 * each for each in clock.seconds[UNCOUNTED:]])
    return {"ms per epoch": milliseconds, "accuracy": f"{max(found['val_accuracy']):.4f}"}


def synchronize() -> None:
    """Synchronise with the GPU, where there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Measures epochs, until the device has done all that they ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Note the time."""
        synchronize()
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Note how long the epoch took."""
        synchronize()
        self.seconds.append(time.perf_counter() - self._started)


def spread(values: list[float]) -> str:
    """Return the median, and the lowest and the highest value."""
    return f"{statistics.median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def complete(rows: list[Row]) -> list[Row]:
    """Return the rows with the columns of all of them, empty where a row has none."""
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name, "") for name in columns} for row in rows]


def table(title: str, rows: list[Row]) -> tables.ResultTable:
    """Return rows of equal columns as they are shown."""
    return tables.ResultTable(title, list(rows[0]), [tuple(row.values()) for row in rows])


if __name__ == "__main__":
    cli.run(main, SETTINGS)
