"""A job that fit trains is stored at the end of an epoch; a callback's last change of the weights is made again."""

from k3torch.validation.checkpoints import Current
from k3torch.validation.fit_checkpoint import FitCheckpoint
import keras
import numpy as np


class Doubling(keras.callbacks.Callback):
    """Doubles the weights when fit ends."""

    def on_train_end(self, logs=None):
        self.model.set_weights([2 * weight for weight in self.model.get_weights()])


class Stored(Current):
    is_stored = True

    def is_due(self):
        return False


def fitted(current, epochs=3):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    callbacks = [Doubling(), keras.callbacks.History()]
    checkpoint = FitCheckpoint(current, 0, model, callbacks, epochs)
    x = np.arange(8.0).reshape(4, 2)
    history = model.fit(
        x, x.sum(1), epochs=epochs, initial_epoch=checkpoint.first_epoch(0), verbose=0,
        callbacks=[*callbacks, checkpoint],
    )  # fmt: skip
    return [value.tobytes() for value in model.get_weights()], history.history["loss"], history.epoch


def test_a_complete_job_is_loaded_and_not_trained():
    current = Stored()
    expected = fitted(current)
    assert current.jobs[0]["next"] == 3
    assert fitted(Stored(stored=current.values())) == expected


def test_a_job_without_checkpoints_is_not_stored():
    current = Current()
    fitted(current)
    assert current.jobs == {}
