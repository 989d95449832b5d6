"""Time training steps on large vocabularies, and n-grams beside scikit-learn's.

    python scripts/benchmark_vocabulary.py
    python scripts/benchmark_vocabulary.py --words 1000000 --optimizers adam
    python scripts/benchmark_vocabulary.py --words --ngrams 3 --source reviews

Trains SparseDense(16), Dense(16) and Dense(1) on 15,000 random bags of 212 words, in batches of 512 and in one thread.
Word frequencies follow Zipf's law, or all words are equally frequent. Each row is measured in a process of its own: the
first epoch, which verifies the step, and the median of the others, in seconds of processor time, which other programs
change less than the time on the clock; the ratio to as many words of the smallest vocabulary; and the largest memory.

With --ngrams, all n-grams of the reviews are counted by data.Ngrams from word ids and by scikit-learn's CountVectorizer
from texts of the same words, which must find as many, each in one thread.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from k3torch import cli
from k3torch.options import Flag, Output, ReviewSource, shown_as

Frequencies = Literal["zipf", "equal"]
Optimizer = Literal["rmsprop", "sgd", "sgd-momentum", "adagrad", "adam"]


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    words: Annotated[tuple[int, ...], shown_as("NUMBER ...")] = (10_000, 1_000_000)
    """Sizes of the vocabulary; none measures no training."""
    frequencies: Annotated[tuple[Frequencies, ...], shown_as("{zipf,equal} ...")] = ("zipf", "equal")
    """How often words occur."""
    optimizers: Annotated[tuple[Optimizer, ...], shown_as("NAME ...")] = ("rmsprop", "sgd", "sgd-momentum", "adagrad")
    """Optimizers, with Keras's learning rates."""
    epochs: int = 6
    """Epochs of each training, the first included."""
    ngrams: int = 0
    """Longest n-gram of the comparison with scikit-learn; 0 makes none."""
    source: ReviewSource = "auto"
    """Reviews of that comparison, as for train-imdb."""
    allow_load: Flag = False
    """Measure even if the load average is over 1.5, which other programs cause."""
    output: Output = Output()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import product
import multiprocessing
import statistics
import time
from typing import Any, NamedTuple

from k3torch import runtime
from k3torch.data.bags import BagDataset, bag_loader
from k3torch.data.imdb import MAX_NUM_WORDS, load_data
from k3torch.data.ngrams import Ngrams, n_problem
from k3torch.data.text import FIRST_WORD, UNKNOWN
from k3torch.errors import InputError, refuse, unless
from k3torch.models.layers import SparseDense
from k3torch.reports import tables
from k3torch.reports.benchmark import markdown, short
from k3torch.reports.machine import check_load, describe_machine
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer

SAMPLES, WORDS_PER_SAMPLE, BATCH = 15_000, 212, 512


class Case(NamedTuple):
    """A row of the table of trainings."""

    words: int
    frequencies: Frequencies
    optimizer: Optimizer


class Found(NamedTuple):
    """What a training costs: seconds of processor time, and MB."""

    first: float
    epoch: float
    memory: float


def main(settings: Settings) -> None:
    """Measure all rows, and leave a run folder with the tables."""
    check(settings)
    load = check_load(settings.allow_load)
    with RunFolder("vocabulary", settings) as run:
        run.metrics |= {"machine": describe_machine(), "load average": load}
        parts = {}
        if cases := [Case(*each) for each in product(settings.words, settings.frequencies, settings.optimizers)]:
            found = run_all(cases, settings.epochs)
            run.metrics["trainings"] = [c._asdict() | f._asdict() for c, f in zip(cases, found, strict=True)]
            parts["Training"] = training_rows(cases, found)
        if settings.ngrams:
            counted = alone(count_ngrams, settings.source, settings.ngrams)
            run.metrics["ngrams"] = counted
            parts["n-grams"] = [{name: short_or_count(value) for name, value in row.items()} for row in counted]
        about = f"{date.today()}, {'; '.join(describe_machine().values())}."
        with run.draft("benchmark.md") as path:
            path.write_text("\n\n".join([about, *(f"## {t}\n\n{markdown(rows)}" for t, rows in parts.items())]) + "\n")
        run.results = [about]
        run.results += [
            tables.ResultTable(title, list(rows[0]), [tuple(row.values()) for row in rows])
            for title, rows in parts.items()
        ]
    print(f"written to {run.path}\n")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    refuse(
        [
            *(
                unless(WORDS_PER_SAMPLE <= words < 2**31, f"--words from {WORDS_PER_SAMPLE} to 2147483647, got {words}")
                for words in settings.words
            ),
            unless(settings.epochs >= 2, f"--epochs of 2 or more, got {settings.epochs}"),
            None if settings.ngrams == 0 else n_problem(settings.ngrams),
            unless(bool(settings.words) or settings.ngrams > 0, "--words or --ngrams, got neither"),
        ]
    )
    for option in ("frequencies", "optimizers"):
        if settings.words and not getattr(settings, option):
            raise InputError(f"expected a value for --{option}, got none")
    check_free(settings.output)


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function returns in a process of its own, which has its own peak of memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def run_all(cases: Sequence[Case], epochs: int) -> list[Found]:
    """Measure one case after another."""
    found = []
    with EpochBar("trainings", len(cases)) as bar:
        for case in cases:
            found.append(alone(train, case, epochs))
            bar.advance({"seconds": found[-1].epoch})
    return found


def train(case: Case, epochs: int) -> Found:
    """Train on random bags."""
    runtime.configure("cpu")
    model = network(case)
    seconds = []
    with runtime.single_threaded():
        loader = bag_loader(BagDataset(random_bags(case), np.arange(SAMPLES) % 2), BATCH, shuffle=True)
        for _ in range(epochs):
            started = time.process_time()
            model.fit(loader, epochs=1, shuffle=False, verbose=0)
            seconds.append(time.process_time() - started)
    return Found(seconds[0], statistics.median(seconds[1:]), runtime.peak_memory_mb())


def network(case: Case) -> FastModel:
    inputs = keras.Input((case.words,))
    hidden = SparseDense(16, activation="relu")(inputs)
    hidden = keras.layers.Dense(16, activation="relu")(hidden)
    model = FastModel(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    momentum = case.optimizer == "sgd-momentum"
    model.compile(keras.optimizers.SGD(momentum=0.9) if momentum else case.optimizer, "binary_crossentropy")
    return model


def random_bags(case: Case) -> csr_matrix:
    """Return bags of drawn words, of which some may occur twice."""
    draw = np.random.default_rng(0)
    shape = SAMPLES, WORDS_PER_SAMPLE
    ids: NDArray[Any]
    if case.frequencies == "equal":
        ids = draw.integers(0, case.words, shape, np.int32)
    else:
        probabilities = np.cumsum(1 / np.arange(1, case.words + 1))
        ids = np.searchsorted(probabilities, draw.random(shape) * probabilities[-1]).astype(np.int32)
    ids.sort(axis=1)
    bounds = np.arange(0, ids.size + 1, WORDS_PER_SAMPLE, dtype=np.int32)
    return csr_matrix((np.ones(ids.size, np.float32), ids.ravel(), bounds), shape=(SAMPLES, case.words))


def training_rows(cases: Sequence[Case], found: Sequence[Found]) -> list[dict[str, str]]:
    """Return a row for each case; the ratio is to the smallest vocabulary with the same frequencies and optimizer."""
    smallest = min(case.words for case in cases)
    base = {case[1:]: each.epoch for case, each in zip(cases, found, strict=True) if case.words == smallest}
    return [
        {
            "words": f"{case.words:,}",
            "frequencies": case.frequencies,
            "optimizer": case.optimizer,
            "first, s": short(each.first),
            "epoch, s": short(each.epoch),
            "ratio": short(each.epoch / base[case[1:]]),
            "peak MB": f"{each.memory:.0f}",
        }
        for case, each in zip(cases, found, strict=True)
    ]


def count_ngrams(source: str, longest: int) -> list[dict[str, float]]:
    """Return for n-grams of up to 2 words and more the seconds of processor time of both ways, and their ratio."""
    data = load_data(source, MAX_NUM_WORDS)
    halves = data.train, data.test
    ids = np.concatenate([half.ids for half in halves])
    ids[ids == UNKNOWN] = ids.max() + 1  # a word like the others, "?" in the texts
    offsets = np.concatenate([halves[0].offsets, halves[1].offsets[1:] + halves[0].offsets[-1]])
    reviews = np.split(ids, offsets[1:-1])
    texts = [data.decode(review[review >= FIRST_WORD]) for review in reviews]
    rows = []
    with runtime.single_threaded():
        for n in range(min(2, longest), longest + 1):
            started = time.process_time()
            vocabulary, _ = Ngrams.fit_transform(ids, offsets, n, min_count=1)
            ours = time.process_time() - started
            vectorizer = CountVectorizer(
                ngram_range=(1, n), binary=True, lowercase=False, token_pattern=r"\S+", dtype=np.float32
            )
            started = time.process_time()
            found = vectorizer.fit_transform(texts).shape[1]
            theirs = time.process_time() - started
            assert found == vocabulary.num_features, "both find the same n-grams"
            rows.append(
                {"n": n, "reviews": len(texts), "features": found, "Ngrams, s": ours, "scikit-learn, s": theirs,
                 "ratio": theirs / ours}
            )  # fmt: skip
    return rows


def short_or_count(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else short(value)


if __name__ == "__main__":
    cli.run(main, SETTINGS)
