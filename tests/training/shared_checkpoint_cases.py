"""Trainings of several processes that are interrupted at a checkpoint and resumed.

``test_distributed.py`` interrupts all processes alike. ``test_shared_checkpoint.py`` kills processes that run
``python tests/training/shared_checkpoint_cases.py FOLDER BATCHES SECONDS``: it trains with a checkpoint after so many
batches, and waits so long in each.
"""

import contextlib
import io
import json
from pathlib import Path
import random
import sys
import time
from unittest import mock

import k3torch
from k3torch import processes
from k3torch.data.batch_parts import BatchParts
from k3torch.training import checkpoint, distributed
from k3torch.training.checkpoint import ExactCheckpoint
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.model_state import named_tensors
import keras
import numpy as np
import torch

EPOCHS, SAMPLES, BATCH = 2, 49, 16  # 4 batches an epoch; the last one has one sample, none in the second process
draw = np.random.default_rng(0)
X = draw.random((SAMPLES, 6)).astype("float32")
Y = (X[:, :1] > 0.5).astype("float32")
TOKENS = draw.integers(0, 5, (SAMPLES, 6)) * (np.arange(6) < draw.integers(1, 7, (SAMPLES, 1)))


class Interrupted(Exception):  # noqa: N818
    """Stands for the end of the processes."""


def loader(*tensors, shuffle=True):
    dataset = k3torch.array_loader(*tensors, batch_size=BATCH).dataset
    return k3torch.bag_loader(BatchParts(dataset), BATCH, shuffle=shuffle, seed=3)


class Counted(keras.layers.Layer):
    """A layer of the caller's that counts its calls in Python."""

    calls, supports_masking = 0, True

    def call(self, x):
        self.calls += 1
        return x


def with_dropout():
    x = inputs = keras.Input((6,))
    layers = [keras.layers.Dropout(0.3), keras.layers.Dense(8, activation="relu"), keras.layers.Dropout(0.3, seed=7)]
    for layer in [*layers, Counted(), keras.layers.Dense(1, activation="sigmoid")]:
        x = layer(x)
    model = k3torch.FastModel(inputs, x)
    model.compile("adam", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    return model, loader(X, Y), loader(X, Y, shuffle=False)


def masked():
    inputs = keras.Input((6,), dtype="int32")
    x = keras.layers.Embedding(5, 4, mask_zero=True)(inputs)
    for layer in (keras.layers.Dropout(0.3), Counted(), keras.layers.Dense(1)):
        x = layer(x)
    model = k3torch.FastModel(inputs, x)
    model.compile("rmsprop", "mse", metrics=["mae"])
    return model, loader(TOKENS, np.repeat(Y[:, None], 6, 1)), None


# name: a model and its data, the batches between two checkpoints, the checkpoint (epoch, batches) where all
# processes are interrupted, and whether its file is written before
CASES = {
    "in an epoch": (with_dropout, 2, (1, 2), True),
    "before the file is written": (with_dropout, 2, (1, 2), False),
    "before a batch without samples for a process": (masked, 3, (0, 3), True),
    "after the last epoch": (masked, "epoch", (2, 0), True),
}


@contextlib.contextmanager
def interrupted(place, written):
    """Interrupt all processes at the checkpoint of (epoch, batches), which is written or not; None: none of them."""
    write = checkpoint._Run.write

    def write_until(run, epoch, batches):
        skipped = mock.patch.object(CheckpointFolder, "write")
        with skipped if (epoch, batches) == place and not written else contextlib.nullcontext():
            write(run, epoch, batches)
        if (epoch, batches) == place:
            raise Interrupted

    with mock.patch.object(checkpoint._Run, "write", write_until):
        yield


def begin_as_a_new_process(seed):
    """Have what a process begins with, and which numbers it draws, differ from the process before."""
    distributed._Seed.own = None
    keras.utils.set_random_seed(seed + processes.rank())
    torch.rand(3), np.random.rand(), random.random(), keras.random.uniform((2,))


def fit(build, folder, every, resume=True, **changed):
    """Call ``fit`` with checkpoints, and return the model, its data, the history, and the best loss that was kept."""
    model, x, validation = build()
    stopping, log = keras.callbacks.EarlyStopping("loss", patience=9), keras.callbacks.CSVLogger(f"{folder}.csv")
    callbacks = [ExactCheckpoint(folder, every), stopping, log, *changed.pop("callbacks", [])]
    arguments = {"epochs": EPOCHS, "validation_data": validation, "verbose": 0, "shuffle": False, **changed}
    history = model.fit(x, resume=folder if resume else None, callbacks=callbacks, **arguments).history
    return model, x, history, stopping.best


def state(model):
    return [tensor.tolist() for _, tensor, _ in named_tensors(model)]


def fit_twice(build, folder, every):
    """Call ``fit``, and once more without checkpoints; return all state, and random numbers drawn then."""
    folder.parent.mkdir(exist_ok=True)
    model, x, history, best = fit(build, folder, every)
    first = state(model)
    model.fit(x, verbose=0, shuffle=False)
    calls = [layer.calls for layer in model.layers if isinstance(layer, Counted)]
    rows = Path(f"{folder}.csv").read_text() if processes.is_main() else ""
    return first, history, best, calls, state(model), rows, torch.rand(3).tolist(), random.random()


def resumed(folder):
    """Return for each case the state of an uninterrupted run and of a resumed one, and the lines on standard error."""
    found, whole = {}, {}
    for name, (build, every, place, written) in CASES.items():
        said = io.StringIO()
        with contextlib.redirect_stderr(said):
            if build not in whole:
                begin_as_a_new_process(1)
                whole[build] = fit_twice(build, folder / build.__name__, every)
            begin_as_a_new_process(1)
            with contextlib.suppress(Interrupted), interrupted(place, written):
                fit_twice(build, folder / name, every)
            begin_as_a_new_process(50)
            again = fit_twice(build, folder / name, every)
        found[name] = whole[build], again, [line for line in said.getvalue().splitlines() if "resuming" in line]
    return found


def message(call, *arguments, **options):
    """Return the message of the InputError that a call raises."""
    try:
        call(*arguments, **options)
    except k3torch.InputError as error:
        return str(error)
    return "no error"


def refusals(folder, alone):
    """Return the messages for what cannot be resumed; ``alone`` is a folder of checkpoints of one process."""
    model, x, _ = with_dropout()
    plain = keras.Model(model.inputs, model.outputs)
    plain.compile("sgd", "mse")
    return {
        "number": message(fit, with_dropout, alone, 2),
        "new": message(fit, with_dropout, folder / "in an epoch", 2, resume=False),
        "plain": message(checkpoint.resume_fit, plain, folder / "plain", x, verbose=0),
    }


class Slow(keras.callbacks.Callback):
    """Waits in each batch."""

    def __init__(self, seconds):
        super().__init__()
        self._seconds = lambda: seconds  # a number would be part of the checkpoint

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(self._seconds())


def main(folder, every, seconds):
    """Train in a process of a run, which may be killed."""
    with distributed.process_group(torch.device("cpu")):
        keras.utils.set_random_seed(1)
        model, _, history, _ = fit(with_dropout, folder / "run", every, epochs=6, callbacks=[Slow(seconds)])
        found = json.dumps([state(model), history, torch.rand(3).tolist()])
        (folder / f"{processes.rank()}.json").write_text(found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
