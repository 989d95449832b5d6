"""Keras's callbacks as command-line options."""

from collections.abc import Callable
from dataclasses import fields
import importlib.util
import math
from pathlib import Path
from typing import Any, Protocol

from k3torch.errors import InputError, count_problem, refuse
from k3torch.options import Callbacks, Schedule
import keras


class File(Protocol):
    """Takes a file's name and returns the path to write it to: ``RunFolder.file``."""

    def __call__(self, name: str, *, written: bool = False) -> Path:
        """``written``: the file is there already."""


def any_callback(settings: Callbacks) -> bool:
    """Return whether any of the callback options differs from its default."""
    return any(getattr(settings, field.name) != field.default for field in fields(Callbacks))


def make_callbacks(settings: Callbacks, file: File, epochs: int) -> list[keras.callbacks.Callback]:
    """Return the Keras callbacks that ``settings`` ask for.

    Args:
        settings: the options.
        file: returns the path of a file that a callback writes.
        epochs: length of the run, which the cosine schedule needs to know.

    Raises:
        InputError: for a negative patience, a schedule together with a reduction on a plateau (the schedule would
            undo it), and TensorBoard where its package is missing.
    """
    check_callbacks(settings)
    made: list[keras.callbacks.Callback] = []
    if settings.schedule != "constant":
        made.append(scheduler(settings.schedule, epochs))
    if settings.reduce_on_plateau:
        made.append(keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=settings.reduce_on_plateau))
    if settings.best_checkpoint:
        best = str(file("best.weights.h5"))
        made.append(keras.callbacks.ModelCheckpoint(best, save_best_only=True, save_weights_only=True))
    if settings.early_stopping:
        made.append(keras.callbacks.EarlyStopping(patience=settings.early_stopping, restore_best_weights=True))
    if settings.tensorboard:
        made.append(TensorBoardLog(file))
    return made


def scheduler(schedule: Schedule, epochs: int) -> keras.callbacks.LearningRateScheduler:
    """Return the callback that follows ``schedule``, from the learning rate that the optimizer begins with.

    Each epoch scales the rate of the epoch before it, so a run resumed at ``initial_epoch`` continues the schedule.
    """
    factors: dict[str, Callable[[int], float]] = {  # of the first rate, by epoch from 0
        "constant": lambda epoch: 1.0,  # noqa: ARG005
        "step": lambda epoch: 0.5 ** (epoch // 5),
        "exponential": lambda epoch: 0.9**epoch,
        "cosine": lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2,
    }
    factor = factors[schedule]
    return keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * factor(epoch) / factor(max(epoch - 1, 0)))


class TensorBoardLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes each epoch's metrics for TensorBoard through torch; Keras's own callback would import TensorFlow.

    Metrics named ``val_...`` go to the run ``validation``, all others to ``train``, so that TensorBoard draws both
    curves of a metric into one plot.

    Args:
        file: returns the path of a file in the folder of the run.
    """

    def __init__(self, file: File):
        super().__init__()
        self.file = file
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the two runs, and list the event files, which torch names itself."""
        from torch.utils.tensorboard import SummaryWriter  # an optional dependency

        for run in ("train", "validation"):
            folder = self.file(f"tensorboard/{run}/events").parent
            earlier = set(folder.glob("*"))
            self._writers[run] = SummaryWriter(str(folder))
            for path in set(folder.glob("*")) - earlier:
                self.file(f"tensorboard/{run}/{path.name}", written=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the metrics of epoch ``epoch``, counted from 0 as Keras counts."""
        for name, value in (logs or {}).items():
            run = "validation" if name.startswith("val_") else "train"
            self._writers[run].add_scalar(name.removeprefix("val_"), float(value), epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Flush and close."""
        for writer in self._writers.values():
            writer.close()


def check_callbacks(settings: Callbacks) -> None:
    """Refuse settings that ``make_callbacks`` would refuse; call it before the long work starts."""
    refuse(count_problem(name, getattr(settings, name), minimum=0) for name in ("early_stopping", "reduce_on_plateau"))
    if settings.schedule != "constant" and settings.reduce_on_plateau:
        raise InputError(
            f"expected one rule for the learning rate, got --schedule {settings.schedule} and --reduce-on-plateau"
        )
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "expected the package tensorboard for --tensorboard, found none: pip install 'k3torch[tensorboard]'"
        )
