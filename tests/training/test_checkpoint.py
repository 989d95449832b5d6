"""An uninterrupted run compared, bit for bit, with runs that are interrupted after each checkpoint and resumed."""

from pathlib import Path
import random
import signal

from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.data.loaders import array_loader
from k3torch.errors import InputError
from k3torch.models.layers import SparseDense
from k3torch.training import checkpoint, checkpoint_file
from k3torch.training.checkpoint import ExactCheckpoint, resume_fit
from k3torch.training.checkpoint_file import CheckpointFolder
from k3torch.training.fast_model import FastModel, FastSequential
from k3torch.training.progress import History
import keras
from keras import callbacks, optimizers
import numpy as np
import pytest
from tests import forked
import torch

torch.set_num_threads(1)  # two test processes share two cores
DRAW = np.random.default_rng(0)
X = DRAW.random((20, 5), np.float32)
Y = (X[:, :1] > 0.5).astype("float32")
EPOCHS, BATCH = 3, 8  # 3 batches an epoch


class Interrupted(Exception):  # noqa: N818
    """Stands for the end of the process."""


@pytest.fixture
def interrupt(monkeypatch):
    """A function that lets so many checkpoints be written, and then interrupts the run; None lets all be written."""
    write = CheckpointFolder.write

    def after(most):
        written = []

        def counted(folder, number, content):
            if most is not None and len(written) == most:
                raise Interrupted
            written.append(number)
            write(folder, number, content)
            if len(written) == most:
                raise Interrupted

        monkeypatch.setattr(CheckpointFolder, "write", counted)
        return written

    return after


def build(kind=FastModel, optimizer="adam", layers=(), seed=1):
    keras.utils.set_random_seed(seed)
    inputs = x = keras.Input((5,))
    first, last = SparseDense(4, activation="relu"), keras.layers.Dense(1, activation="sigmoid")
    for layer in [first, *[layer() for layer in layers], last]:
        x = layer(x)
    model = kind(inputs, x)
    model.compile(optimizer() if callable(optimizer) else optimizer, "binary_crossentropy", metrics=["accuracy"])
    return model


def loader(shuffle=True, seed=3):
    return array_loader(X, Y, batch_size=BATCH, shuffle=shuffle, seed=seed)


def state_of(model, history):
    tensors = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return [np.array(each) for each in tensors], history.history, history.epoch, model.predict(X, verbose=0)


def assert_equal(found, expected):
    for a, b in zip(found[0], expected[0], strict=True):
        np.testing.assert_array_equal(a, b)
    assert found[1] == expected[1]
    assert found[2] == expected[2] == list(range(len(expected[2])))
    np.testing.assert_array_equal(found[3], expected[3])


def disturb(seed):
    """Draw from all global generators, as what happens between two runs may."""
    keras.utils.set_random_seed(seed)
    torch.rand(3), np.random.rand(), random.random(), keras.random.uniform((2,))


def compare(make, fit, folder, interrupt, every=2, counts=(3,)):
    """``fit(model, **arguments)`` without interruption, and interrupted after each of ``counts`` checkpoints.

    ``make`` and ``fit`` build everything anew: the model, the data and the callbacks. With ``every=2`` an epoch of
    three batches has two checkpoints, so the third is the one within the second epoch.
    """
    interrupt(None)
    plain = make()
    expected = state_of(plain, fit(plain, folder=None, every=every))
    for count in counts:
        interrupt(count)
        disturb(7)
        with pytest.raises(Interrupted):
            fit(make(), folder=folder / str(count), every=every)
        disturb(count)
        interrupt(None)
        model = make(seed=count + 50)
        disturb(count)
        assert_equal(state_of(model, fit(model, folder=folder / str(count), every=every)), expected)
    return model


def fit_loader(model, *, folder, every, data=loader, extra=list, **arguments):
    given = extra()
    arguments = {"epochs": EPOCHS, "verbose": 0, "shuffle": False, **arguments}
    if folder is None:
        return model.fit(data(), callbacks=given, **arguments)
    return resume_fit(model, folder, data(), callbacks=[ExactCheckpoint(folder, every), *given], **arguments)


OPTIMIZERS = {
    "momentum": lambda: optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: optimizers.Adam(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.05, 2, 0.5)),
    "accumulation": lambda: optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "averaged": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2),
    "scaled": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1), initial_scale=8.0, dynamic_growth_steps=2),
}


@pytest.mark.parametrize("kind", [FastModel, keras.Model])
def test_a_run_is_resumed_after_every_batch_and_every_epoch(kind, tmp_path, interrupt):
    def make(seed=1):
        return build(kind, "adam", [lambda: keras.layers.Dropout(0.5)], seed)

    compare(make, fit_loader, tmp_path / "batches", interrupt, every=1, counts=(1, 2, 4, 6, 8, 9))
    compare(make, fit_loader, tmp_path / "epochs", interrupt, every="epoch", counts=range(1, 4))

    folder = CheckpointFolder(tmp_path / "batches" / "1")
    assert folder.numbers() == [8, 9]
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint-000008.npz", "checkpoint-000009.npz"]


@pytest.mark.filterwarnings("ignore:.*falls back to Keras")
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_slots_of_every_optimizer_are_resumed(name, tmp_path, interrupt):
    compare(lambda seed=1: build(FastModel, OPTIMIZERS[name], seed=seed), fit_loader, tmp_path, interrupt)


class Noisy(torch.utils.data.TensorDataset):
    """Adds noise from the global generators and from one of its own, as augmentation does."""

    def __init__(self, *tensors):
        super().__init__(*tensors)
        self.own = np.random.default_rng(5)

    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.rand(1) + np.float32(np.random.rand() + self.own.random() + random.random()), y


def bags():
    rows, ids = np.nonzero(X > 0.5)
    return bag_loader(
        BagDataset(bag_of_words(ids, np.searchsorted(rows, np.arange(21)), 5), Y[:, 0]), BATCH, shuffle=True, seed=4
    )


def noisy():
    return torch.utils.data.DataLoader(
        Noisy(torch.from_numpy(X), torch.from_numpy(Y)), BATCH, shuffle=True, generator=torch.Generator().manual_seed(1)
    )


class Stream(torch.utils.data.IterableDataset):
    """Of unknown length, in an order from torch's global generator."""

    def __iter__(self):
        for index in torch.randperm(len(X)).tolist():
            yield torch.from_numpy(X[index]), torch.from_numpy(Y[index])


LOADERS = {
    "stream": lambda: torch.utils.data.DataLoader(Stream(), BATCH),
    "bags": bags,
    "augmented": noisy,
    "not shuffled": lambda: loader(shuffle=False),
    "global generator": lambda: torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), BATCH, shuffle=True
    ),
}


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras learns the stream's length so
@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("kind", [FastModel, keras.Model])
def test_loaders_draw_the_same_order(name, kind, tmp_path, interrupt):
    def fit(model, **arguments):
        return fit_loader(model, data=LOADERS[name], **arguments)

    compare(lambda seed=1: build(kind, seed=seed), fit, tmp_path, interrupt, every=1, counts=(2, 3, 4))


ARRAYS = {
    "shuffled": {},
    "in order": {"shuffle": False},
    "shuffled batches": {"shuffle": "batch"},
    "split": {"validation_split": 0.25},
    "validation arrays": {"validation_data": (X[:9], Y[:9]), "validation_batch_size": 4},
    "class weights": {"class_weight": {0: 1.0, 1: 3.0}},
    "sample weights": {"sample_weight": DRAW.random(20).astype("float32"), "validation_freq": 2},
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kind", [FastModel, keras.Model])
def test_arrays_are_resumed_in_the_order_that_keras_drew(name, kind, tmp_path, interrupt):
    def fit(model, folder, every):
        arguments = {"batch_size": BATCH, "epochs": EPOCHS, "verbose": 0, **ARRAYS[name]}
        if folder is None:
            return model.fit(X, Y, **arguments)
        return resume_fit(model, folder, X, Y, callbacks=ExactCheckpoint(folder, every), **arguments)

    compare(lambda seed=1: build(kind, seed=seed), fit, tmp_path, interrupt, every=1, counts=(1, 4))


class Own(callbacks.Callback):
    """Keeps what callbacks keep: numbers, texts, containers and arrays; and acts on batches."""

    def __init__(self, losses):
        super().__init__()
        self.losses = losses
        self.counts = {"batches": 0, "epochs": set()}
        self.sums = np.zeros(3)
        self.average = torch.zeros(4)
        self.last = None

    def on_epoch_begin(self, epoch, logs=None):
        self.counts["epochs"].add(epoch)
        self.sums[2] += 1

    def on_train_batch_begin(self, batch, logs=None):
        self.sums[0] += batch
        self.model.optimizer.learning_rate = 0.01 * (1 + self.sums[0])

    def on_train_batch_end(self, batch, logs=None):
        self.counts["batches"] += 1
        self.average.mul_(0.5).add_(self.model.layers[1].bias.value.detach())
        self.last = (batch, np.float64(logs["loss"]))
        self.losses.append(logs["loss"])
        if self.counts["batches"] == 7:
            self.model.layers[1].bias.assign(self.average)


def test_callbacks_of_the_user_are_resumed(tmp_path, interrupt):
    made = []

    def extra():
        made.append(Own([]))
        return [made[-1]]

    def fit(model, **arguments):
        return fit_loader(model, extra=extra, **arguments)

    compare(lambda seed=1: build(seed=seed), fit, tmp_path, interrupt, every=1, counts=(1, 3, 5))

    assert made[0].counts == {"batches": 9, "epochs": {0, 1, 2}}
    for resumed in made[2::2]:
        assert (resumed.counts, resumed.last, resumed.losses) == (made[0].counts, made[0].last, made[0].losses)
        np.testing.assert_array_equal(resumed.sums, made[0].sums)
        assert torch.equal(resumed.average, made[0].average)


@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_callbacks_of_keras_are_resumed(monitor, tmp_path, interrupt):
    """The learning rate is so large that the validation gets worse."""
    made = []

    def extra():
        made.append([
            callbacks.ReduceLROnPlateau(monitor, factor=0.5, patience=1, cooldown=1, min_delta=0.01),
            callbacks.EarlyStopping(monitor, patience=3, restore_best_weights=True, min_delta=0.001),
            callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        ])  # fmt: skip
        return made[-1]

    def fit(model, **arguments):
        return fit_loader(model, extra=extra, epochs=10, validation_data=(X[:9], 1 - Y[:9]), **arguments)

    def make(seed=1):
        return build(optimizer=lambda: optimizers.SGD(2.0, momentum=0.9), seed=seed)

    compare(make, fit, tmp_path, interrupt, every="epoch", counts=range(1, 4))

    stopped = made[0][1].stopped_epoch
    assert 3 <= stopped < 9
    assert {each[1].stopped_epoch for each in made[2::2]} == {stopped}
    assert {each[0].best for each in made[2::2]} == {made[0][0].best}


def test_a_run_that_early_stopping_ended_restores_the_best_weights_again(tmp_path, interrupt):
    """The process ends after the last checkpoint, before EarlyStopping restores its best weights."""

    def fit(model, **arguments):
        stopping = callbacks.EarlyStopping("loss", mode="max", patience=1, restore_best_weights=True)
        return fit_loader(model, extra=lambda: [stopping], **arguments)

    def make(seed=1):
        return build(optimizer=lambda: optimizers.Adam(0.02), seed=seed)

    model = compare(make, fit, tmp_path, interrupt, every="epoch", counts=(2,))

    assert len(model.history.epoch) == 2


@pytest.mark.parametrize("append", [False, True])
def test_csv_files_and_lists_of_epochs_go_on_where_the_checkpoint_was(append, tmp_path, monkeypatch):
    write = CheckpointFolder.write

    def interrupted(folder, number, content):  # after CSVLogger has written the row of the second epoch
        if number == 2:
            raise Interrupted
        write(folder, number, content)

    def fit(name):
        file, epochs = tmp_path / f"{name}.csv", []
        logger = callbacks.CSVLogger(file, append=append)
        resume_fit(build(), tmp_path / name, loader(), epochs=EPOCHS, verbose=0, shuffle=False,
                   callbacks=[logger, History(epochs)])  # fmt: skip
        assert logger.append is append
        return file.read_text(), epochs

    expected, epochs = fit("all")
    monkeypatch.setattr(CheckpointFolder, "write", interrupted)
    with pytest.raises(Interrupted):
        fit("part")
    monkeypatch.undo()
    found, resumed = fit("part")

    assert found == expected
    assert len(found.splitlines()) == 1 + EPOCHS
    assert [{**each, "seconds": 0} for each in resumed] == [{**each, "seconds": 0} for each in epochs]
    assert all(0 < each["seconds"] < 60 for each in resumed)


def test_model_checkpoint_saves_at_the_same_batches(tmp_path, interrupt):
    saved = []

    def fit(model, folder, every):
        saver = callbacks.ModelCheckpoint(str(tmp_path / "{epoch}.weights.h5"), save_weights_only=True, save_freq=4)
        saves = []
        save = saver._save_model
        saver._save_model = lambda epoch, batch, logs: (saves.append((epoch, batch)), save(epoch, batch, logs))
        saved.append(saves)
        return fit_loader(model, extra=lambda: [saver], folder=folder, every=every)

    compare(lambda seed=1: build(seed=seed), fit, tmp_path / "folder", interrupt, every=1, counts=(2, 5))

    assert saved[0] == [(1, 0), (2, 1)]
    assert [saved[1] + saved[2], saved[3] + saved[4]] == [saved[0], saved[0]]


@keras.saving.register_keras_serializable("tests")
class Counting(keras.layers.Layer):
    """Keeps a counter in Python, a torch buffer, and draws from the global generators of torch and Keras."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.calls = 0
        self.register_buffer("mean", torch.zeros(()))

    def call(self, x, training=False):
        if not training:
            return x * (1 + self.mean)
        self.calls += 1
        self.mean = 0.9 * self.mean + 0.1 * x.detach().mean()
        return x * (1 + 0.01 * self.calls) + 0.1 * torch.rand(1) + 0.1 * keras.random.uniform((1,))


@pytest.mark.filterwarnings("ignore:.*falls back to Keras")
@pytest.mark.parametrize("kind", [FastModel, keras.Model])
def test_layers_of_the_user_are_resumed(kind, tmp_path, interrupt):
    layers = [keras.layers.BatchNormalization, Counting, lambda: keras.layers.GaussianNoise(0.1)]
    model = compare(
        lambda seed=1: build(kind, layers=layers, seed=seed), fit_loader, tmp_path, interrupt, every=1, counts=(2, 4)
    )
    assert model.layers[3].calls >= 9


def test_a_model_without_an_input_shape_is_resumed(tmp_path, interrupt):
    def make(seed=1):
        keras.utils.set_random_seed(seed)
        model = FastSequential([keras.layers.Dense(3), keras.layers.Dropout(0.3), keras.layers.Dense(1)])
        model.compile("rmsprop", "mse")
        return model

    compare(make, fit_loader, tmp_path, interrupt)


class OwnStep(FastModel):
    """With a step of its own, and a counter; its layers have no weights before the first batch."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.last = (
            keras.layers.Dense(4), keras.layers.Dropout(0.2), keras.layers.Dense(1, activation="sigmoid"),
        )  # fmt: skip
        self.steps = 0

    def call(self, x, training=False):
        return self.last(self.drop(self.first(x), training=training))

    def train_step(self, data):
        self.steps += 1
        logs = super().train_step(data)
        return {"own": logs["loss"] * self.steps, **logs}


@pytest.mark.filterwarnings("ignore:.*falls back to Keras")
def test_a_model_with_its_own_step_is_resumed(tmp_path, interrupt):
    def make(seed=1):
        keras.utils.set_random_seed(seed)
        model = OwnStep()
        model.compile("adam", "mse")
        return model

    assert compare(make, fit_loader, tmp_path, interrupt, every=1, counts=(1, 3, 4)).steps == 9


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_every_display_is_resumed(verbose, tmp_path, interrupt, capsys):
    def fit(model, **arguments):
        return fit_loader(model, verbose=verbose, validation_data=loader(seed=8), **arguments)

    compare(lambda seed=1: build(seed=seed), fit, tmp_path, interrupt, every=1, counts=(6,))

    assert "Epoch 3/3" in capsys.readouterr().out.splitlines()


def test_mixed_precision_is_resumed(tmp_path, interrupt):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        compare(lambda seed=1: build(seed=seed), fit_loader, tmp_path, interrupt)
    finally:
        keras.config.set_dtype_policy("float32")


def test_the_same_objects_go_on_in_the_same_process(tmp_path, interrupt):
    model, expected = build(), build()
    history = fit_loader(expected, folder=None, every=1)
    data, stopping = loader(), callbacks.EarlyStopping("loss", patience=1, restore_best_weights=True, mode="min")
    checkpoint = ExactCheckpoint(tmp_path, every=1)
    for count in (2, 5):
        interrupt(count)
        with pytest.raises(Interrupted):
            model.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[checkpoint, stopping], resume=tmp_path)
    interrupt(None)
    found = model.fit(data, epochs=3, verbose=0, shuffle=False, callbacks=[stopping, checkpoint], resume=tmp_path)

    assert_equal(state_of(model, found), state_of(expected, history))


def test_a_finished_run_can_be_made_longer(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checkpoint_file, "COST", 1e9)  # one after each epoch
    expected = build()
    history = expected.fit(loader(), epochs=5, verbose=0, shuffle=False)
    build().fit(loader(), epochs=3, verbose=0, shuffle=False, resume=tmp_path)
    again, longer = build(), build()
    short = again.fit(loader(), epochs=3, verbose=0, shuffle=False, resume=tmp_path)
    found = longer.fit(loader(), epochs=5, verbose=0, shuffle=False, resume=tmp_path)

    assert_equal(state_of(longer, found), state_of(expected, history))
    assert short.history == {name: values[:3] for name, values in history.history.items()}
    assert capsys.readouterr().err.splitlines() == [
        f"no checkpoint in {tmp_path} yet: training begins",
        f"resuming from {tmp_path}/checkpoint-000003.npz: the run had ended",
        f"resuming from {tmp_path}/checkpoint-000003.npz: at epoch 4",
    ]


def test_by_default_a_checkpoint_is_written_at_most_1_percent_of_the_time_and_at_the_end(tmp_path, monkeypatch):
    class Clock(callbacks.Callback):
        """An epoch takes a second, and a checkpoint 0.025 s, so that the time until the next one is 2.5 s."""

        now = 0.0

        def on_epoch_end(self, epoch, logs=None):
            self.now += 1.0

    clock, written, write = Clock(), [], checkpoint_file.np.savez

    def counted(draft, **arrays):
        clock.now += 0.025
        written.append(len(build_history.epoch))
        write(draft, **arrays)

    build_history = callbacks.History()
    monkeypatch.setattr(checkpoint_file.time, "monotonic", lambda: clock.now)
    monkeypatch.setattr(checkpoint_file.np, "savez", counted)
    given = [build_history, clock, ExactCheckpoint(tmp_path)]
    build().fit(loader(), epochs=9, verbose=0, shuffle=False, callbacks=given)
    assert written == [1, 4, 7, 9]


def test_within_a_long_epoch_a_checkpoint_is_written_each_minute(tmp_path, monkeypatch):
    now, batches = [0.0], []

    class Slow(callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            now[0] += 31.0

    class Record(CheckpointFolder):
        def write(self, number, content):
            batches.append((content["epoch"], content["batches"]))
            super().write(number, content)

    monkeypatch.setattr(checkpoint_file.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(checkpoint, "CheckpointFolder", Record)
    build().fit(loader(), epochs=2, verbose=0, shuffle=False, callbacks=[Slow(), ExactCheckpoint(tmp_path)])
    assert batches == [(0, 2), (1, 0), (1, 2), (2, 0)]


KILLED = """
import os, signal, sys
import numpy
sys.path.insert(0, {tests!r})
from test_checkpoint import build, fit_loader
savez, written = numpy.savez, []

def killed(path, **arrays):
    written.append(path)
    if len(written) == 4:
        path.write_bytes(b"PK half of a file")
        os.kill(os.getpid(), signal.SIGKILL)
    savez(path, **arrays)

numpy.savez = killed
fit_loader(build(), folder={folder!r}, every=2)
"""


def test_a_process_that_is_killed_while_it_writes_is_continued_by_another(tmp_path, capsys):
    code = KILLED.format(tests=str(Path(__file__).parent), folder=str(tmp_path))
    killed = forked.run_code(code)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in left if not name.startswith(".")] == ["checkpoint-000002.npz", "checkpoint-000003.npz"]
    assert len(left) == 3
    disturb(3)
    model, expected = build(seed=9), build()
    found = fit_loader(model, folder=tmp_path, every=2)

    assert capsys.readouterr().err == f"resuming from {tmp_path}/checkpoint-000003.npz: at epoch 2, batch 3\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-000005.npz", "checkpoint-000006.npz"]
    assert_equal(state_of(model, found), state_of(expected, fit_loader(expected, folder=None, every=2)))


def test_a_damaged_checkpoint_is_passed_over(tmp_path, capsys):
    expected = build()
    history = fit_loader(expected, folder=None, every=1)
    fit_loader(build(), folder=tmp_path, every=1, epochs=2)
    newest = tmp_path / "checkpoint-000006.npz"
    newest.write_bytes(newest.read_bytes()[:-50])
    capsys.readouterr()
    model = build()
    found = fit_loader(model, folder=tmp_path, every=1)

    assert_equal(state_of(model, found), state_of(expected, history))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        f"passing over the damaged checkpoint {newest}: File is not a zip file",
        f"resuming from {tmp_path}/checkpoint-000005.npz: at epoch 2, batch 3",
    ]


def deeper(seed=1):
    return build(layers=[lambda: keras.layers.Dense(4)], seed=seed)


def wider():
    inputs = keras.Input((5,))
    hidden = SparseDense(9, activation="relu")(inputs)
    model = FastModel(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def generator():
    yield X, Y


OTHER_RUNS = {
    "shapes": (wider, {}, "expected layer 1.units 4, as in {file}, got layer 1.units 9: give the same, or another "
        "folder"),
    "layers": (deeper, {}, "expected layers InputLayer, SparseDense, Dense, as in {file}, got layers InputLayer, "
        "SparseDense, Dense, Dense: give the same, or another folder"),
    "optimizer": (lambda: build(optimizer="nadam"), {}, "expected optimizer Adam"),
    "optimizer's settings": (lambda: build(optimizer=lambda: optimizers.Adam(beta_1=0.5)), {},
        "expected optimizer.beta_1 0.9, as in {file}, got optimizer.beta_1 0.5: give the same, or another folder"),
    "batch size": (build, {"data": lambda: array_loader(X, Y, batch_size=4, shuffle=True)},
        "expected batch_size 8, as in {file}, got batch_size 4: give the same, or another folder"),
    "samples": (build, {"data": lambda: array_loader(X[:9], Y[:9], batch_size=8, shuffle=True)},
        "expected number of samples 20, as in {file}, got number of samples 9: give the same, or another folder"),
    "order": (build, {"data": lambda: loader(shuffle=False)},
        "expected shuffle RandomSampler, as in {file}, got shuffle SequentialSampler: give the same"),
    "validation": (build, {"validation_data": (X, Y)}, "expected number of validation samples None, validation batch "
        "size None, as in {file}, got number of validation samples 20, validation batch size 32: give the same, or "
        "another folder"),
    "callbacks": (build, {"extra": lambda: [callbacks.TerminateOnNaN()]},
        "expected callbacks none, as in {file}, got callbacks TerminateOnNaN: give the same, or another folder"),
    "generators": (build, {"data": LOADERS["global generator"]},
        "expected random generators of the data 1, as in {file}, got random generators of the data 0: give"),
    "fewer epochs": (build, {"epochs": 1}, "expected epochs as 2 or more, as trained already in {file}, got 1"),
    "data": (build, {"data": generator}, "expected x as arrays or a DataLoader for a checkpoint, got generator: make a "
        "DataLoader of it"),
    "steps": (build, {"steps_per_epoch": 2},
        "expected steps_per_epoch=None for a checkpoint, got 2: let x be one epoch"),
    "workers": (build, {"data": lambda: torch.utils.data.DataLoader(loader().dataset, 8, shuffle=True, num_workers=1,
        persistent_workers=True)}, "expected a DataLoader with persistent_workers=False for a checkpoint, got True"),
    "two checkpoints": (build, {"extra": lambda: [ExactCheckpoint("x")]},
        "expected one ExactCheckpoint among the callbacks, got 2"),
}  # fmt: skip


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two epochs")
    build().fit(loader(), epochs=2, verbose=0, shuffle=False, resume=folder)
    return folder


@pytest.mark.parametrize("name", OTHER_RUNS)
def test_what_would_be_another_run_is_refused_in_one_line(name, two_epochs):
    make, arguments, expected = OTHER_RUNS[name]
    before = {path: path.read_bytes() for path in two_epochs.iterdir()}

    with pytest.raises(InputError) as refused:
        fit_loader(make(), folder=two_epochs, every=1, **{"epochs": 3, **arguments})

    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith(expected.format(file=two_epochs / "checkpoint-000002.npz"))
    assert {path: path.read_bytes() for path in two_epochs.iterdir()} == before


def test_wrong_calls_are_refused_in_one_line(two_epochs, tmp_path):
    def refused(call):
        with pytest.raises(InputError) as error:
            call()
        return str(error.value)

    arguments = {"epochs": 1, "verbose": 0, "shuffle": False}
    (tmp_path / "file").write_text("")
    assert refused(lambda: build().fit(loader(), callbacks=[ExactCheckpoint(two_epochs)], **arguments)) == (
        f"expected a folder without checkpoints for a new run, got {two_epochs}: pass resume=folder to go on from "
        "them, or give another folder"
    )
    assert refused(lambda: build(keras.Model).fit(loader(), callbacks=[ExactCheckpoint(tmp_path)], **arguments)) == (
        "expected ExactCheckpoint in the fit of a FastModel, got it in another fit: call "
        "k3torch.training.checkpoint.resume_fit(model, folder, ...) instead of model.fit(...)"
    )
    assert refused(
        lambda: build().fit(loader(), callbacks=[ExactCheckpoint(tmp_path)], resume=two_epochs, **arguments)
    ) == (f"expected resume and ExactCheckpoint with the same folder, got {two_epochs} and {tmp_path}")
    assert refused(lambda: ExactCheckpoint(tmp_path, every=0)) == (
        "expected every as 'auto', 'epoch' or as a whole number of 1 or more, got 0"
    )
    assert refused(lambda: ExactCheckpoint(tmp_path / "file")) == (
        f"expected a folder for checkpoints, got the file {tmp_path / 'file'}: give another name"
    )


def test_a_file_of_another_version_is_refused_in_one_line(tmp_path):
    CheckpointFolder(tmp_path).write(4, {"format": 0})
    with pytest.raises(InputError) as refused:
        build().fit(loader(), verbose=0, shuffle=False, resume=tmp_path)
    file = tmp_path / "checkpoint-000004.npz"
    assert str(refused.value) == (
        f"expected a checkpoint of this version of k3torch in {file}: give another folder to begin"
    )
