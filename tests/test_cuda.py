"""Training on a GPU: the results of the CPU up to rounding, the same digits again, no synchronisation in a step."""

from contextlib import contextmanager
import dataclasses

from k3torch import runtime
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.models.builders import boston_regressor, imdb_classifier
from k3torch.stack import model_stack
from k3torch.stack.batch_loop import Samples
from k3torch.training import custom_loop
from k3torch.training.cuda_capture import record
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.cuda
WORDS, BATCH = 200, 32
STEPS = {
    "rmsprop": {},
    "sgd": {"optimizer": "sgd", "momentum": 0.9, "nesterov": True},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw"},
    "clipnorm": {"clipnorm": 1.0},
    "l1l2": {"kernel_regularizer": "l1l2"},
    "activity penalty": {"activity_regularizer": "l2"},
    "max_norm": {"max_norm": 2.0},
    "mse": {"loss": "mse", "metrics": ["mae"]},
}


@pytest.fixture(autouse=True)
def _restored():
    yield
    torch.cuda.set_sync_debug_mode("default")
    runtime.configure("cpu")


@contextmanager
def no_synchronisation():
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def dataset(device, weighted=False):
    draw = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(draw.integers(1, 20, 5 * BATCH + 7))])
    bags = bag_of_words(draw.integers(0, WORDS, offsets[-1]), offsets, WORDS)
    labels, weights = draw.integers(0, 2, len(offsets) - 1), draw.random(len(offsets) - 1)
    return BagDataset(bags, labels, weights if weighted else None, device=device)


def model_on(device, weights=None, precision="float32", **options):
    runtime.configure(device, precision)
    model = imdb_classifier(WORDS, model_class=FastModel, **options)
    if weights is not None:
        model.set_weights(weights)
    return model


def fitted(device, weights=None, weighted=False, epochs=2, **options):
    """Return the history, the weights and the predictions of a training."""
    model = model_on(device, weights, **options)
    loader = bag_loader(dataset(device, weighted), BATCH, shuffle=True)
    history = model.fit(loader, validation_data=loader, epochs=epochs, verbose=0, shuffle=False).history
    predicted = model.predict(bag_loader(dataset(device), BATCH), verbose=0)
    return history, model.get_weights(), predicted


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("weighted", [False, True])
def test_training_gives_what_the_cpu_gives(name, weighted):
    weights = model_on("cpu", **STEPS[name]).get_weights()
    here, there = (fitted(device, weights, weighted, **STEPS[name]) for device in ("cpu", "cuda"))
    assert here[0].keys() == there[0].keys()
    for metric in here[0]:
        np.testing.assert_allclose(here[0][metric], there[0][metric], rtol=1e-3, atol=1e-4, err_msg=metric)
    for a, b in zip(here[1], there[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(here[2], there[2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "dropout": 0.5}], ids=["rmsprop", "adam, dropout"])
def test_the_same_seed_gives_the_same_digits(options):
    weights = model_on("cpu", **options).get_weights()
    first, again = (fitted("cuda", weights, epochs=3, **options) for _ in range(2))
    assert first[0] == again[0]
    for a, b in zip(first[1], again[1], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [*STEPS, "dropout", "weights", "bfloat16"])
def test_a_step_does_not_synchronise_with_the_device(name):
    precision = "bfloat16" if name == "bfloat16" else "float32"
    options = {"dropout": 0.5} if name == "dropout" else STEPS.get(name, {})
    model = model_on("cuda", precision=precision, **options)
    data = dataset("cuda", weighted=name == "weights")
    model.fit(bag_loader(data, BATCH), epochs=1, verbose=0, shuffle=False)
    model.evaluate(bag_loader(data, BATCH), verbose=0)
    model._logs_are_read = False
    uncaptured(model)
    with no_synchronisation():
        batch = data.__getitems__(np.arange(BATCH))
        model.train_step(batch)
        with torch.no_grad():
            model.test_step(batch)


def uncaptured(model):
    """Have a model take its steps kernel by kernel."""
    model._prepare_parts()
    model._parts = dataclasses.replace(model._parts, captured=None)
    return model


@pytest.mark.parametrize("name", [*STEPS, "dropout", "bfloat16"])
def test_captured_steps_give_the_same_digits_as_others(name):
    precision = "bfloat16" if name == "bfloat16" else "float32"
    options = {"dropout": 0.5} if name == "dropout" else STEPS.get(name, {})
    weights = model_on("cuda", precision=precision, **options).get_weights()
    found = []
    for prepare in (lambda model: model, uncaptured):
        model = model_on("cuda", weights, precision, **options)
        data = dataset("cuda", weighted=True)
        model.fit(bag_loader(data, BATCH), epochs=1, verbose=0, shuffle=False)
        prepare(model)
        keras.utils.set_random_seed(1)
        loader = bag_loader(data, BATCH, shuffle=True)
        history = model.fit(loader, validation_data=loader, epochs=4, verbose=0, shuffle=False).history
        captured = model._parts.captured
        found.append((history, model.get_weights(), captured and len(captured._captured)))
    (history, weights, graphs), (expected, others, none) = found
    assert (graphs, none) == (4, None)  # full and shorter batches of training and validation
    assert history == expected
    for a, b in zip(weights, others, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_captured_step_uses_a_changed_learning_rate():
    model = model_on("cuda")
    loader = bag_loader(dataset("cuda"), BATCH)
    model.fit(loader, epochs=3, verbose=0, shuffle=False)
    model.optimizer.learning_rate = 0.0
    before = model.get_weights()
    model.fit(loader, epochs=3, verbose=0, shuffle=False)
    assert len(model._parts.captured._captured) == 2
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_step_that_cannot_be_captured_goes_on_uncaptured_and_says_so_once():
    runtime.configure("cuda")
    inputs = keras.Input((WORDS,))
    hidden = keras.layers.Dropout(0.5, seed=3)(keras.layers.Dense(4)(inputs))  # Keras reads this seed on the host
    model = FastModel(inputs, keras.layers.Dense(1, activation="sigmoid")(hidden))
    model.compile("rmsprop", "binary_crossentropy")
    with pytest.warns(UserWarning, match="launches the kernels of a step one by one") as said:
        model.fit(bag_loader(dataset("cuda"), BATCH), epochs=4, verbose=0, shuffle=False)
    assert len([each for each in said if "one by one" in str(each.message)]) == 1
    model.fit(bag_loader(dataset("cuda"), BATCH), epochs=1, verbose=0, shuffle=False)


@pytest.mark.cuda(seconds=100)  # last: what torch keeps of it is outside of this project
def test_a_capture_that_fails_leaves_stream_and_generators_as_they_were():
    runtime.configure("cuda")
    before = torch.cuda.current_stream()
    with pytest.raises(RuntimeError):
        record(torch.cuda.synchronize)
    assert torch.cuda.current_stream() == before
    ones = torch.ones(1000, device="cuda")
    assert 300 < int((torch.dropout(ones, 0.5, train=True) > 0).sum()) < 700
    result = torch.zeros(1000, device="cuda")
    graph = record(lambda: result.copy_(torch.dropout(ones, 0.5, train=True)))
    graph.replay()
    assert 300 < int((result > 0).sum()) < 700


def test_a_step_with_code_of_the_caller_is_not_captured():
    runtime.configure("cuda")
    model = imdb_classifier(WORDS, model_class=FastModel)
    model.compile("rmsprop", lambda y, y_pred: keras.ops.mean((y - y_pred) ** 2))
    model.fit(bag_loader(dataset("cuda"), BATCH), epochs=3, verbose=0, shuffle=False)
    assert model._parts.captured is None


def test_the_custom_loop_gives_what_the_cpu_gives():
    weights = model_on("cpu").get_weights()
    found = []
    for device in ("cpu", "cuda"):
        model, loader = model_on(device, weights), bag_loader(dataset(device), BATCH)
        found.append((custom_loop.train(model, loader, loader, epochs=2), model.get_weights()))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        assert a == pytest.approx(b, rel=1e-3)
    for a, b in zip(found[0][1], found[1][1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize(
    "way",
    [
        pytest.param("loops on the CPU", marks=pytest.mark.cuda(seconds=5)),
        pytest.param("one kernel", marks=pytest.mark.cuda(seconds=4)),
        pytest.param("captured", marks=pytest.mark.cuda(seconds=3)),
        pytest.param("compiled", marks=pytest.mark.cuda(seconds=30)),
    ],
)
@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "kernel_regularizer": "l2", "loss": "huber"}], ids=str)
def test_a_stack_gives_what_fit_gives_on_the_cpu(monkeypatch, way, batch, options):
    monkeypatch.setattr(model_stack, "cpu_is_faster", lambda *_: way == "loops on the CPU")
    if way in ("captured", "compiled"):
        monkeypatch.setattr(model_stack.ModelStack, "_kernel_groups", lambda *_: None)
        monkeypatch.setattr(model_stack, "WORTH_FUSING", 0 if way == "compiled" else 1e9)
    draw = np.random.default_rng(0)
    x, y = draw.random((3, 20, 13), dtype="float32"), draw.random((3, 20, 1), dtype="float32")
    parts = [Samples(x[i, : 20 - i], y[i, : 20 - i]) for i in range(3)]
    runtime.configure("cpu")
    models = [boston_regressor(**options) for _ in range(3)]
    weights = [model.get_weights() for model in models]
    histories = [
        model.fit(p.x, p.y, batch_size=batch, epochs=3, shuffle=False, verbose=0, validation_data=(p.x, p.y)).history
        for model, p in zip(models, parts, strict=True)
    ]

    runtime.configure("cuda")
    notices, found = [], []
    trained = [boston_regressor(**options) for _ in range(3)]
    for model, own in zip(trained, weights, strict=True):
        model.set_weights(own)
    stack = model_stack.ModelStack(trained, parts, parts, batch, 1000, notice=notices.append)
    if way == "loops on the CPU" and notices and notices[0].startswith("training uncompiled: "):
        pytest.skip(notices[0])  # what a user is told, and a version of torch to blame
    stack.train(range(3), lambda model, _: np.arange(len(parts[model])), lambda done: found.append(done) or True)
    stack.unstack()

    assert type(stack._groups[0]).__name__ == {
        "loops on the CPU": "CompiledModel", "one kernel": "TritonModels"
    }.get(way, "MappedModels")  # fmt: skip
    assert notices == ([model_stack.ON_CPU] if way == "loops on the CPU" else [])
    for done in found:
        for column, model in enumerate(done.models):
            for prefix, metrics in (("", done.training), ("val_", done.validation)):
                expected = [histories[model][prefix + name][done.epoch] for name in stack.names]
                np.testing.assert_allclose(metrics[:, column], expected, rtol=1e-3, atol=1e-4)
    for model, expected in zip(trained, models, strict=True):
        assert {variable.value.device.type for variable in model.variables} == {"cuda"}
        for a, b in zip(model.get_weights(), expected.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_a_training_leaves_the_memory_of_the_device_as_it_was():
    def train():
        fitted("cuda", epochs=1)
        keras.utils.clear_session()
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()

    train()
    before = train()
    assert train() <= before + 2**20
