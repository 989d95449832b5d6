"""Callbacks that show and record the epochs of ``fit``, and ``fit`` with both."""

from collections.abc import Sequence
from contextlib import nullcontext
import time
from typing import Any

from k3torch import interrupts, processes, runtime
from k3torch.training.checkpoint import ExactCheckpoint, resume_fit
from k3torch.training.epoch_bar import EpochBar, place
import keras

__all__ = ["EpochBar", "History", "RichProgress", "displays", "fit"]


class RichProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows an ``EpochBar`` during ``fit``; pass ``verbose=0`` to ``fit``.

    It overrides only those hooks of batches that get no metrics, so that metrics are still read once an epoch.

    Args:
        bar: the title of a bar, which is opened and closed with each training; or an open bar, which goes on from where
            it is, and is left open.
    """

    def __init__(self, bar: str | EpochBar = "epochs"):
        super().__init__()
        self._given = bar
        self._bar: EpochBar | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Open the bar."""
        self._bar = EpochBar(self._given, self.params["epochs"]) if isinstance(self._given, str) else self._given
        self._before = self._bar.done
        if isinstance(self._given, str):
            self._bar.open()
        if self.model.jit_compile:
            self._bar.status("compiling")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Show where this epoch is among all."""
        if self._bar is not None:
            self._bar.begin_epoch(self._before + epoch, self.params["steps"])

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the batch, in a long epoch."""
        if self._bar is not None:
            self._bar.begin_batch(batch)

    def on_test_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Show the batch of the validation, in a long epoch."""
        if self._bar is not None:
            self._bar.begin_batch(batch, validation=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance the bar by one epoch."""
        if self._bar is not None:
            self._bar.advance({name: float(value) for name, value in (logs or {}).items() if name != "learning_rate"})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Close the bar."""
        self.close()

    def close(self) -> None:
        """Close the bar; call it after an exception in ``fit``, since Keras then calls no ``on_train_end``."""
        if self._bar is not None and isinstance(self._given, str):
            self._bar.close()
        self._bar = None


def displays(phase: str, verbose: Any, callbacks: Sequence[Any]) -> tuple[Any, list[RichProgress]]:
    """Return what ``verbose="auto"`` stands for: the ``verbose`` that Keras gets, and a bar of our own or none.

    - While a bar is drawn, nothing; in several processes nothing but in the first, whatever ``verbose`` is.
    - On a terminal and in notebooks, for ``fit`` a bar over its epochs; for ``evaluate`` and ``predict`` Keras's bar.
    - Elsewhere Keras's line for each epoch: its bar would print a line for each update.

    Args:
        phase: "train", "test" or "predict".
        verbose: as given by the caller; other values than "auto" are returned unchanged.
        callbacks: the caller's.
    """
    if not processes.is_main():
        return 0, []
    if verbose != "auto" or any(isinstance(callback, keras.callbacks.ProgbarLogger) for callback in callbacks):
        return verbose, []
    if EpochBar.any_drawn() or any(isinstance(callback, RichProgress) for callback in callbacks):
        return 0, []
    if place() == "log" or not keras.config.is_interactive_logging_enabled():
        return 2, []
    return (0, [RichProgress()]) if phase == "train" else (verbose, [])


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
    checkpoint: ExactCheckpoint | None = None,
    resume: bool = False,
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
        checkpoint: writes the checkpoints of this training, or None.
        resume: whether to go on from the newest checkpoint in the folder of ``checkpoint``.
        one_thread: whether torch uses a single thread, which is the fastest for small networks.
        fit_arguments: further arguments of ``model.fit``.
    """
    bar = RichProgress(title)
    try:
        with runtime.single_threaded() if one_thread else nullcontext():
            arguments = {
                "validation_data": validation,
                "epochs": epochs,
                "callbacks": [*callbacks, History(history), bar],
                "verbose": 0,
                "shuffle": False,  # the loader shuffles; Keras warns if both do
                **fit_arguments,
            }
            if checkpoint is None:
                model.fit(loader, **arguments)
            else:
                arguments["callbacks"].append(checkpoint)
                resume_fit(model, checkpoint.folder.path if resume else None, loader, **arguments)
    finally:
        bar.close()
