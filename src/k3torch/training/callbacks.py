"""Keras's callbacks as settings: what a person may add to a training run from the command line."""

from collections.abc import Callable
from dataclasses import dataclass, fields
import importlib.util
import math
from pathlib import Path
from typing import Any, Literal

from k3torch.errors import InputError
import keras

Schedule = Literal["constant", "step", "exponential", "cosine"]


@dataclass(frozen=True)
class CallbackSettings:
    """Callbacks that a script offers; its settings inherit these beside those of the machine.

    Those that choose an epoch go by the validation loss, so they need a run that validates.
    """

    early_stopping: int = 0
    """Stop after this many epochs without a lower validation loss, and take the best weights back; 0 never stops."""
    best_checkpoint: bool = False
    """Keep the weights of the epoch with the lowest validation loss in best.weights.h5."""
    schedule: Schedule = "constant"
    """Learning rate over the epochs: halved every 5 (step), 0.9 of the last (exponential), or down to 0 (cosine)."""
    reduce_on_plateau: int = 0
    """Divide the learning rate by 5 after this many epochs without a lower validation loss; 0 never does."""
    csv_log: bool = False
    """Write the figures of each epoch to log.csv while the run goes on, epochs counted from 0 as Keras does."""
    tensorboard: bool = False
    """Write the figures of each epoch to the folder tensorboard, for `tensorboard --logdir`."""


def asks_for_callbacks(settings: CallbackSettings) -> bool:
    """Tell whether any of the callback settings differs from its default."""
    return any(getattr(settings, field.name) != field.default for field in fields(CallbackSettings))


def make_callbacks(settings: CallbackSettings, folder: Path, epochs: int) -> list[keras.callbacks.Callback]:
    """Return the Keras callbacks that ``settings`` ask for.

    Args:
        settings: what is asked for.
        folder: where those that write, write; it must exist.
        epochs: length of the run, which the cosine schedule needs to know.

    Raises:
        InputError: for a negative patience, a schedule beside a reduction on a plateau (the schedule would undo it),
            and TensorBoard where its package is missing.
    """
    check_callbacks(settings)
    made: list[keras.callbacks.Callback] = []
    if settings.schedule != "constant":
        made.append(scheduler(settings.schedule, epochs))
    if settings.reduce_on_plateau:
        made.append(keras.callbacks.ReduceLROnPlateau(factor=0.2, patience=settings.reduce_on_plateau))
    if settings.best_checkpoint:
        best = str(folder / "best.weights.h5")
        made.append(keras.callbacks.ModelCheckpoint(best, save_best_only=True, save_weights_only=True))
    if settings.early_stopping:
        made.append(keras.callbacks.EarlyStopping(patience=settings.early_stopping, restore_best_weights=True))
    if settings.csv_log:
        made.append(keras.callbacks.CSVLogger(str(folder / "log.csv")))
    if settings.tensorboard:
        made.append(TensorBoardLog(folder / "tensorboard"))
    return made


def scheduler(schedule: Schedule, epochs: int) -> keras.callbacks.LearningRateScheduler:
    """Return the callback that follows ``schedule``, from the learning rate that the optimizer begins with.

    Each epoch scales the rate of the epoch before it, so that a run resumed at ``initial_epoch`` goes on as if it had
    never stopped.
    """
    shares: dict[str, Callable[[int], float]] = {
        "constant": lambda epoch: 1.0,  # noqa: ARG005
        "step": lambda epoch: 0.5 ** (epoch // 5),
        "exponential": lambda epoch: 0.9**epoch,
        "cosine": lambda epoch: (1 + math.cos(math.pi * epoch / epochs)) / 2,
    }
    share = shares[schedule]
    return keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * share(epoch) / share(max(epoch - 1, 0)))


class TensorBoardLog(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes each epoch's figures for TensorBoard through torch; Keras's own callback would load TensorFlow.

    Figures named ``val_...`` go to the run ``validation``, all others to ``train``, so that TensorBoard draws both
    curves of a figure into one picture.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self._writers: dict[str, Any] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the two runs."""
        from torch.utils.tensorboard import SummaryWriter  # an extra, needed by nobody else

        self._writers = {run: SummaryWriter(str(self.folder / run)) for run in ("train", "validation")}

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the figures of epoch ``epoch``, counted from 0 as Keras counts."""
        for name, value in (logs or {}).items():
            run = "validation" if name.startswith("val_") else "train"
            self._writers[run].add_scalar(name.removeprefix("val_"), float(value), epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Flush and close."""
        for writer in self._writers.values():
            writer.close()


def check_callbacks(settings: CallbackSettings) -> None:
    """Refuse settings that ``make_callbacks`` would refuse; call it before the long work starts."""
    for name in ("early_stopping", "reduce_on_plateau"):
        if getattr(settings, name) < 0:
            raise InputError(f"expected {name} of 0 epochs or more, got {getattr(settings, name)}: 0 switches it off")
    if settings.schedule != "constant" and settings.reduce_on_plateau:
        raise InputError(
            f"expected one rule for the learning rate, got schedule {settings.schedule!r} and reduce_on_plateau: "
            "choose one of them"
        )
    if settings.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "expected the package tensorboard for --tensorboard, found none: pip install 'k3torch[tensorboard]'"
        )
