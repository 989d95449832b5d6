"""The state of a job that is trained with Keras's ``fit``, for a checkpoint at the end of an epoch."""

from collections.abc import Sequence
from typing import Any

from k3torch.training import checkpoint_state as state
from k3torch.training.checkpoint_file import fitting
from k3torch.validation.checkpoints import Current
import keras


class FitCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Loads and stores one job; it acts after all other callbacks.

    What is stored of a job that is complete is its state before ``fit`` ends, since callbacks may change weights then:
    ``fit`` of no further epoch has them do so again.

    Args:
        current: the training.
        number: of the job in it.
        trained: the model.
        callbacks: those whose state is stored.
        epochs: at which the training ends.
    """

    def __init__(self, current: Current, number: int, trained: keras.Model, callbacks: Sequence[Any], epochs: int):
        super().__init__()
        self._current, self._number, self._callbacks, self._epochs = current, number, callbacks, epochs
        self._trained, self._stored = trained, current.jobs.get(number)

    @fitting()
    def first_epoch(self, epoch: int) -> int:
        """Return the epoch with which the job goes on, or ``epoch`` if nothing is stored of it."""
        if self._stored is None:
            return epoch
        return self._epochs if self._stored["stopped"] else int(self._stored["next"])

    @fitting()
    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Load what is stored."""
        self._python = state.PythonValues(self._trained)
        if self._stored is not None:
            state.load_model_values(self._trained, self._stored["model"])
            state.load_callback_values(self._callbacks, self._stored["callbacks"])
            self._python.load(self._stored["python"])
            state.set_random_values(self._stored["random"], [])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Store the job if a checkpoint is due or the job is complete."""
        stopped = bool(self._trained.stop_training)
        due, complete = self._current.is_due(), stopped or epoch + 1 == self._epochs
        if not self._current.is_stored or not (due or complete):
            return
        model = state.model_values(self._trained)
        if complete and len(self._callbacks) > 1:
            model["tensors"] = [tensor.clone() for tensor in model["tensors"]]
        self._current.jobs[self._number] = {
            "model": model,
            "callbacks": state.callback_values(self._callbacks),
            "python": self._python.values(),
            "random": state.random_values([]),
            "next": epoch + 1,
            "stopped": stopped,
        }
        if due:
            self._current.write()
