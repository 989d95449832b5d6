"""A rich progress bar for ``fit``: epochs, loss, metrics and the time left."""

from collections.abc import Sequence
from contextlib import nullcontext
import sys
import time
from typing import Any, Self

from k3torch import interrupts, runtime
import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column


class EpochBar:
    """A bar over epochs with figures beside it; silent where standard error is not a terminal."""

    def __init__(self, title: str, epochs: int):
        shown = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),  # what the others leave
            MofNCompleteColumn(table_column=Column(min_width=2 * len(str(epochs)) + 1)),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(stderr=True),
            disable=not shown,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=epochs, figures="")

    def __enter__(self) -> Self:
        interrupts.check()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, figures: dict[str, float]) -> None:
        """Count one epoch and show ``figures``, name to value."""
        interrupts.check()
        self._bar.update(self._task, advance=1, figures=_in_short(figures))


def _in_short(figures: dict[str, float]) -> str:
    """Return the loss and the first metric, training/validation, so that a bar has room in 80 columns."""
    names = sorted((n for n in figures if n.removeprefix("val_") == n or n[4:] not in figures), key=_loss_first)
    texts = []
    for name in names[:2]:
        value, validated = f"{figures[name]:.3f}", figures.get(f"val_{name}")
        texts.append(f"{name} {value}" if validated is None else f"{name} {value}/{validated:.3f}")
    return "  ".join(texts)


def _loss_first(name: str) -> bool:
    return name != "loss"


class RichProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows an EpochBar during ``fit``; give ``fit`` verbose=0 beside it."""

    def __init__(self, title: str):
        super().__init__()
        self.title = title
        self._bar: EpochBar | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the bar."""
        self._bar = EpochBar(self.title, self.params["epochs"]).__enter__()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Move the bar by one epoch."""
        if self._bar is not None:
            self._bar.advance({name: float(value) for name, value in (logs or {}).items() if name != "learning_rate"})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar; call it when ``fit`` was interrupted, since Keras then does not."""
        if self._bar is not None:
            self._bar.__exit__()
            self._bar = None


class History(keras.callbacks.Callback):  # type: ignore[misc]
    """Appends one dict an epoch to ``epochs``: epoch (from 1), seconds and metrics; an interrupted run keeps them."""

    def __init__(self, epochs: list[dict[str, float]]):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Read the clock."""
        interrupts.check()
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the epoch."""
        metrics = {name: float(value) for name, value in (logs or {}).items()}
        self.epochs.append({"epoch": epoch + 1, "seconds": time.perf_counter() - self._started, **metrics})


def fit(
    model: keras.Model,
    loader: Any,
    *,
    epochs: int,
    title: str,
    history: list[dict[str, float]],
    validation: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    one_thread: bool = True,
    **how: Any,
) -> None:
    """Run ``model.fit`` on DataLoaders with a bar titled ``title``; each epoch's metrics are appended to ``history``.

    The operations of networks as small as the lecture's are fastest on ``one_thread``. ``how`` goes to ``model.fit``.
    """
    bar = RichProgress(title)
    try:
        with runtime.single_threaded() if one_thread else nullcontext():
            model.fit(
                loader,
                validation_data=validation,
                epochs=epochs,
                callbacks=[*callbacks, History(history), bar],
                verbose=0,
                **{"shuffle": False, **how},  # the loader does, and Keras warns otherwise
            )
    finally:
        bar.close()
