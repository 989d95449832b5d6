"""A candidate of a search in training, and how all candidates are trained."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from k3torch import runtime
from k3torch.errors import InputError
from k3torch.stack import stateless
from k3torch.training.checkpoint_file import fitting
from k3torch.training.epoch_bar import EpochBar
from k3torch.validation import engines
from k3torch.validation.candidates import Candidate
from k3torch.validation.checkpoints import Checkpoints, Values
from k3torch.validation.job_training import Engine, Training, with_units
from k3torch.validation.jobs import Data, Fold, Job, jobs_of
from k3torch.validation.metric_units import greater_is_better
from k3torch.validation.result import score_index
from k3torch.validation.stopping import Stopping
import keras
import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
_STORED = ("scores", "epochs", "seconds", "metric", "greater_is_better")


@dataclass(frozen=True)
class Settings:
    """How all candidates are trained.

    Attributes:
        batch_size: samples per update.
        epochs: of each model, at most.
        early_stopping: which each model is followed by, or None.
        choose_epochs: whether a candidate is scored at its best epoch.
        halving: 3 keeps the better third, or None.
        normalized: whether the samples are scaled.
        units: whether the targets are scaled.
        seed: of the training.
        bar: for progress; it is open.
        checkpoints: of the search.
        scaling: arguments of ``scaled_folds``.
        n_jobs: in how many processes candidates are trained; None for this one.
        engine: of candidates that are trained on their own.
    """

    batch_size: int
    epochs: int
    early_stopping: keras.callbacks.EarlyStopping | None
    choose_epochs: bool
    halving: int | None
    normalized: bool
    units: bool
    seed: int
    bar: EpochBar
    checkpoints: Checkpoints = field(default_factory=lambda: Checkpoints(None, {}))
    scaling: dict[str, Any] = field(default_factory=dict)
    n_jobs: int | None = None
    engine: Engine = "auto"

    def plain(self) -> Values:
        """Return what another process needs to train candidates."""
        left_out = ("bar", "checkpoints", "n_jobs", "scaling")
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name not in left_out}

    @runtime.garbage_collection_paused()
    def jobs(self, candidate: Candidate, data: Data, folds: Sequence[Fold]) -> list[Job]:
        """Return a job of the candidate for each fold, with built models."""
        jobs = jobs_of(candidate.build, data, folds, normalized=self.normalized)
        for job in jobs:
            engines.build(job)
        return with_units(jobs) if self.units else jobs


@dataclass
class Run:
    """A candidate that is trained on some folds.

    Attributes:
        candidate: which.
        key: its name in checkpoints.
        record: what another process returned of its training, or None.
        jobs: one for each fold of each repeat, as long as they are needed.
        training: what came of it.
        rules: for each job when it stops early, or none.
        scores: (repeats, folds).
        epochs: for which a model for new samples is to be trained.
        seconds: of the training, its part of those of the stack.
        metric: name of the metric of the scores.
        greater_is_better: whether a higher score is better.
    """

    candidate: Candidate
    key: str
    record: Values | None = None
    jobs: list[Job] = field(default_factory=list)
    training: Training | None = None
    rules: list[Stopping] = field(default_factory=list)
    scores: Float = field(default_factory=lambda: np.empty((0, 0)))
    epochs: int = 0
    seconds: float = 0.0
    metric: str = ""
    greater_is_better: bool = False

    def needs_models(self, epochs: range, settings: Settings) -> bool:
        """Return whether the models are trained to the end of these epochs, or stored in a checkpoint."""
        return epochs.stop not in self.stored(settings) or settings.checkpoints.trained(self.key) is not None

    def begin_training(self, epochs: range, settings: Settings, last: bool) -> None:
        """Make the training of these epochs, with which the candidate goes on; ``last``: it ends with them."""
        rule = settings.early_stopping
        self.training = Training(
            self.jobs, settings.batch_size, epochs, None if rule is None else [rule], settings.bar, rules=self.rules,
            last=last, before=self.training, current=settings.checkpoints.begin(f"{self.key}, to epoch {epochs.stop}"),
        )  # fmt: skip

    def complete(self, epochs: range, seconds: float, repeats: int, settings: Settings) -> None:
        """Score the training of these epochs, which is complete, and store it in the next checkpoint."""
        assert self.training is not None
        self.score(repeats, settings)
        self.seconds += seconds
        stored = self.stored(settings)
        stored[epochs.stop] = self.values()
        settings.checkpoints.complete({self.key: self.training})

    @fitting()
    def load(self, epochs: range, settings: Settings) -> bool:
        """Take what a checkpoint has of these epochs; return whether it has it."""
        if (values := self.stored(settings).get(epochs.stop)) is None:
            return False
        self.set_values(values)
        if (record := settings.checkpoints.trained(self.key)) is not None:
            settings.checkpoints.complete({self.key: self.take_record(record, epochs, settings)})
        return True

    def take_record(self, record: Values, epochs: range, settings: Settings) -> Training:
        """Go on from what is stored of a complete training, of the models that were built."""
        self.begin_training(epochs, settings, last=False)
        assert self.training is not None
        self.training.before = None
        self.training.load(record)
        return self.training

    def values(self) -> Values:
        """Return the scores, and what else is stored of a candidate whose models are not needed."""
        return {name: getattr(self, name) for name in _STORED}

    def set_values(self, values: Values) -> None:
        """Set what ``values`` returned."""
        vars(self).update(values)

    def stored(self, settings: Settings) -> dict[int, Values]:
        """Return what checkpoints have, by the epoch with which a training ended."""
        found: dict[int, Values] = settings.checkpoints.parts.setdefault(self.key, {})
        return found

    @property
    def mean(self) -> float:
        """The mean score."""
        return float(self.scores.mean())

    def score(self, repeats: int, settings: Settings) -> None:
        """Set the scores and the epochs from what came of the training so far."""
        assert self.training is not None
        names = stateless.metric_names(self.jobs[0].model)
        found = self.training.scored(repeats)
        position = score_index(names)
        self.metric, direction = names[position], greater_is_better(self.jobs[0].model, names[position])
        if direction is None:
            raise InputError(
                f"expected a first metric of which Keras says whether higher is better, got {self.metric!r}: put "
                "another one, such as mae, first in compile"
            )
        self.greater_is_better = direction
        self.scores, self.epochs = found.scores, max(1, round(float(found.epochs.mean())))
        if settings.choose_epochs:
            self.epochs = found.best_epoch(direction)
            self.scores = found.curves[..., self.epochs - 1]
