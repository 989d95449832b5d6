"""Trainings that one process and several processes of a run do alike, for ``test_distributed.py``.

``python tests/training/distributed_cases.py FOLDER`` does them in a process that belongs to a run, and writes for each
the weights, the history and messages to FOLDER.
"""

from contextlib import suppress
import io
import json
import os
from pathlib import Path
import runpy
import sys

import k3torch
from k3torch import cli, processes
from k3torch.data.batch_parts import BatchParts
from k3torch.training.distributed import process_group
import keras
import numpy as np
from scipy.sparse import csr_matrix
from tests.training import shared_checkpoint_cases as checkpoints
from tests.training.shared_checkpoint_cases import message
import torch
from torch.utils.data import DataLoader, Dataset

SAMPLES, WORDS, BATCH = 49, 12, 16  # the last batch has one sample: in one of the processes it is empty
draw = np.random.default_rng(0)
X = (draw.random((SAMPLES, WORDS)) * (draw.random((SAMPLES, WORDS)) < 0.4)).astype("float32")
Y = (X @ draw.normal(size=WORDS) > 0).astype("float32")[:, None]
W = draw.random(SAMPLES).astype("float32") * (np.arange(SAMPLES) % 5 > 0)
TOKENS = draw.integers(0, 5, (SAMPLES, 6)) * (np.arange(6) < draw.integers(1, 7, (SAMPLES, 1)))


def divided(dataset, shuffle=True, batch_size=BATCH):
    """Return a loader of this process's parts of the batches; of all samples in a process alone."""
    return k3torch.bag_loader(BatchParts(dataset), batch_size, shuffle=shuffle, seed=3)


def arrays(*tensors):
    return k3torch.array_loader(*tensors, batch_size=BATCH).dataset


def bags(**options):
    return k3torch.BagDataset(csr_matrix(X), Y, **options)


def network(inputs, *layers, kind=k3torch.FastModel):
    x = inputs
    for layer in layers:
        x = layer(x)
    return kind(inputs, x)


def dense(optimizer, loss="binary_crossentropy", metrics=("accuracy",), **options):
    """A network of two layers on dense samples; ``options`` are those of the first."""
    model = network(
        keras.Input((WORDS,)),
        keras.layers.Dense(8, activation="relu", **options),
        keras.layers.Dense(1, activation="sigmoid"),
    )
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def sparse(optimizer="rmsprop", **options):
    model = network(
        keras.Input((WORDS,)),
        k3torch.SparseDense(8, activation="relu", **options),
        keras.layers.Dense(1, activation="sigmoid"),
    )
    model.compile(optimizer, "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc"), "precision"])
    return model


class Scaled(keras.layers.Layer):
    """A layer of the caller's, for which the forward pass falls back to Keras."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.unused = self.add_weight(shape=(2,), initializer="ones")

    def call(self, x):
        return x * self.scale


def own_layer():
    model = network(keras.Input((WORDS,)), Scaled(), keras.layers.Dense(1, activation="sigmoid"))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def masked(reduction):
    model = network(
        keras.Input((6,), dtype="int32"), keras.layers.Embedding(5, 4, mask_zero=True), keras.layers.Dense(1)
    )
    model.compile("adam", keras.losses.MeanSquaredError(reduction=reduction), metrics=["mae"])
    return model


def two_outputs():
    inputs = keras.Input((WORDS,))
    hidden = keras.layers.Dense(8, activation="relu")(inputs)
    model = k3torch.FastModel(
        inputs, [keras.layers.Dense(1, name="a")(hidden), keras.layers.Dense(2, name="b")(hidden)]
    )
    model.compile("adam", ["mse", "mae"], loss_weights=[1.0, 0.5])
    return model


class TwoTargets(Dataset):
    """Samples with two targets, one by one."""

    def __len__(self):
        return SAMPLES - 1

    def __getitem__(self, i):
        return X[i], (Y[i], X[i, :2])


def plain(dataset):
    generator = torch.Generator().manual_seed(3)
    return DataLoader(BatchParts(dataset), batch_size=BATCH, shuffle=True, generator=generator)


def weighted_metrics():
    model = dense("adam")
    model.compile("adam", "binary_crossentropy", weighted_metrics=["accuracy", "mae"])
    return model


def weighted_mean():
    return dense(
        "rmsprop", keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"), activity_regularizer="l2"
    )


RMSPROP = {"x": lambda: divided(bags()), "validation_data": lambda: divided(bags(), shuffle=False, batch_size=20)}
DENSE = {"x": lambda: divided(arrays(X, Y))}
WEIGHTED = {"x": lambda: divided(arrays(X, Y, W))}
MASKED = {"x": lambda: divided(arrays(TOKENS, np.repeat(Y[:, None], 6, 1)))}
# name: a function that returns a model, and the arguments of fit, data as functions.
CASES = {
    "RMSprop on bags": (sparse, RMSPROP),
    "Adam on bags, metrics read every batch": (
        lambda: sparse("adam"),
        RMSPROP | {"callbacks": [keras.callbacks.TerminateOnNaN(), keras.callbacks.EarlyStopping()]},
    ),
    "sample weights": (weighted_metrics, {"x": lambda: divided(bags(sample_weight=W))}),
    "penalties": (lambda: dense("adam", kernel_regularizer="l2", activity_regularizer="l1"), DENSE),
    "mean with sample weights": (weighted_mean, WEIGHTED),
    "sum": (lambda: dense("sgd", keras.losses.MeanSquaredError(reduction="sum"), kernel_regularizer="l1"), DENSE),
    "clipped and averaged": (lambda: dense(keras.optimizers.Adam(global_clipnorm=0.1, use_ema=True)), DENSE),
    "accumulated": (lambda: dense(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)), DENSE),
    "masked": (lambda: masked("sum_over_batch_size"), MASKED),
    "masked, with sample weights": (
        lambda: masked("mean_with_sample_weight"),
        {"x": lambda: divided(arrays(TOKENS, np.repeat(Y[:, None], 6, 1), np.repeat(W[:, None], 6, 1)))},
    ),
    "a layer of the caller's, an unused weight": (own_layer, DENSE),
    "two outputs, samples one by one": (two_outputs, {"x": lambda: plain(TwoTargets())}),
    "no shuffling": (lambda: dense("adam"), {"x": lambda: divided(arrays(X, Y), shuffle=False)}),
}


def train(name):
    """Train a model of ``CASES``, and return its weights and history."""
    build, arguments = CASES[name]
    keras.utils.set_random_seed(1 + processes.rank())  # the first process's weights count
    model = build()
    given = {key: value() if callable(value) else value for key, value in arguments.items()}
    history = model.fit(epochs=2, shuffle=False, verbose=0, **given).history
    metrics = model.evaluate(divided(bags(), shuffle=False), verbose=0, return_dict=True) if name in BAGS else {}
    return model, history | {f"test_{key}": [value] for key, value in metrics.items()}


BAGS = [name for name in CASES if "bags" in name]


class OwnStep(k3torch.FastModel):
    """A model whose training step averages nothing."""

    def train_step(self, data):
        self.weights[0].assign_add(self.weights[0] * 0 + processes.rank())
        return {"loss": 0.0}


class OwnLoss(k3torch.FastModel):
    """A model whose whole step falls back to Keras."""

    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


class OwnMetric(keras.metrics.Metric):
    """A metric of the caller's."""

    def update_state(self, *_, **__):
        pass

    def result(self):
        return keras.ops.zeros(())


def refusals(folder):
    """Return the messages for what several processes cannot do."""
    data, part = divided(arrays(X, Y)), processes.rank() + 1
    normalized = network(keras.Input((WORDS,)), keras.layers.BatchNormalization(), keras.layers.Dense(1))
    normalized.compile("sgd", "mse")
    step, loss = (network(keras.Input((WORDS,)), keras.layers.Dense(1), kind=kind) for kind in (OwnStep, OwnLoss))
    for model in (step, loss):
        model.compile("sgd", "mse")
    mixed = two_outputs()
    mixed.compile("sgd", [keras.losses.MeanSquaredError(reduction="sum"), "mse"])
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    return {
        "state": message(normalized.fit, data, verbose=0),
        "own step": message(step.fit, data, verbose=0),
        "own loss": message(loss.fit, data, verbose=0),
        "own metric": message(dense("sgd", metrics=[OwnMetric()]).fit, data, verbose=0),
        "reductions": message(mixed.fit, plain(TwoTargets()), verbose=0),
        "backup": message(dense("sgd").fit, data, verbose=0, callbacks=[backup]),
        "batches": message(dense("sgd").fit, X[: 20 * part], Y[: 20 * part], batch_size=10, verbose=0),
        "batch size": message(dense("sgd").fit, divided(arrays(X, Y), batch_size=1), verbose=0),
    }


def dropout():
    """Return what two fits of a model with dropout leave: its weights, and outputs of the layers in this process."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dropout(0.5), keras.layers.Dropout(0.5, seed=7)]
    model = network(keras.Input((WORDS,)), *layers, keras.layers.Dense(1, activation="sigmoid"))
    model.compile("adam", "binary_crossentropy")
    model.fit(divided(arrays(X, Y)), verbose=0, shuffle=False)
    ones = torch.ones(4, WORDS)
    return model, [layer(ones, training=True).numpy().tolist() for layer in layers]


def with_keras_316():
    """Train as Keras 3.16 does, which wraps models and sums metrics by itself, and return the model and its history."""
    from torch.nn.parallel import DistributedDataParallel

    trainer = next(
        kind for kind in keras.Model.__mro__ if "make_train_function" in vars(kind) and "torch" in kind.__module__
    )
    before = dict(vars(trainer))
    wrapped = []

    def initialize(self):
        if getattr(self, "ddp_model", None) is not None:
            return
        object.__setattr__(self, "ddp_model", DistributedDataParallel(self))
        wrapped.append(type(self).__name__)

    def wrapping(name):
        def method(self, *args, **kwargs):
            self._initialize_ddp()
            return before[name](self, *args, **kwargs)

        return method

    def summed(self):
        results = trainer.__mro__[1].get_metrics_result(self)
        for value in results.values():
            torch.distributed.all_reduce(value.clone())
        return {name: value * 0 for name, value in results.items()}

    trainer._initialize_ddp = initialize
    trainer.get_metrics_result = summed
    for name in ("make_train_function", "make_test_function", "make_predict_function"):
        setattr(trainer, name, wrapping(name))
    try:
        model, history = train("RMSprop on bags")
        plain_model = dense("sgd")
        other = keras.Model(plain_model.inputs, plain_model.outputs)
        other.compile("sgd", "mse")
        other.make_predict_function()
    finally:
        for name in ("_initialize_ddp", "get_metrics_result"):
            if name in before:
                setattr(trainer, name, before[name])
            else:
                delattr(trainer, name)
        for name in ("make_train_function", "make_test_function", "make_predict_function"):
            setattr(trainer, name, before[name])
    return model, history, wrapped


def script(reviews, out, resume=False):
    """Run the script that trains on reviews, and return what it prints."""
    arguments = ["--source", reviews, "--num-words", 45, "--epochs", 2, "--batch-size", 33, "--out", out]
    arguments += ["--units", 4, "--early-stopping", 1, "--best-checkpoint"]
    arguments = ["--resume", out] if resume else arguments
    said, (argv, stdout) = io.StringIO(), (sys.argv, sys.stdout)
    sys.argv, sys.stdout = ["train_imdb.py", *map(str, arguments)], said
    try:
        runpy.run_path(str(cli.SCRIPTS / "train_imdb.py"), run_name="__main__")
    finally:
        sys.argv, sys.stdout = argv, stdout
    return said.getvalue()


def write(folder, name, model, history):
    weights = {f"w{i}": weight for i, weight in enumerate(model.get_weights())}
    np.savez(folder / f"{name}.npz", **weights)
    (folder / f"{name}.json").write_text(json.dumps(history))


def main(folder):
    """Do all trainings in a process of a run."""
    folder = folder / str(os.environ["RANK"])
    folder.mkdir()
    with process_group(torch.device("cpu")):
        for name in CASES:
            write(folder, name, *train(name))
        write(folder, "dropout", *dropout())
        (folder / "refusals.json").write_text(json.dumps(refusals(folder)))
        (folder / "said.json").write_text(json.dumps(script(folder.parent / "reviews.csv", folder.parent / "run")))
        with checkpoints.interrupted((1, 0), True), suppress(checkpoints.Interrupted):
            script(folder.parent / "reviews.csv", folder.parent / "resumed")
        script(None, folder.parent / "resumed", resume=True)
        (folder / "resumed.json").write_text(json.dumps(checkpoints.resumed(folder.parent / "checkpoints")))
        refused = checkpoints.refusals(folder.parent / "checkpoints", folder.parent / "alone")
        (folder / "refused.json").write_text(json.dumps(refused))
        model, history, wrapped = with_keras_316()
        write(folder, "Keras 3.16", model, history)
        (folder / "wrapped.json").write_text(json.dumps(wrapped))
        if processes.rank() == processes.count() - 1:
            os._exit(9)
        with suppress(processes.OtherProcessEnded):
            try:
                dense("sgd").fit(divided(arrays(X, Y)), verbose=0)
            except processes.OtherProcessEnded as error:
                (folder / "ended.json").write_text(json.dumps(str(error)))
                raise


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
