"""A training of the models of a cross-validation: by which engine, and its results."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import re
from typing import Any, Literal, NamedTuple

from k3torch import runtime
from k3torch.errors import InputError, first_line
from k3torch.stack import stateless
from k3torch.stack.reasons import DifferentStep, SlowerThanFit, UntraceableStep
from k3torch.training.checkpoint_file import fitting
from k3torch.training.checkpoint_state import load_model_values, model_values
from k3torch.training.epoch_bar import EpochBar
from k3torch.validation import engines, fit_engine, stopping
from k3torch.validation.bag_samples import BagSamples
from k3torch.validation.checkpoints import Current, Values
from k3torch.validation.curves import best_epoch
from k3torch.validation.jobs import Data, Job
from k3torch.validation.metric_units import greater_is_better, unit_powers
from k3torch.validation.predictions import out_of_fold
from k3torch.validation.result import CrossValidation, score_index
from k3torch.validation.stack_training import MetricHistory
import keras
import numpy as np
from numpy.typing import NDArray

Engine = Literal["auto", "stacked", "fit"]
SPARSE = "x is a sparse matrix"  # samples of a stack are dense


@dataclass
class Training:
    """The jobs, how they are trained, and what came of it so far.

    Attributes:
        jobs: ordered by repeat, then by fold.
        batch_size: samples per update.
        epochs: to train.
        callbacks: of the caller, or None.
        bar: for progress; it is open.
        engine: that trains them.
        histories: of the jobs that were begun.
        final: metrics of the returned models, (metrics,), if not those of an epoch.
        kept: for each job the epoch whose weights its model has, from 0.
        rules: which follow the models of a stack; by default one for each model and callback.
        last: whether the training ends with these epochs.
        before: the training that this one goes on from, or None.
        current: what is stored of it in checkpoints while it is in progress.
    """

    jobs: Sequence[Job]
    batch_size: int
    epochs: range
    callbacks: Sequence[Any] | None
    bar: EpochBar
    engine: Literal["stacked", "fit"] = "stacked"
    histories: list[MetricHistory] = field(default_factory=list)
    final: Sequence[NDArray[np.float64]] | None = None
    kept: list[int] = field(default_factory=list)
    rules: Sequence[stopping.Stopping] | None = None
    last: bool = True
    before: "Training | None" = None
    current: Current = field(default_factory=Current)

    def train(self, engine: Engine, seed: int) -> None:
        """Train all jobs as a stack if that is possible and wanted, else with ``fit``."""
        engine = self.current.engine or engine
        keras.utils.set_random_seed(seed)
        with labels_refused(), dense_layers_refused(self.jobs[0]):
            if engine == "fit" or not self._stacked(required=engine == "stacked"):
                self.engine = "fit"
                keras.utils.set_random_seed(seed)  # as if no stack had been tried
                self._fit()
        self.take(self.histories, self.kept)

    def _fit(self) -> None:
        """Train one job after another with ``fit``.

        Raises:
            InputError: for rules and a part of the epochs: ``fit`` would begin to wait anew.
        """
        rules = self.rules or ()
        if rules and (not self.last or self.epochs.start):
            raise InputError("expected no early_stopping together with halving for a model that is trained with fit")
        of_jobs: list[Sequence[Any]] = [[rule.callback] for rule in rules] or [self.callbacks or ()] * len(self.jobs)
        self.current.engine = "fit"
        self.final = fit_engine.fit(
            self.jobs, self.batch_size, self.epochs, of_jobs, self.bar, self.histories, self.current
        )
        epochs = [_epochs_done(job.model) for job in self.jobs]
        for rule, done in zip(rules, epochs, strict=False):
            rule.epochs = done
        self.kept = [rule.kept for rule in rules] or [done - 1 for done in epochs]

    def take(self, histories: Sequence[MetricHistory], kept: Sequence[int]) -> None:
        """Take what came of the jobs, after what came of them before."""
        self.histories, self.kept = list(histories), list(kept)
        if self.before is not None:
            start = self.epochs.start
            for values, earlier in zip(self.histories, self.before.histories, strict=True):
                values[..., :start] = earlier
            self.before = None

    def record(self) -> Values:
        """Return what is stored of the training once it is complete."""
        return {
            "engine": self.engine,
            "models": [model_values(job.model) for job in self.jobs],
            "histories": list(self.histories),
            "kept": [int(epoch) for epoch in self.kept],
            "final": None if self.final is None else list(self.final),
            "rules": [rule.values() for rule in self.rules or ()],
        }

    @fitting()
    def load(self, record: Values) -> None:
        """Take what ``record`` returned of the same jobs, instead of training them."""
        stored = (record[name] for name in ("models", "histories", "kept"))
        for job, values, _, _ in zip(self.jobs, *stored, strict=True):  # strict: each has as many as there are jobs
            load_model_values(job.model, values)
        for rule, values in zip(self.rules or (), record["rules"], strict=True):
            rule.load(values)
        self.engine, self.final = record["engine"], record["final"]
        self.take(record["histories"], record["kept"])

    def join(self, parts: "Sequence[Training]") -> None:
        """Take the results of trainings that have the jobs of this one, in their order."""
        self.engine = "stacked" if all(part.engine == "stacked" for part in parts) else "fit"
        if any(part.final is not None for part in parts):
            self.final = [values for part in parts for values in part.final_metrics()]
        self.take([h for part in parts for h in part.histories], [epoch for part in parts for epoch in part.kept])

    def final_metrics(self) -> Sequence[NDArray[np.float64]]:
        """Return the validation metrics of each returned model."""
        pairs = zip(self._table(), self._kept(), strict=True)
        return self.final or [values[1, :, max(epoch, 0)] for values, epoch in pairs]

    def _stacked(self, required: bool) -> bool:
        """Train as a stack; for a model that is not supported say why and return False, or refuse if ``required``."""
        callbacks = self.callbacks or ()
        reason = None if stopping.supported(callbacks) else "callbacks act on one model at a time"
        reason = SPARSE if isinstance(self.jobs[0].training, BagSamples) else reason
        reason = reason or engines.why_not_stacked([job.model for job in self.jobs])
        if reason is None:
            rules = self.rules
            if rules is None:
                rules = [stopping.Stopping(callback) for _ in self.jobs for callback in callbacks]
            try:
                engines.stacked(
                    self.jobs, self.batch_size, self.epochs, rules, self.bar, self.histories, self.kept, required,
                    last=self.last, current=self.current,
                )  # fmt: skip
                return True
            except UntraceableStep as error:
                reason = why_not_stacked(error)
        if required:
            raise InputError(f'expected a model that can be stacked, but {reason}: use engine="fit"')
        self.bar.notice(f"training with fit, fold after fold: {reason}")
        return False

    @runtime.garbage_collection_paused()
    def result(self, data: Data, names_of_features: list[str] | None, repeats: int, complete: bool) -> CrossValidation:
        """Return the result of the jobs; NaN for those that were not begun."""
        jobs = self.jobs
        names = stateless.metric_names(jobs[0].model)
        table, scores = self._table(), self._scores()
        table = table.reshape(repeats, len(jobs) // repeats, *table.shape[1:])
        score = score_index(names)
        models, indices = [job.whole_model() for job in jobs], [job.split for job in jobs]
        return CrossValidation(
            scores=scores.reshape(table.shape[:2]),
            metric=names[score],
            greater_is_better=greater_is_better(jobs[0].model, names[score]),
            history={
                prefix + name: table[:, :, part, metric]
                for part, prefix in enumerate(("", "val_"))
                for metric, name in enumerate(names)
            },
            models=models,
            indices=indices,
            out_of_fold=out_of_fold(models, data.x, indices) if complete else np.full(data.y.shape, np.nan),
            engine=self.engine,
            feature_names=names_of_features,
        )

    def scored(self, repeats: int) -> "Scored":
        """Return the scores of the jobs, and the epochs whose weights their models have."""
        table = self._table()
        shape = (repeats, len(self.jobs) // repeats)
        curves = table[:, 1, score_index(stateless.metric_names(self.jobs[0].model))]
        epochs = np.array(self._kept()) + 1
        return Scored(self._scores().reshape(shape), epochs.reshape(shape), curves.reshape(*shape, -1))

    def _table(self) -> NDArray[np.float64]:
        """Return the history of all jobs, (jobs, 2, metrics, epochs)."""
        missing = len(self.jobs) - len(self.histories)
        return np.asarray([*self.histories, *[np.full_like(self.histories[0], np.nan)] * missing])

    def _kept(self) -> list[int]:
        if self.kept or self.engine == "stacked":
            return [*self.kept, *[-1] * (len(self.jobs) - len(self.kept))]
        return [int((~np.isnan(values)).any(axis=(0, 1)).sum()) - 1 for values in self._table()]

    def _scores(self) -> NDArray[np.float64]:
        """Return the score of each job."""
        score = score_index(stateless.metric_names(self.jobs[0].model))
        return np.array([values[score] for values in self.final_metrics()])


class Scored(NamedTuple):
    """The scores of some jobs.

    Attributes:
        scores: (repeats, folds).
        epochs: for which the weights of each model were trained, (repeats, folds).
        curves: the validation score after each epoch, (repeats, folds, epochs).
    """

    scores: NDArray[np.float64]
    epochs: NDArray[np.int64]
    curves: NDArray[np.float64]

    def best_epoch(self, greater: bool) -> int:
        """Return the epoch, from 1, with the best mean of the smoothed curves."""
        return best_epoch((-self.curves if greater else self.curves).mean(axis=(0, 1)))


@contextmanager
def labels_refused() -> Iterator[None]:
    """Refuse labels and ids that a layer has no place for, in one line, where the training fails on them."""
    try:
        yield
    except (IndexError, RuntimeError) as error:
        if not (isinstance(error, IndexError) or re.search("out of (bounds|range)", str(error))):
            raise
        raise InputError(f"expected labels and ids below the widths of the model's layers, got: {error}") from error


@contextmanager
def dense_layers_refused(job: Job) -> Iterator[None]:
    """Refuse models that cannot take a sparse x, in one line, where the training of a job with such samples fails."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of any kind: torch and each layer have their own
        text = str(error)
        if not isinstance(job.training, BagSamples) or not re.search("sparse[ _]?cs|-sparse |layout", text, re.I):
            raise
        layer = re.search(r"when calling (\w+)\.call", text)
        raise InputError(
            "expected a model whose first layer takes a sparse x, such as SparseDense, got "
            f"{layer[1] if layer else first_line(error)}"
        ) from error


def why_not_stacked(error: UntraceableStep) -> str:
    """Return in a few words why a stack could not be trained."""
    plain = isinstance(error, DifferentStep | SlowerThanFit)
    return str(error) if plain else f"its step cannot be mapped over models ({error})"


def with_units(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs with the factors from metrics of scaled targets to metrics in the unit of y.

    Raises:
        InputError: for several targets, for models without a metric, and as ``metric_units.unit_powers``.
    """
    model, outputs = jobs[0].model, jobs[0].training.example()[1].shape[1:]
    names = stateless.metric_names(model)
    if outputs != (1,):
        raise InputError(f"expected one target a sample with normalize_y=True, got targets of shape {outputs}")
    if len(names) == 1:
        raise InputError("expected a model with a metric, such as mae, with normalize_y=True, got the loss alone")
    powers = np.array(unit_powers(model, names))
    return [replace(job, units=float(job.scaling.targets.std[0]) ** powers) for job in jobs if job.scaling.targets]


def _epochs_done(model: keras.Model) -> int:
    """Return for how many epochs ``fit`` has trained a model, which a callback may have stopped early."""
    return int(model.history.epoch[-1]) + 1 if model.history.epoch else 0
