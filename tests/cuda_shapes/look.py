"""What ``test_cuda_shapes.py`` asserts about, printed as one line of JSON: Keras's device is set once in a process."""

from concurrent.futures import ThreadPoolExecutor
import contextlib
import dataclasses
import gc
import json
import os
import sys
import tempfile
import traceback
import warnings

import device

FOLDER = tempfile.TemporaryDirectory()
device.enable(FOLDER.name)
os.environ |= {"KERAS_TORCH_DEVICE": "cuda", "K3TORCH_CACHE": FOLDER.name}

import k3torch  # noqa: F401
from k3torch.data import bags, device_bags
from k3torch.models.builders import boston_regressor, digit_classifier, imdb_classifier
from k3torch.stack import compiled_loops, model_stack
from k3torch.stack.batch_loop import Samples
from k3torch.stack.mapped_models import MappedModels
from k3torch.stack.verified_stack import Comparison
from k3torch.training import custom_loop
from k3torch.training.asynchronous import asynchronous
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import shapes
import torch
from torch.fx.experimental import proxy_tensor

WORDS, BATCH = 300, 64
recorder = shapes.Recorder()
draw = np.random.default_rng(0)


def dataset(samples, weighted=False, dense=None):
    offsets = np.concatenate([[0], np.cumsum(draw.integers(1, 20, samples))])
    x = bags.bag_of_words(draw.integers(0, WORDS, offsets[-1]), offsets, WORDS)
    return bags.BagDataset(x, draw.integers(0, 2, samples), draw.random(samples) if weighted else None, "cuda", dense)


def summary(events=None):
    """Return the number of events of each kind, and what the host waits for."""
    events = recorder.take() if events is None else events
    kinds = [event.kind for event in events]
    found = {kind: kinds.count(kind) for kind in ("wait", "pageable", "pinned", "kernel", "random")}
    return found | {"where": [f"{event.operator} at {event.where}" for event in events if event.where]}


def said(action):
    """Return the kinds of the events of an action, without kernels, or the name of the error that it raises."""
    recorder.take()
    try:
        action()
    except Exception as error:
        return type(error).__name__
    return [event.kind for event in recorder.take() if event.kind != "kernel"]


def watch():
    """What the recorder notes, and what it does not."""
    here, there = torch.ones(3), torch.ones(3, device="cuda")

    def inside():
        with asynchronous(there.device):
            keras.ops.convert_to_tensor(0.5)
            keras.ops.convert_to_tensor([1, 2])

    forgotten, kept = shapes.Captured(), shapes.Captured()
    for captured in (forgotten, kept):
        constant = torch.ones(3, device="cuda")
        with recorder.capture(captured):
            (there * constant).sum()
    gc.collect()
    return {
        "a number": said(lambda: there.sum().item()),
        "a comparison": said(lambda: torch.equal(there, there)),
        "to the device": said(lambda: here.to("cuda")),
        "from the device": said(there.cpu),
        "pageable": said(lambda: here.to("cuda", non_blocking=True)),
        "pinned": said(lambda: here.pin_memory().to("cuda", non_blocking=True)),
        "into a tensor": said(lambda: there.copy_(here)),
        "a constant": said(lambda: keras.ops.convert_to_tensor(0.5)),
        "an asynchronous constant": said(inside),
        "two devices": said(lambda: there + here),
        "a size that depends on values": said(there.nonzero),
        "dropout": said(lambda: torch.dropout(there, 0.5, train=True)),
        "freed": [forgotten.freed(), kept.freed()],
    }


def step(model=None, data=None, weighted=False, policy="float32", model_class=FastModel, **options):
    """Return what gathering a batch, training on it and evaluating it ask of the device, once they are verified."""
    keras.config.set_dtype_policy(policy)
    try:
        model = model or imdb_classifier(WORDS, model_class=model_class, **options)
    finally:
        keras.config.set_dtype_policy("float32")
    data = data or dataset(3 * BATCH, weighted)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model.fit(bags.bag_loader(data, BATCH), epochs=1, verbose=0, shuffle=False)
        model.evaluate(bags.bag_loader(data, BATCH), verbose=0)
    model._logs_are_read = False
    if model._parts is not None:
        model._parts = dataclasses.replace(model._parts, captured=None)  # a step as it is captured
    recorder.take()
    batch = data.__getitems__(np.arange(BATCH))
    found = {"gather": summary()}
    model.train_step(batch)
    found["train"] = summary()
    with torch.no_grad():
        model.test_step(batch)
    fallbacks = [str(w.message) for w in warned if "falls back" in str(w.message)]
    return found | {"test": summary(), "fallbacks": fallbacks}


def digits():
    """A step on dense samples that are on the device, with softmax outputs."""
    x, y = torch.rand(3 * BATCH, 20, device="cuda"), torch.zeros(3 * BATCH, 1, device="cuda")
    model = digit_classifier(20, model_class=FastModel)
    model.train_on_batch(x[:BATCH], y[:BATCH])
    model._logs_are_read = False
    for _ in range(2):
        model.train_step((x[:BATCH], y[:BATCH]))
    recorder.take()
    model.train_step((x[:BATCH], y[:BATCH]))
    return {"train": summary()}


def schedule():
    return keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)


class ReadsLoss(FastModel):
    """Reads a number in each step."""

    def train_step(self, data):
        logs = super().train_step(data)
        float(self.metrics[0].total.value)
        return logs


class _Mixed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.ones(gradient.shape)


def tensor_on_cpu_in_backward():
    return said(lambda: _Mixed.apply(torch.ones(3, device="cuda", requires_grad=True)).sum().backward())


def epochs(train):
    """Return what a second epoch asks of the device, over a number of batches and over twice as many."""
    found = []
    for more in (1, 2):
        loaders = bags.bag_loader(dataset(5 * BATCH * more), BATCH, shuffle=True), bags.bag_loader(dataset(99), BATCH)
        model = imdb_classifier(WORDS, model_class=FastModel)
        counts = []
        for number in (4, 1, 2):  # the steps are captured in the first
            recorder.take()
            train(model, *loaders, number)
            counts.append(summary())
        found.append({kind: counts[2][kind] - counts[1][kind] for kind in ("wait", "pageable", "pinned", "kernel")})
    return found


def fit(model, training, validation, number):
    model.fit(training, validation_data=validation, epochs=number, verbose=0, shuffle=False)


def own_loop(model, training, validation, number):
    custom_loop.train(model, training, validation, epochs=number)


def captured_fit(dense):
    """Return what the graphs of a fit hold, and how often they run."""
    training, validation = dataset(3 * BATCH + 5, dense=dense), dataset(2 * BATCH, dense=dense)
    model = imdb_classifier(WORDS, model_class=FastModel, dropout=0.5)
    with captures() as found:
        loaders = bags.bag_loader(training, BATCH), bags.bag_loader(validation, BATCH)
        model.fit(loaders[0], validation_data=loaders[1], epochs=4, verbose=0, shuffle=False)
        gc.collect()
        return [summary(each.events) | {"freed": each.freed(), "replays": each.replays} for each in found]


def uncapturable_fit():
    """A fit whose step waits: Keras reads the seed of a dropout layer on the host."""
    inputs = keras.Input((WORDS,))
    hidden = keras.layers.Dropout(0.5, seed=3)(keras.layers.Dense(4)(inputs))
    model = FastModel(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("rmsprop", "binary_crossentropy")
    with captures() as found, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        model.fit(bags.bag_loader(dataset(5 * BATCH), BATCH), epochs=2, verbose=0, shuffle=False)
    said = [str(each.message) for each in warned if "one by one" in str(each.message)]
    return {"said": said, "graphs": len(found)}


def inference():
    """Return what evaluate and predict ask of the device, over a number of batches and over twice as many."""
    model = imdb_classifier(WORDS, model_class=FastModel)
    found = []
    for more in (1, 2):
        loader = bags.bag_loader(dataset(4 * BATCH * more), BATCH)
        for method in (model.evaluate, model.predict):
            method(loader, verbose=0)
            recorder.take()
            method(loader, verbose=0)
            found.append(summary())
    return {"evaluate": found[::2], "predict": found[1::2]}


@contextlib.contextmanager
def captures(fails=False):
    """Put ``shapes.Captured`` in the place of CUDA graphs, and yield the list of those that are captured."""
    found = []

    @contextlib.contextmanager
    def graph(captured, **_):
        found.append(captured)
        if fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        with recorder.capture(captured):
            yield

    class Stream:
        def wait_stream(self, other):
            pass

    names = {"CUDAGraph": shapes.Captured, "Stream": Stream, "current_stream": Stream, "graph": graph,
             "stream": lambda _: contextlib.nullcontext(), "graph_pool_handle": object,
             "get_sync_debug_mode": lambda: recorder.sync_debug_mode,
             "set_sync_debug_mode": lambda mode: setattr(recorder, "sync_debug_mode", mode)}  # fmt: skip
    before = {name: getattr(torch.cuda, name) for name in names}
    for name, value in names.items():
        setattr(torch.cuda, name, value)
    try:
        yield found
    finally:
        for name, value in before.items():
            setattr(torch.cuda, name, value)


def samples(*lengths):
    return [Samples(draw.random((n, 13), dtype="float32"), draw.random((n, 1), dtype="float32")) for n in lengths]


def stack(batch=1, fails=False, **options):
    """Return what an epoch of three models asks of the device, and of the captured graphs."""
    notices = []
    models = [boston_regressor(**options) for _ in range(3)]
    for model in models:
        model.optimizer.build(model.trainable_variables)
        model.train_on_batch(np.zeros((1, 13), "float32"), np.zeros((1, 1), "float32"))
    with captures(fails) as captured:
        made = MappedModels(models, samples(11, 11, 9), samples(5, 4, 5), batch, notice=notices.append)
        gc.collect()
        recorder.take()
        made.load([np.arange(11), np.arange(11), np.arange(9)])
        loaded = summary()
        made.train()
        trained = summary()
        made.write_back()
        graphs = [summary(each.events) | {"freed": each.freed(), "replays": each.replays} for each in captured]
    return {"graphs": graphs, "load": loaded, "train": trained, "notices": notices}


def epoch_of(group):
    with recorder:  # modes belong to a thread
        return group.train(), group.validate()


def few_models():
    """As ``whole_stack``, without the comparison with Keras: the graphs compute on the CPU, where zeros arrive."""
    compare, compile_loops = model_stack.compare_with_keras, compiled_loops.compile_loops
    model_stack.compare_with_keras = lambda *_, **__: Comparison()
    # In another thread, where no mode is active: torch's compiler has modes of its own.
    compiled_loops.compile_loops = lambda examples: ThreadPoolExecutor(1).submit(compile_loops, examples).result()
    try:
        return whole_stack(2, kernel_regularizer="l2")
    finally:
        model_stack.compare_with_keras, compiled_loops.compile_loops = compare, compile_loops


def whole_stack(models, **options):
    """Train a stack as a cross-validation does; return what it says, where it trains, and what an epoch asks for."""
    notices = []
    made = [boston_regressor(**options) for _ in range(models)]
    with captures() as captured:
        stack = model_stack.ModelStack(
            made, samples(*[8] * models), samples(*[5] * models), 1, 1000, notice=notices.append
        )
        counts = []
        for epochs in (1, 1, 2):
            recorder.take()
            stack.train(range(epochs), lambda model, epoch: np.arange(8), lambda done: True)
            counts.append(summary())
        stack.unstack()
    devices = {v.value.device.type for model in made for v in (*model.variables, *model.optimizer.variables)}
    return {
        "notices": notices,
        "groups": len(stack._groups),
        "captured": len(captured),
        "devices": sorted(devices),
        "epoch": {kind: counts[2][kind] - counts[1][kind] for kind in ("wait", "pageable", "kernel")},
    }


STEPS = {
    "rmsprop": {},
    "rmsprop, momentum": {"optimizer": "rmsprop", "momentum": 0.9},
    "sgd": {"optimizer": "sgd"},
    "nesterov": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "adagrad": {"optimizer": "adagrad"},
    "adadelta": {"optimizer": "adadelta"},
    "adamax": {"optimizer": "adamax"},
    "lion": {"optimizer": "lion"},
    "ftrl": {"optimizer": "ftrl"},
    "clipnorm": {"clipnorm": 1.0},
    "clipvalue": {"clipvalue": 1.0},
    "schedule": {"optimizer": "sgd", "learning_rate": schedule()},
    "l1": {"kernel_regularizer": "l1"},
    "l2": {"kernel_regularizer": "l2"},
    "l1l2": {"kernel_regularizer": "l1l2", "bias_regularizer": "l2"},
    "activity penalty": {"activity_regularizer": "l2"},
    "dropout": {"dropout": 0.5},
    "max_norm": {"max_norm": 2.0},
    "mse": {"loss": "mse", "metrics": ["mae"]},
    "mae": {"loss": "mae", "metrics": ["mse"]},
    "huber": {"loss": "huber", "metrics": ["mape"]},
    "sample weights": {"weighted": True},
    "bfloat16": {"policy": "mixed_bfloat16"},
    "a number read": {"model_class": ReadsLoss},
}
LOOKS = {
    "watch": watch,
    "backward": tensor_on_cpu_in_backward,
    **{name: lambda options=options: step(**options) for name, options in STEPS.items()},
    "digits": digits,
    "fit": lambda: epochs(fit),
    "loop": lambda: epochs(own_loop),
    "captured": lambda: captured_fit(True),
    "sparse": lambda: captured_fit(False),
    "not captured": uncapturable_fit,
    "inference": inference,
    "stack": stack,
    "stack, adam": lambda: stack(4, optimizer="adam", dropout=0.5, kernel_regularizer="l1l2", clipnorm=1.0),
    "stack, no capture": lambda: stack(fails=True),
    "few models": few_models,
    "many models": lambda: whole_stack(2, units=(2048, 2048)),
}


def main():
    warnings.simplefilter("ignore")
    bags.csr_tensor = device_bags.csr_tensor = shapes.Bags
    model_stack._epoch = epoch_of
    # Keras converts the outputs of a batch in another thread, and FakeTensorMode is for one at a time.
    keras.src.backend.IS_THREAD_SAFE = False
    proxy_tensor.CONSTANT_NUMEL_LIMIT = -1  # tracing computes no constants on the device: there are no values there
    found = {}
    with recorder, captures():
        for name in sys.argv[1:] or LOOKS:
            recorder.take()
            try:
                found[name] = LOOKS[name]()
            except Exception as error:
                lines = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
                found[name] = {"error": f"{type(error).__name__}: {error}"[:300], "lines": lines[-12:]}
    print(json.dumps(found), flush=True)
    FOLDER.cleanup()
    os._exit(0)  # the thread of the device, which autograd has started, does not end


if __name__ == "__main__":
    main()
