"""State in Python is copied, compared and put back, whatever holds it: a FastModel gives Keras's numbers with it."""

from collections import deque
import random
import warnings

from k3torch import FastModel
from k3torch.training.python_state import PythonState, is_own, reachable
import keras
import numpy as np
import pytest
import torch

X, Y = (np.random.default_rng(0).normal(size=(40, n)).astype("float32") for n in (4, 1))
CALLS = [0]
GENERATOR = np.random.default_rng(5)


class Holds(keras.layers.Layer):
    """A layer with state of every kind."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.number, self.numbers, self.by_name = kind, 0, [], {"n": 0}
        self.recent, self.array, self.tensor = deque(maxlen=3), np.zeros(2), torch.zeros(2)
        self.generators = (np.random.default_rng(1), random.Random(1), torch.Generator().manual_seed(1))

    def call(self, x):
        if self.kind == "number":
            self.number += 1
            return x * (1 + 0.1 * self.number)
        if self.kind == "NumPy number":
            self.number = np.float32(self.number + 1)
            return x * (1 + 0.1 * float(self.number))
        if self.kind == "list":
            self.numbers.append(1)
            return x * (1 + 0.1 * len(self.numbers))
        if self.kind == "new list":
            self.numbers = [*self.numbers, 1]
            return x * (1 + 0.1 * len(self.numbers))
        if self.kind == "dict":
            self.by_name["n"] += 1
            return x * (1 + 0.1 * self.by_name["n"])
        if self.kind == "deque":
            self.recent.append(len(self.recent))
            return x * (1 + 0.1 * sum(self.recent))
        if self.kind == "array":
            self.array += 1
            return x * (1 + 0.1 * self.array[0])
        if self.kind == "tensor":
            self.tensor.add_(1)
            return x * (1 + 0.1 * self.tensor[0])
        if self.kind == "new attribute":
            self.later = getattr(self, "later", 0) + 1
            return x * (1 + 0.1 * self.later)
        if self.kind == "global":
            CALLS[0] += 1
            return x * (1 + 0.1 * CALLS[0])
        if self.kind == "global generator":
            return x * (1 + 0.1 * GENERATOR.random())
        if self.kind == "Keras's generator":
            return x + 0.1 * keras.random.normal((3,))
        numpy_generator, python_generator, torch_generator = self.generators
        draw = {
            "NumPy generator": numpy_generator.random,
            "Python generator": python_generator.random,
            "torch generator": lambda: torch.rand((), generator=torch_generator).item(),
        }[self.kind]
        return x * (1 + 0.1 * draw())


KINDS = [
    "number", "NumPy number", "list", "new list", "dict", "deque", "array", "tensor", "new attribute", "global",
    "global generator", "Keras's generator", "NumPy generator", "Python generator", "torch generator",
]  # fmt: skip


def build(model_class, layer, loss="mse", metrics=()):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3, activation="relu")(inputs)
    model = model_class(inputs, keras.layers.Dense(1)(layer(hidden) if layer else hidden))
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=list(metrics))
    return model


def history(model):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0, validation_data=(X, Y)).history


def assert_same(make):
    """Train a keras.Model and a FastModel, each with new state."""
    expected, found = history(make(keras.Model)), history(make(FastModel))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_with_state_trains_as_in_keras(kind):
    def make(model_class):
        global GENERATOR
        CALLS[0], GENERATOR = 0, np.random.default_rng(5)
        layer = Holds(kind)
        if kind == "Keras's generator":
            keras.utils.set_random_seed(3)
        return build(model_class, layer)

    assert_same(make)


def test_a_loss_with_a_counter_in_its_closure():
    def make(model_class):
        count = [0]
        number = 0

        def loss(y, y_pred):
            nonlocal number
            count[0] += 1
            number += 1
            factor = 2.0 if count[0] > 6 else 1.0
            return (factor + 0.1 * (number > 9)) * keras.ops.mean(keras.ops.square(y - y_pred), axis=-1)

        return build(model_class, None, loss)

    assert_same(make)


def test_a_metric_that_collects_values_in_a_list():
    class Collects(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="collected")
            self.values = []

        def update_state(self, y, y_pred, sample_weight=None):
            self.values.append(float(len(y)))

        def result(self):
            return float(sum(self.values))

        def reset_state(self):
            self.values = []

    assert_same(lambda model_class: build(model_class, None, metrics=[Collects()]))


def test_a_schedule_and_an_object_with_slots():
    class Counter:
        __slots__ = ("n",)

        def __init__(self):
            self.n = 0

    class Switches(keras.optimizers.schedules.LearningRateSchedule):
        def __init__(self):
            self.counter = Counter()

        def __call__(self, step):
            self.counter.n += 1
            return 0.01 if self.counter.n < 8 else 0.05

    def make(model_class):
        model = build(model_class, None)
        model.compile(keras.optimizers.SGD(Switches()), "mse")
        return model

    assert_same(make)


def test_a_tensor_that_a_buffer_is_bound_to_is_not_written_to():
    class Keeps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 3)
            self.register_buffer("last", torch.zeros(8, 4))

        def forward(self, x):
            self.last = x.detach()
            return self.linear(x)

    class Wraps(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.module = keras.layers.TorchModuleWrapper(Keeps())

        def call(self, x):
            return self.module(x)

        def compute_output_shape(self, shape):
            return (shape[0], 3)

    def make(model_class):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((4,))
        model = model_class(inputs, keras.layers.Dense(1)(Wraps()(inputs)))
        model.compile("sgd", "mse")
        return model

    batches = [(torch.from_numpy(X[i : i + 8].copy()), torch.from_numpy(Y[i : i + 8])) for i in range(0, 40, 8)]
    losses = []
    for kind in (keras.Model, FastModel):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses.append(make(kind).fit((pair for pair in batches), steps_per_epoch=5, verbose=0).history["loss"])
    for i, (x, _) in enumerate(batches):
        np.testing.assert_array_equal(x, X[8 * i : 8 * i + 8])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_variables_that_appear_in_the_first_step():
    class Later(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="later")
            self.total = None

        def update_state(self, y, y_pred, sample_weight=None):
            if self.total is None and not isinstance(y_pred, keras.KerasTensor):
                self.total = self.add_variable((), initializer="zeros", name="total")
            if self.total is not None:
                self.total.assign(self.total + 1.0)

        def result(self):
            return 0.0 if self.total is None else self.total.value

    assert_same(lambda model_class: build(model_class, None, metrics=[Later()]))


def test_everything_is_put_back_in_place():
    layer = Holds("list")
    model = build(keras.Model, layer)
    layer.numbers, layer.nested = [1, [2, {"deep": 3}]], {"a": {1, 2}}
    numbers, inner, deep = layer.numbers, layer.numbers[1], layer.numbers[1][1]
    state = PythonState(model, set())
    drawn = layer.generators[0].random()
    numbers.append(4)
    inner[0] = 5
    deep["deep"] = 6
    layer.nested["a"].add(7)
    layer.array[:] = 8
    layer.extra = 9
    layer.number = 10
    state.restore()
    assert layer.numbers is numbers
    assert numbers == [1, [2, {"deep": 3}]]
    assert layer.nested == {"a": {1, 2}}
    assert layer.array.tolist() == [0, 0]
    assert not hasattr(layer, "extra")
    assert layer.number == 0
    assert layer.generators[0].random() == drawn


def test_what_is_large_is_taken_for_data():
    layer = Holds("list")
    model = build(keras.Model, layer)
    layer.data = list(range(100_000))
    layer.matrix = np.zeros((3000, 1000))
    state = PythonState(model, set())
    assert not any("data" in path or "matrix" in path for _, path in state.values)
    assert len(reachable(model)) < 2_000


def test_own_things_are_those_of_no_library():
    assert is_own(Holds("list"))
    assert is_own(test_own_things_are_those_of_no_library)
    assert not is_own(keras.layers.Dense(1))
    assert not is_own(torch.nn.Linear(1, 1))


def test_the_parts_of_a_fast_step_are_not_searched():
    inputs = keras.Input((3,))
    model = FastModel(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 1)), verbose=0)
    found = {type(item).__name__ for item in reachable(model)}
    assert {"FastModel", "Dense"} <= found
    assert not found & {"Parts", "Verification", "_Same"}
