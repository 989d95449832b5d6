"""Early stopping of each model of a stack, by Keras's own callback."""

from collections.abc import Sequence
import copy
from typing import Any

from k3torch.stack.model_stack import ModelStack
from k3torch.training.checkpoint_state import callback_values, load_callback_values
import keras
import numpy as np
from numpy.typing import NDArray
import torch


def supported(callbacks: Sequence[Any]) -> bool:
    """Return whether a stack can follow these callbacks: at most one, Keras's EarlyStopping itself."""
    return len(callbacks) <= 1 and all(type(callback) is keras.callbacks.EarlyStopping for callback in callbacks)


class _StackedModel:
    """What EarlyStopping uses of a model, for one that is in a stack."""

    def __init__(self, stack: ModelStack, number: int):
        self._stack, self._number = stack, number
        self.stop_training = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stack.models[self._number], name)

    def get_weights(self) -> Any:
        return self._stack.weights(self._number)

    def set_weights(self, weights: Any) -> None:
        self._stack.set_weights(self._number, weights)


class Stopping:
    """Decides for one model of a stack after each epoch whether it is trained further.

    Args:
        callback: as the caller made it; a copy follows this model.

    Attributes:
        callback: the copy.
        epochs: for which the model was trained.
        stopped: whether it is not to be trained further.
    """

    def __init__(self, callback: keras.callbacks.EarlyStopping):
        self.callback = copy.copy(callback)
        self.callback.on_train_begin()
        self.epochs = 0
        self._final: list[torch.Tensor] | None = None  # where one step trains all models, it goes on changing them
        self.stopped = False

    def enter(self, stack: ModelStack, number: int) -> None:
        """Follow the model of this number from now on, which goes on where it was in an earlier stack."""
        self._stack, self._number = stack, number
        self._model = _StackedModel(stack, number)
        self.callback.set_model(self._model)

    def after_epoch(self, epoch: int, names: Sequence[str], values: NDArray[np.float32]) -> bool:
        """Return whether the model is to be trained further after an epoch with these metrics.

        Args:
            epoch: from 0 on.
            names: of the metrics.
            values: of training and of validation, (2, metrics).
        """
        logged = [prefix + name for prefix in ("", "val_") for name in names]
        logs = dict(zip(logged, values.flatten().tolist(), strict=True))
        self.callback.on_epoch_end(epoch, logs)
        self.epochs = epoch + 1
        self.stopped = self._model.stop_training
        if self.stopped:
            self.callback.on_train_end()
            self._final = [tensor.clone() for tensor in self._stack.state(self._number)]
        return not self.stopped

    def leave(self) -> None:
        """Put back the state of a model that had stopped before the others, before the stack is left."""
        if self._final is not None:
            for tensor, value in zip(self._stack.state(self._number), self._final, strict=True):
                tensor.copy_(value)

    def finish(self) -> None:
        """Leave the model as the callback does at the end of ``fit``."""
        if self._final is None:
            self.callback.on_train_end()
        self.leave()

    def values(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        callback = callback_values([self.callback])
        return {"callback": callback, "epochs": self.epochs, "stopped": self.stopped, "final": self._final}

    def load(self, values: dict[str, Any]) -> None:
        """Set the state that ``values`` returned."""
        load_callback_values([self.callback], values["callback"])
        self.epochs, self.stopped, self._final = values["epochs"], values["stopped"], values["final"]

    @property
    def kept(self) -> int:
        """The epoch, from 0, whose weights the model has after ``finish``; -1 before the first."""
        restored = self.callback.restore_best_weights and self.callback.best_weights is not None
        return int(self.callback.best_epoch) if restored else self.epochs - 1
