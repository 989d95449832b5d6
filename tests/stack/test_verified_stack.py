"""A stack whose step differs from Keras's own is refused before it trains; the model stays as it was."""

from k3torch.stack import stateless, verified_stack
from k3torch.stack.batch_loop import Samples
from k3torch.stack.compiled_models import CompiledModel
from k3torch.stack.model_stack import ModelStack
from k3torch.stack.reasons import DifferentStep
from k3torch.stack.traced_steps import StepGraphs
from k3torch.stack.verified_stack import PARTS, compare_with_keras
from k3torch.training.model_state import State
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)


def samples(count, width=4):
    return Samples(*(DRAW.normal(size=(count, n)).astype("float32") for n in (width, 1)))


TRAINING, VALIDATION = samples(11), samples(5)


def build(*layers, optimizer="adam", loss="mse", metrics=("mae",)):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5, activation="relu"), *layers])
    model.add(keras.layers.Dense(1))
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def stack(*models, batch_size=3):
    return ModelStack(models, [TRAINING] * len(models), [VALIDATION] * len(models), batch_size, epochs=1)


@pytest.mark.parametrize(
    ("optimizer", "layer"),
    [
        ("rmsprop", None),
        ("adam", keras.layers.BatchNormalization),
        ("nadam", lambda: keras.layers.Dropout(0.5)),
        ("ftrl", None),
    ],
)
def test_a_right_step_passes_and_all_state_stays(optimizer, layer):
    models = [build(*([layer()] if layer else []), optimizer=optimizer) for _ in range(2)]
    for model in models:
        stateless.build(model, TRAINING.x, TRAINING.y)
    before = State(models[0])
    stack(*models)
    after = State(models[0])
    for name, tensor in before.tensors.items():
        assert torch.equal(tensor, after.tensors[name]), name
    assert before.random[0].equal(after.random[0])


def test_a_loss_off_by_one_percent_is_found(monkeypatch):
    compute = stateless._loss

    def off(*arguments, **named):
        loss, *rest = compute(*arguments, **named)
        return (1.01 * loss, *rest)

    monkeypatch.setattr(stateless, "_loss", off)
    with pytest.raises(DifferentStep, match="in training"):
        stack(build())


def test_an_optimizer_with_another_epsilon_is_found(monkeypatch):
    model = build(optimizer=keras.optimizers.Adam(epsilon=1e-3))
    apply = keras.optimizers.Optimizer.stateless_apply

    def other(self, *arguments):
        self.epsilon = 1.2e-3
        try:
            return apply(self, *arguments)
        finally:
            self.epsilon = 1e-3

    monkeypatch.setattr(keras.optimizers.Optimizer, "stateless_apply", other)
    with pytest.raises(DifferentStep, match="kernel"):
        stack(model)


def test_a_metric_that_forgets_the_weight_is_found(monkeypatch):
    weighted = Samples(TRAINING.x, TRAINING.y, np.linspace(0.5, 2, 11).astype("float32"))
    held_out = Samples(VALIDATION.x, VALIDATION.y, np.ones(5, "float32"))
    model = build()
    model.compile("adam", "mse", weighted_metrics=["mae"])
    update = stateless._updated_metrics
    monkeypatch.setattr(
        stateless, "_updated_metrics", lambda m, s, loss, x, y, p, _: update(m, s, loss, x, y, p, torch.ones(len(x)))
    )
    with pytest.raises(DifferentStep, match="mean_absolute_error"):
        ModelStack([model], [weighted], [held_out], 3, epochs=1)


def test_a_wrong_validation_step_is_found(monkeypatch):
    test_step = stateless.test_step

    def as_in_training(model):
        return test_step(model) if not any("dropout" in layer.name for layer in model.layers) else train(model)

    def train(model):
        loss = stateless._loss
        step = test_step(model)

        def run(*arguments):
            stateless._loss = lambda *a, **k: loss(*a, **{**k, "training": True})
            try:
                return step(*arguments)
            finally:
                stateless._loss = loss

        return run

    monkeypatch.setattr(stateless, "test_step", as_in_training)
    with pytest.raises(DifferentStep, match="in validation"):
        stack(build(keras.layers.Dropout(0.5)))


def test_state_in_python_is_found_and_the_layer_keeps_its_count():
    class Counts(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.calls_so_far = 0

        def call(self, x):
            self.calls_so_far += 1
            return x

    model = build(layer := Counts())
    stateless.build(model, TRAINING.x, TRAINING.y)
    calls = layer.calls_so_far
    with pytest.raises(DifferentStep, match="'calls_so_far' of Counts"):
        stack(model)
    assert layer.calls_so_far == calls


def test_parameters_of_a_torch_module_are_trained_as_by_fit_or_the_stack_is_refused():
    class Linear(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(5, 5)

        def call(self, x):
            return self.linear(x)

    with pytest.raises(DifferentStep):
        stack(build(Linear()))


def test_a_model_that_differs_from_the_first_in_what_no_configuration_tells_is_found():
    def weighted(factor):
        def loss(y, y_pred):
            return factor[0] * keras.ops.mean(keras.ops.square(y - y_pred), axis=-1)

        return build(loss=loss)

    with pytest.raises(DifferentStep, match=r"\(model 2\)"):
        stack(weighted([1.0]), weighted([3.0]))
    stack(weighted([1.0]), weighted([1.0]))


def test_a_metric_that_collects_tensors_is_found_and_keeps_none_of_the_trace():
    class Collects(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="collects")
            self.values = []

        def update_state(self, y, y_pred, sample_weight=None):
            self.values.append(y)

        def result(self):
            return 0.0

    model = build(metrics=[metric := Collects()])
    stateless.build(model, TRAINING.x, TRAINING.y)
    kept = list(metric.values)
    with pytest.raises(DifferentStep, match="'values' of Collects"):
        stack(model)
    assert metric.values == kept


@pytest.fixture
def compared(monkeypatch):
    """The number of the model, the part and the number of batches of each comparison with Keras."""
    compared, compare = [], verified_stack._difference

    def listed(group, member, part, count, before, times):
        compared.append((group.models[member].name, part, count))
        return compare(group, member, part, count, before, times)

    monkeypatch.setattr(verified_stack, "_difference", listed)
    return compared


def stack_of_kinds(kinds, counts=(11, 11, 11)):
    models = [build() for _ in counts]
    for number, model in enumerate(models):
        model.name = f"model {number}"
    training = [samples(count) for count in counts]
    return ModelStack(models, training, [VALIDATION] * len(models), 3, epochs=1, kinds=kinds)


@pytest.mark.parametrize(
    ("kinds", "counts"), [("aaa", [2, 0, 0]), ("aba", [2, 1, 0]), ("abc", [2, 1, 1]), (None, [2, 1, 1])]
)
def test_one_model_of_each_kind_is_compared(compared, kinds, counts):
    stack_of_kinds(kinds)
    expected = [(f"model {n}", part, count) for n, count in enumerate(counts) for part in PARTS if count]
    assert compared == expected


def test_so_is_the_first_model_with_another_size_of_batches(compared):
    models = [build() for _ in range(4)]
    for number, model in enumerate(models):
        model.name = f"model {number}"
        stateless.build(model, TRAINING.x, TRAINING.y)
    graphs = StepGraphs(models[0], TRAINING, {3, 2, 1})
    groups = [CompiledModel(m, graphs, samples(n), VALIDATION, 3) for m, n in zip(models, (11, 8, 10, 7), strict=True)]
    assert compare_with_keras(groups, "aaaa").difference is None
    assert compared == [(f"model {n}", part, 2) for n in (0, 2) for part in PARTS]  # batches of 3 and 2, and of 1
