"""What a ``FastModel`` asks of the callbacks of ``fit``, and the callbacks that it puts before and after them."""

from typing import Any

from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.keras_internals import is_default
from k3torch.training.progress import RichProgress
import keras

Logs = dict[str, Any]


class BeforeCallbacks(keras.callbacks.Callback):  # type: ignore[misc]
    """Brings weights and optimizer variables up to date before the caller's callbacks, to which ``fit`` prepends it."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Let rows of the first kernel catch up, and none lag in what callbacks do with the model."""
        self.model._catch_up()
        self.model._dense_reason = ""


class AfterCallbacks(keras.callbacks.Callback):  # type: ignore[misc]
    """Chooses the parts of the step again if one of the caller's callbacks has changed the model.

    Keras calls it after the caller's callbacks, since ``fit`` appends it to them. It checks before each epoch, and
    after each batch if one of the other callbacks acts on batches.

    Since it overrides ``on_train_batch_end`` and ``on_test_batch_end``, Keras calls all callbacks in this thread.
    Otherwise Keras would call them in a second thread, which competes with the kernels for cores.

    Args:
        every_batch: whether one of the other callbacks acts on batches.
        dense_reason: why steps within an epoch go through all weights, or None.
    """

    def __init__(self, every_batch: bool, dense_reason: str | None = None):
        super().__init__()
        self._every_batch, self._dense_reason = every_batch, dense_reason

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Check for changes by callbacks, at the beginning of this epoch or at the end of the one before."""
        self._choose_again_if_changed()
        self.model._dense_reason = self._dense_reason

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Check for changes by callbacks that act on batches."""
        if self._every_batch:
            self._choose_again_if_changed()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Check for changes by callbacks that act on batches."""
        if self._every_batch:
            self._choose_again_if_changed()

    def _choose_again_if_changed(self) -> None:
        prepare = getattr(self.model, "_prepare_parts", None)
        if prepare is not None and not self.model.jit_compile:  # compiled parts are kept during a fit
            prepare()


class _NoCallbacks(keras.callbacks.CallbackList):  # type: ignore[misc]
    """A list of no callbacks: Keras's own converts the outputs of each batch for them, in a second thread."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Do nothing."""


def callbacks_of_predict(model: keras.Model, callbacks: Any, verbose: int) -> Any:
    """Return the callbacks to call ``predict`` with: the caller's, or for none a list that does nothing."""
    return callbacks if callbacks or verbose else _NoCallbacks(model=model)


def reads_every_batch(phase: str, callbacks: Any, verbose: Any) -> bool:
    """Return whether anything reads the logs of single batches; ``phase`` is "train" or "test"."""
    if isinstance(callbacks, keras.callbacks.CallbackList):  # from inside fit, its progress bar included
        callbacks, verbose = [c for c in callbacks.callbacks if not _reads_no_logs(c)], 0
    return verbose not in (0, 2) or any_batch_hook(phase, keras.tree.flatten(callbacks or []))


def _reads_no_logs(callback: Any) -> bool:
    """Return whether a callback acts after batches without their metrics, as Keras's line for each epoch does."""
    lines_alone = isinstance(callback, keras.callbacks.ProgbarLogger) and callback.verbose == 2
    return lines_alone or isinstance(callback, AfterCallbacks | ExactCheckpoint)


def reader_within_epochs(callbacks: list[Any]) -> str | None:
    """Return which of the caller's callbacks may read weights within an epoch, or None."""
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    reads_no_weights = (ExactCheckpoint, RichProgress, keras.callbacks.ProgbarLogger, keras.callbacks.TerminateOnNaN)
    savers = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
    for each in callbacks:
        if type(each) in reads_no_weights or (type(each) in savers and each.save_freq == "epoch"):
            continue
        if not all(is_default(getattr(each, hook)) for hook in hooks):
            return f"the callback {type(each).__name__}, which acts on batches"
    return None


def any_batch_hook(phase: str, callbacks: list[Any]) -> bool:
    """Return whether a callback acts after batches; a checkpoint does, but changes nothing and reads no logs."""
    hooks = (f"on_{phase}_batch_end", *(["on_batch_end"] if phase == "train" else []))
    others = [callback for callback in callbacks if not isinstance(callback, ExactCheckpoint)]
    return any(not is_default(getattr(callback, hook)) for callback in others for hook in hooks)
