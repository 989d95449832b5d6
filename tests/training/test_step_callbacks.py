"""What is asked of callbacks: whether they act within an epoch, and whether they read logs or weights there."""

from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.step_callbacks import (
    any_batch_hook,
    callbacks_of_predict,
    reader_within_epochs,
    reads_every_batch,
)
import keras
from keras import callbacks
import pytest


class OnBatchBegin(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        pass


class OnBatchEnd(keras.callbacks.Callback):
    def on_batch_end(self, batch, logs=None):
        pass


class OnTestBatch(keras.callbacks.Callback):
    def on_test_batch_end(self, batch, logs=None):
        pass


class Subclass(callbacks.TerminateOnNaN):
    """May read anything."""


@pytest.mark.parametrize("kind", [OnBatchBegin, OnBatchEnd, Subclass])
def test_who_acts_within_epochs_may_read_weights(kind):
    quiet = callbacks.History()
    assert reader_within_epochs([quiet, kind()]) == f"the callback {kind.__name__}, which acts on batches"


def test_who_acts_between_epochs_or_reads_no_weights_does_not(tmp_path):
    quiet = [
        callbacks.History(),
        callbacks.EarlyStopping(),
        callbacks.TerminateOnNaN(),
        callbacks.LambdaCallback(on_epoch_end=print),
        callbacks.ModelCheckpoint(tmp_path / "a.keras"),
        callbacks.BackupAndRestore(tmp_path / "b"),
        ExactCheckpoint(tmp_path / "c"),
        OnTestBatch(),
    ]
    assert reader_within_epochs(quiet) is None
    assert reader_within_epochs([]) is None


def test_keras_savers_within_epochs_do(tmp_path):
    savers = [
        callbacks.ModelCheckpoint(tmp_path / "a.keras", save_freq=5),
        callbacks.BackupAndRestore(tmp_path / "b", save_freq=5),
        callbacks.LambdaCallback(on_train_batch_end=print),
    ]
    for saver in savers:
        assert type(saver).__name__ in reader_within_epochs([saver])


def test_hooks_of_a_phase():
    assert any_batch_hook("train", [OnBatchEnd()])
    assert not any_batch_hook("test", [OnBatchEnd()])
    assert any_batch_hook("test", [OnTestBatch()])
    assert not any_batch_hook("train", [OnTestBatch(), OnBatchBegin()])


def test_the_bar_of_keras_reads_logs_and_its_lines_do_not():
    assert not reads_every_batch("train", [OnTestBatch()], 2)
    assert reads_every_batch("train", [], 1)


class Outputs:
    """Counts how often they are converted."""

    conversions = 0

    def __float__(self):
        self.conversions += 1
        return 0.0


def test_outputs_of_predict_are_converted_for_callbacks_and_bars_alone():
    model, quiet = keras.Sequential([keras.Input((1,))]), [callbacks.History()]
    assert callbacks_of_predict(model, quiet, 0) is quiet
    assert callbacks_of_predict(model, None, 1) is None
    none = callbacks_of_predict(model, [], 0)
    outputs = Outputs()
    for callback_list, conversions in ((callbacks.CallbackList(model=model), 1), (none, 1)):
        callback_list.on_predict_begin()
        callback_list.on_predict_batch_end(0, {"outputs": outputs})
        callback_list.on_predict_end()
        assert outputs.conversions == conversions
