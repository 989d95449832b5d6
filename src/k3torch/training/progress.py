"""Progress bars for training with epochs, loss, metrics and the time left, and ``fit`` with such a bar."""

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
    """A progress bar over epochs with metrics; prints nothing if standard error is not a terminal."""

    def __init__(self, title: str, epochs: int):
        shown = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),  # the width that the other columns leave
            MofNCompleteColumn(table_column=Column(min_width=2 * len(str(epochs)) + 1)),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            console=Console(stderr=True),
            disable=not shown,
            expand=True,
        )
        self._task = self._bar.add_task(title, total=epochs, metrics="")

    def __enter__(self) -> Self:
        interrupts.check()
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, metrics: dict[str, float]) -> None:
        """Count one epoch and show its metrics, name to value."""
        interrupts.check()
        self._bar.update(self._task, advance=1, metrics=_shortened(metrics))


def _shortened(metrics: dict[str, float]) -> str:
    """Return the loss and the first metric, training/validation, so that a line fits in 80 columns."""
    names = sorted(
        (n for n in metrics if n.removeprefix("val_") == n or n[4:] not in metrics), key=lambda name: name != "loss"
    )
    texts = []
    for name in names[:2]:
        value, validated = f"{metrics[name]:.3f}", metrics.get(f"val_{name}")
        texts.append(f"{name} {value}" if validated is None else f"{name} {value}/{validated:.3f}")
    return "  ".join(texts)


class RichProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows an EpochBar during ``fit``; pass ``verbose=0`` to ``fit``."""

    def __init__(self, title: str):
        super().__init__()
        self.title = title
        self._bar: EpochBar | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the bar."""
        self._bar = EpochBar(self.title, self.params["epochs"]).__enter__()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance the bar by one epoch."""
        if self._bar is not None:
            self._bar.advance({name: float(value) for name, value in (logs or {}).items() if name != "learning_rate"})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar; call it after an exception in ``fit``, since Keras then calls no ``on_train_end``."""
        if self._bar is not None:
            self._bar.__exit__()
            self._bar = None


class History(keras.callbacks.Callback):  # type: ignore[misc]
    """Appends a dict per epoch to ``epochs``: epoch (from 1), seconds and metrics; kept if the run is interrupted."""

    def __init__(self, epochs: list[dict[str, float]]):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the timer."""
        interrupts.check()
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Append the epoch."""
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
    **fit_arguments: Any,
) -> None:
    """Call ``model.fit`` with a progress bar and record each epoch.

    Args:
        model: a compiled model.
        loader: the training batches, usually a DataLoader.
        epochs: passes over ``loader``.
        title: of the progress bar.
        history: gets a dict per epoch, as ``History`` appends it.
        validation: the validation batches, or None.
        callbacks: further callbacks.
        one_thread: whether torch uses a single thread, which is the fastest for small networks.
        fit_arguments: further arguments of ``model.fit``.
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
                **{"shuffle": False, **fit_arguments},  # the loader shuffles; Keras warns if both do
            )
    finally:
        bar.close()
