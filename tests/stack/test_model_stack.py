"""A stack ends where Keras's own fit ends, from the same weights and in the same order."""

from k3torch.stack import model_stack, stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.compiled_loops import library_name
from k3torch.stack.compiled_models import CompiledModel
from k3torch.stack.model_stack import ModelStack
from k3torch.stack.reasons import SlowerThanFit, UnsupportedGraph
from k3torch.stack.traced_steps import StepGraphs
import keras
import numpy as np
import pytest
import torch
from torch._inductor import config

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.01),
    "nesterov": lambda: keras.optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "rmsprop": lambda: keras.optimizers.RMSprop(momentum=0.5),
    "adam": lambda: keras.optimizers.Adam(),
    "adamw": lambda: keras.optimizers.AdamW(),
    "adagrad": lambda: keras.optimizers.Adagrad(),
    "adadelta": lambda: keras.optimizers.Adadelta(),
    "adamax": lambda: keras.optimizers.Adamax(),
    "ftrl": lambda: keras.optimizers.Ftrl(),
    "lion": lambda: keras.optimizers.Lion(),
    "schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)),
    "clipvalue": lambda: keras.optimizers.Adam(clipvalue=0.1),
    "clipnorm": lambda: keras.optimizers.SGD(0.05, clipnorm=0.1),
    "global_clipnorm": lambda: keras.optimizers.SGD(0.05, global_clipnorm=0.1),
}
LAYERS = {
    "plain": lambda: [keras.layers.Dense(6, "relu")],
    "batch normalisation": lambda: [keras.layers.Dense(6, use_bias=False), keras.layers.BatchNormalization()],
    "penalties": lambda: [
        keras.layers.Dense(6, "relu", kernel_regularizer="l2", bias_regularizer="l1", activity_regularizer="l2")
    ],
    "max norm": lambda: [keras.layers.Dense(6, "relu", kernel_constraint=keras.constraints.MaxNorm(0.5))],
}


def build(layers="plain", optimizer="rmsprop"):
    model = keras.Sequential([keras.Input((5,)), *LAYERS[layers](), keras.layers.Dense(1)])
    model.compile(OPTIMIZERS[optimizer](), "mse", metrics=["mae"])
    return model


def one_epoch(stack, orders):
    """Train an epoch; return the metrics of training and of validation, (metrics, models)."""
    results = []
    stack.train(range(1), lambda model, epoch: orders[model], lambda done: results.append(done) or True)
    results.sort(key=lambda result: result.models.start)
    return [np.concatenate([getattr(r, part) for r in results], axis=1) for part in ("training", "validation")]


def agree(lengths, batch_size, weighted=False, **choices):
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    models, references = [build(**choices) for _ in lengths], [build(**choices) for _ in lengths]
    samples = [
        Samples(
            rng.normal(size=(n, 5)).astype("float32"),
            rng.normal(size=(n, 1)).astype("float32"),
            rng.uniform(0.5, 2, n).astype("float32") if weighted else None,
        )
        for n in lengths
    ]
    for model, reference in zip(models, references, strict=True):
        reference.set_weights(model.get_weights())
    stack = ModelStack(models, samples, samples, batch_size, epochs=1)
    orders = [rng.permutation(n) for n in lengths]
    trained, measured = one_epoch(stack, orders)
    stack.unstack()
    for i, (reference, part, order) in enumerate(zip(references, samples, orders, strict=True)):
        weights = None if part.sample_weight is None else part.sample_weight[order]
        history = reference.fit(
            part.x[order], part.y[order], batch_size, sample_weight=weights, shuffle=False, verbose=0
        ).history
        for mine, keras_own in zip(models[i].get_weights(), reference.get_weights(), strict=True):
            np.testing.assert_allclose(mine, keras_own, rtol=2e-4, atol=5e-6)
        np.testing.assert_allclose(trained[:, i], [history[name][0] for name in stack.names], rtol=1e-4)
        expected = reference.evaluate(part.x, part.y, sample_weight=part.sample_weight, verbose=0)
        np.testing.assert_allclose(measured[:, i], expected, rtol=1e-4)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_ends_where_fit_ends(optimizer):
    agree([20, 20], 4, optimizer=optimizer)


@pytest.mark.parametrize("layers", LAYERS)
def test_layers_penalties_and_constraints_end_where_fit_ends(layers):
    agree([20, 20], 4, layers=layers)


@pytest.mark.parametrize("lengths", [[21, 18], [3, 9], [8, 7, 6]])
def test_uneven_models_and_short_last_batches_end_where_fit_ends(lengths):
    agree(lengths, 4)


def test_batches_of_one_and_sample_weights_end_where_fit_ends():
    agree([9, 9], 1, weighted=True)


def test_compiled_loops_end_where_fit_ends(compiled):
    agree([21, 18], 4, weighted=True, layers="batch normalisation")
    agree([5, 9, 9], 1, optimizer="clipnorm", layers="penalties")
    agree([21, 3], 4, layers="max norm")  # the second model has one short batch alone


@pytest.mark.parametrize(
    "optimizer",
    [name if name in ("adam", "clipnorm") else pytest.param(name, marks=pytest.mark.slow) for name in OPTIMIZERS],
)
def test_every_optimizer_compiles_and_ends_where_fit_ends(compiled, optimizer):
    agree([13, 12], 4, optimizer=optimizer)


def test_without_a_compiler_it_says_so_and_trains_all_the_same(monkeypatch, capsys, cache):
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    with config.patch({"cpp.cxx": (None, "no-such-compiler")}):
        agree([9, 9], 4)
    assert capsys.readouterr().out.startswith("training uncompiled: no C++ compiler works here")


def test_dropout_zeroes_its_fraction_differently_in_each_model_compiled(compiled):
    test_dropout_zeroes_its_fraction_differently_in_each_model()


def test_dropout_zeroes_its_fraction_differently_in_each_model():
    models = []
    for _ in range(2):
        model = keras.Sequential([keras.Input((4000,)), keras.layers.Dropout(0.3)])
        model.add(keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"))
        model.compile(keras.optimizers.SGD(1.0), "mse")
        models.append(model)
    samples = Samples(np.ones((1, 4000), "float32"), np.ones((1, 1), "float32"))
    stack = ModelStack(models, [samples, samples], [samples, samples], 1, epochs=1)
    one_epoch(stack, [np.arange(1)] * 2)
    first, second = (model.get_weights()[0][:, 0] for model in stack.unstack())
    # The gradient is -2 times the input after dropout: 0, or 1 / 0.7.
    for kernel in (first, second):
        assert abs((kernel == 0).mean() - 0.3) < 0.04
        np.testing.assert_allclose(kernel[kernel != 0], 2 / 0.7, rtol=1e-5)
    assert (first != second).any()


def test_the_threads_of_a_stack_flush_denormals_and_compute_alone(monkeypatch):
    samples = Samples(np.ones((2, 5), "float32"), np.ones((2, 1), "float32"))
    stack = ModelStack([build()], [samples], [samples], 1, epochs=1)
    seen = []

    def denormal():
        return (torch.tensor([1e-30]) * 1e-10).item()

    def epoch(group):
        seen.append((denormal(), torch.get_num_threads()))
        return np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32")

    monkeypatch.setattr(model_stack, "_epoch", epoch)
    threads = torch.get_num_threads()
    one_epoch(stack, [np.arange(2)])
    assert seen == [(0, 1)]
    assert denormal() > 0
    assert torch.get_num_threads() == threads


def test_an_exception_lets_each_model_complete_its_epoch_and_reports_it(compiled):
    samples = Samples(np.ones((6, 5), "float32"), np.ones((6, 1), "float32"))
    stack = ModelStack([build() for _ in range(3)], [samples] * 3, [samples] * 3, 2, epochs=50)
    reported = []

    def report(result):
        reported.append((result.models.start, result.epoch))
        if len(reported) == 7:
            raise KeyboardInterrupt
        return True

    with pytest.raises(KeyboardInterrupt):
        stack.train(range(50), lambda model, epoch: np.arange(6), report)
    epochs = [sum(model == number for model, _ in reported) for number in range(3)]
    assert 7 <= sum(epochs) <= 10
    for model, done in zip(stack.unstack(), epochs, strict=True):
        assert model.optimizer.iterations.numpy() == 3 * done


def test_a_step_that_cannot_be_compiled_and_is_slower_than_fit_is_refused_unless_required(monkeypatch):
    samples = Samples(np.ones((6, 5), "float32"), np.ones((6, 1), "float32"))

    def not_compiled(*_):
        raise UnsupportedGraph("a reason")

    monkeypatch.setattr(model_stack, "_seconds_of_step", lambda _: 1000.0)
    ModelStack([build()], [samples], [samples], 2, epochs=1, required=False)  # too short a training to matter
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    monkeypatch.setattr(CompiledModel, "bind", not_compiled)
    with pytest.raises(SlowerThanFit, match=r"a step of all models takes .* ms, Keras's own .* ms a model"):
        ModelStack([build()], [samples], [samples], 2, epochs=1, required=False)
    ModelStack([build()], [samples], [samples], 2, epochs=1)


def test_a_penalty_of_another_strength_is_another_library():
    def name(strength):
        model = keras.Sequential(
            [keras.Input((5,)), keras.layers.Dense(1, kernel_regularizer=keras.regularizers.L2(strength))]
        )
        model.compile("sgd", "mse")
        samples = Samples(np.ones((2, 5), "float32"), np.ones((2, 1), "float32"))
        stateless.build(model, samples.x, samples.y)
        graphs = StepGraphs(model, samples, {1})
        return library_name(CompiledModel(model, graphs, samples, samples, 1).examples())

    assert name(0.1) != name(0.2)
    assert name(0.1) == name(0.1)


def test_the_status_says_what_is_being_done(monkeypatch, cache):
    samples, statuses = Samples(np.zeros((6, 5), "float32"), np.zeros((6, 1), "float32")), []

    def stacked(**choices):
        statuses.clear()
        ModelStack([build(**choices)], [samples], [samples], 2, epochs=1, status=statuses.append)
        return statuses

    assert stacked() == ["checking the step against Keras"]  # too few steps to compile
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    assert stacked() == ["tracing the step", "checking the step against Keras", "compiling"]


def test_two_dropout_layers_of_one_shape_draw_different_numbers_compiled(compiled, cache):
    ones = {"kernel_initializer": "ones", "trainable": False}
    first, second = keras.layers.Dropout(0.5), keras.layers.Dropout(0.5)
    inputs = keras.Input((2000,))
    both = keras.layers.multiply([first(inputs), second(inputs)])
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, **ones)(both))
    model.compile("sgd", "mae", metrics=["mae"])
    samples = Samples(np.ones((1, 2000), "float32"), np.zeros((1, 1), "float32"))
    trained, _ = one_epoch(ModelStack([model], [samples], [samples], 1, epochs=1), [np.arange(1)])
    # Kept by both layers: a quarter of the numbers, each doubled twice; one mask for both would keep a half.
    assert abs(trained[0, 0] / 4 / 2000 - 0.25) < 0.05


def test_the_same_seed_gives_the_same_dropout_in_whatever_order_models_are_trained(compiled, cache):
    def trained():
        keras.utils.set_random_seed(0)
        models = []
        for _ in range(5):
            models.append(keras.Sequential([keras.Input((5,)), keras.layers.Dropout(0.5), keras.layers.Dense(1)]))
            models[-1].compile("sgd", "mse")
        draw = np.random.default_rng(0)
        lengths = [40, 3, 25, 3, 60]
        parts = [Samples(*(draw.normal(size=(n, width)).astype("float32") for width in (5, 1))) for n in lengths]
        stack = ModelStack(models, parts, parts, 2, epochs=20)
        stack.train(range(20), lambda model, epoch: np.arange(lengths[model]), lambda _: True)
        return [weight for model in stack.unstack() for weight in model.get_weights()]

    first = trained()
    for _ in range(3):
        assert all(np.array_equal(a, b) for a, b in zip(first, trained(), strict=True))
