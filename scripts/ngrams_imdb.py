"""Compare words, pairs and triples of words on film reviews.

    make ngrams-imdb
    make ngrams-imdb ARGS="--ngrams 2 --seed 1"
    k3torch ngrams-imdb --source reviews.csv

n-grams of up to 1, 2 and 3 words are not weighted (plain), or weighted by tf-idf or naive Bayes log-count ratios, and
all rows are scaled to length 1. On the same features, a single sigmoid unit of Keras (Adam), and scikit-learn's
LogisticRegression and LinearSVC are trained, and beside them the lecture's 16-16-1 on bags of words. Vocabulary and
weights are learned from training samples alone. Learning rate and epoch, or C, are those of the best result on
validation samples. Each model is then trained on all training samples, and tested once. To select one of them, compare
validation accuracies. Takes about two minutes on two cores.
"""

from dataclasses import dataclass

from k3torch import cli
from k3torch.options import Machine, Output, ReviewLabels, ReviewSource


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    ngrams: int = 3
    """Longest n-gram, in words: it is compared with all shorter ones."""
    min_count: int = 2
    """Leave out n-grams that occur less often in the training samples."""
    source: ReviewSource = "auto"
    """Reviews, as for train-imdb."""
    epochs: int = 20
    """The most epochs of each model of Keras."""
    batch_size: int = 512
    """Reviews per update."""
    reviews: ReviewLabels = ReviewLabels()
    output: Output = Output()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)  # before Keras is imported, so that --help answers at once

from collections.abc import Callable, Iterator, Sequence
import time
from typing import Any, NamedTuple, get_args

import joblib
from k3torch import interrupts, runtime
from k3torch.data.bags import BagDataset, bag_loader
from k3torch.data.imdb import MAX_NUM_WORDS, Reviews, load_data
from k3torch.data.ngrams import n_problem
from k3torch.data.review_features import ReviewFeatures, learn_features
from k3torch.errors import refuse
from k3torch.models.builders import imdb_classifier
from k3torch.options import Ngrams, Weighting
from k3torch.reports import tables
from k3torch.reports.ngrams import order_name, plot_accuracies
from k3torch.reports.run_folder import RunFolder, check_free
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.fast_model import FastModel
from k3torch.training.rate_selection import select_rate
import keras
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

WORDS = 10_000  # of the lecture's bags
LECTURE, UNIT = "16-16-1", "sigmoid unit"
RATES = (0.03, 0.1, 0.3)  # of the sigmoid unit
PENALTIES: dict[str, Sequence[float]] = {"LogisticRegression": (1.0, 10.0, 100.0), "LinearSVC": (0.1, 1.0, 3.0)}
"""Values of C, the inverse of the strength of the L2 penalty, for each model of scikit-learn."""
MODELS = (UNIT, *PENALTIES)
SHORT = (UNIT, "logistic", "SVC")
"""Their names in the tables, which fit into 80 columns."""


class Job(NamedTuple):
    """n-grams of up to ``n`` words with their weights."""

    n: int
    weighting: Weighting


class Samples(NamedTuple):
    """Training samples, and those on which a model is measured."""

    training: BagDataset
    held_out: BagDataset


class Score(NamedTuple):
    """A model's accuracy; ``chosen`` is what was best on the validation samples."""

    model: str
    chosen: str
    validation_accuracy: float
    test_accuracy: float
    seconds: float


class Result(NamedTuple):
    """The scores of all models on the same features; the megabytes are those of the training samples."""

    n: int
    weighting: str
    features: int
    megabytes: float
    seconds: float
    scores: list[Score]


def main(settings: Settings) -> None:
    """Train all models in processes of their own, and leave a run folder with their table and plot."""
    check(settings)
    device = runtime.configure(**vars(settings.machine))
    data = load_data(settings.source, MAX_NUM_WORDS, **vars(settings.reviews))
    print(cli.wrapped(data.reason))
    jobs = [Job(n, weighting) for n in range(1, settings.ngrams + 1) for weighting in reversed(get_args(Weighting))]

    with RunFolder("ngrams", settings) as run:
        run.metrics |= {"source": data.source, "device": str(device), "seed": settings.machine.seed}
        results = compare([None, *jobs], settings, processes=joblib.cpu_count() if device.type == "cpu" else 1)
        run.write_csv("ngrams.csv", [row(result, score) for result in results for score in result.scores])
        draw(results, run, len(data.train))
        run.metrics |= {"seconds_total": run.seconds} | runtime.peak_memories()
        run.results = list(tables_of(results))
    print(f"{run.metrics['seconds_total']:.1f} s in all\nwritten to {run.path}\n")
    tables.show_results(run.results)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is loaded."""
    refuse([n_problem(settings.ngrams)])
    cli.check_counts(settings, "min_count", "epochs", "batch_size")
    check_free(settings.output)


def compare(jobs: Sequence[Job | None], settings: Settings, processes: int) -> list[Result]:
    """Return the result of each job; None is the lecture's model."""
    workers = joblib.Parallel(n_jobs=min(processes, len(jobs)), return_as="generator")
    with interrupts.kept_from_children():  # the call starts them
        measured = workers(joblib.delayed(measure)(job, settings) for job in jobs)
    results = []
    with EpochBar("features", len(jobs)) as bar:
        for result in measured:
            results.append(result)
            bar.advance({"test accuracy": result.scores[0].test_accuracy})
    return results


def measure(job: Job | None, settings: Settings) -> Result:
    """Select, train and test the models of a job, in a process of its own."""
    device = runtime.configure(**vars(settings.machine))
    data = load_data(settings.source, WORDS if job is None else MAX_NUM_WORDS, **vars(settings.reviews))
    held_out = len(data.train) * 2 // 5  # 10,000 of 25,000
    validation, training = data.train.slice(0, held_out), data.train.slice(held_out, len(data.train))
    selection, _ = samples(training, validation, job, settings, device)
    started = time.perf_counter()
    final, features = samples(data.train, data.test, job, settings, device)
    seconds = time.perf_counter() - started
    scores = [keras_score(job, selection, final, settings)]
    if job is not None:
        scores += [sklearn_score(model, selection, final) for model in PENALTIES]
    bags = final.training.bags
    megabytes = (bags.data.nbytes + bags.indices.nbytes + bags.indptr.nbytes) / 1e6
    n, weighting = job or Job(1, "plain")
    return Result(n, weighting, features.num_features, megabytes, seconds, scores)


def samples(
    training: Reviews, held_out: Reviews, job: Job | None, settings: Settings, device: Any
) -> tuple[Samples, ReviewFeatures]:
    """Return samples, and their features, which are learned from the training samples."""
    options = Ngrams() if job is None else Ngrams(job.n, min_count=settings.min_count, weighting=job.weighting)
    features = learn_features(training, WORDS, options)
    bags = (BagDataset(features.transform(r.ids, r.offsets), r.labels, device=device) for r in (training, held_out))
    return Samples(*bags), features


def keras_score(job: Job | None, selection: Samples, final: Samples, settings: Settings) -> Score:
    """Select learning rate and epoch by the validation loss; then train with them, and test once."""
    seed, batch_size = settings.machine.seed, settings.batch_size
    build, rates = (lecture_model, (0.001,)) if job is None else (sigmoid_unit, RATES)
    started = time.perf_counter()
    best = select_rate(
        lambda rate: build(selection.training.bags.shape[1], rate),
        *selection,
        rates,
        epochs=settings.epochs,
        batch_size=batch_size,
        seed=seed,
    )
    keras.utils.set_random_seed(seed)
    model = build(final.training.bags.shape[1], best.rate)
    with runtime.single_threaded():
        model.fit(
            bag_loader(final.training, batch_size, shuffle=True, seed=seed),
            epochs=best.epoch,
            shuffle=False,  # the loader shuffles
            verbose=0,
        )
    seconds = time.perf_counter() - started
    accuracy = model.evaluate(bag_loader(final.held_out, batch_size), return_dict=True, verbose=0)["accuracy"]
    name = LECTURE if job is None else UNIT
    return Score(name, f"rate {best.rate:g}, epoch {best.epoch}", best.validation_accuracy, accuracy, seconds)


def lecture_model(features: int, rate: float) -> keras.Model:
    return imdb_classifier(features, learning_rate=rate, model_class=FastModel)


def sigmoid_unit(features: int, rate: float) -> keras.Model:
    return imdb_classifier(features, units=(), optimizer="adam", learning_rate=rate, model_class=FastModel)


def sklearn_score(name: str, selection: Samples, final: Samples) -> Score:
    """Select C by the validation accuracy; then train with it, and test once."""
    build: Callable[[float], Any] = {
        "LogisticRegression": lambda c: LogisticRegression(
            C=c, solver="liblinear", dual=True, random_state=0, max_iter=1000
        ),
        "LinearSVC": lambda c: LinearSVC(C=c, random_state=0, max_iter=5000),
    }[name]
    started = time.perf_counter()
    found = {c: accuracy(build(c), selection) for c in PENALTIES[name]}
    best = max(found, key=lambda c: found[c])
    tested = accuracy(build(best), final)
    return Score(name, f"C {best:g}", found[best], tested, time.perf_counter() - started)


def accuracy(model: Any, data: Samples) -> float:
    """Train a model of scikit-learn, and return its accuracy on the held-out samples."""
    (x, y), (held_x, held_y) = ((part.bags, part.labels_and_weights[0][:, 0].cpu().numpy()) for part in data)
    return float(model.fit(x, y).score(held_x, held_y))


def row(result: Result, score: Score) -> dict[str, Any]:
    """Return a row of the table in the run folder."""
    about = result._asdict()
    del about["scores"]
    about["seconds_features"] = about.pop("seconds")
    return about | score._asdict()


def draw(results: Sequence[Result], run: RunFolder, training: int) -> None:
    """Plot the test accuracies over the longest n-gram."""
    curves = {
        weighting: {
            model: [s.test_accuracy for r in results for s in r.scores if (r.weighting, s.model) == (weighting, model)]
            for model in MODELS
        }
        for weighting in reversed(get_args(Weighting))
    }
    lecture = results[0].scores[0].test_accuracy
    title = f"n-grams of film reviews, {training:,} training samples"
    plot_accuracies(run.plot("accuracy"), curves, ("16-16-1 on 10,000 words", lecture), title)


def seconds_of(result: Result) -> list[str | None]:
    """Return a cell for each model."""
    cells = [f"{score.seconds:.1f}" for score in result.scores]
    return [*cells, *[None] * (len(MODELS) - len(cells))]


def accuracies_of(result: Result) -> list[str | None]:
    """Return a cell for each model."""
    cells = [f"{score.validation_accuracy:.4f} / {score.test_accuracy:.4f}" for score in result.scores]
    return [*cells, *[None] * (len(MODELS) - len(cells))]


def tables_of(results: Sequence[Result]) -> Iterator[tables.ResultTable]:
    """Yield the accuracies, and what they cost."""
    named = {f"{order_name(r.n)}, {r.weighting}": r for r in results[1:]} | {f"lecture's {LECTURE}": results[0]}
    yield tables.ResultTable(
        "Accuracy: validation / test",
        ["", *SHORT],
        [(name, *accuracies_of(result)) for name, result in named.items()],
    )
    yield tables.ResultTable(
        "Megabytes of the training samples; seconds to make them, and to train",
        ["", "features", "MB", "s", *SHORT],
        [
            (name, f"{r.features:,}", f"{r.megabytes:.0f}", f"{r.seconds:.1f}", *seconds_of(r))
            for name, r in named.items()
        ],
    )


if __name__ == "__main__":
    cli.run(main, SETTINGS)
