"""The graphs of an epoch train, validate and read the metrics as Keras does."""

from k3torch.stack import graphs, stateless
from k3torch.stack.batch_loop import Samples, StackedSamples
from k3torch.stack.epoch_graphs import EpochGraphs
import keras
import numpy as np
import torch

DRAW = np.random.default_rng(0)
TRAINING = Samples(*(DRAW.normal(size=(7, n)).astype("float32") for n in (3, 1)))
VALIDATION = Samples(*(DRAW.normal(size=(5, n)).astype("float32") for n in (3, 1)))


def build():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05, momentum=0.5), "mse", metrics=["mae"])
    stateless.build(model, TRAINING.x, TRAINING.y)
    return model


def epoch_of(model):
    state = [variable.value.detach().clone()[None] for variable in stateless.variables(model)]
    values = torch.zeros(1, 2)
    training, validation = (StackedSamples.of([part], torch.device("cpu")) for part in (TRAINING, VALIDATION))
    counts = training.batch_counts(3), validation.batch_counts(3)
    return EpochGraphs(model, state, values, training, validation, 3, counts), state, values


def test_graphs_are_named_and_share_the_state():
    epoch, state, values = epoch_of(build())
    traced = epoch.graphs()
    assert [graph.name for graph in traced] == [
        "training, batches of 3",
        "training, batches of 1",
        "validation, batches of 3",
        "validation, batches of 2",
        "reading metrics",
    ]
    for graph, inputs in zip(traced, epoch.inputs, strict=True):
        assert graph.inputs == inputs
    assert epoch.inputs[0][0] is epoch.inputs[2][0] is state[0]
    assert epoch.inputs[-1][-1] is values


def test_an_epoch_is_that_of_fit():
    epoch, state, values = epoch_of(build())
    epoch.runs = [graphs.repeated(traced.graph, traced.inputs) for traced in epoch.graphs()]
    order = np.array([6, 2, 4, 0, 1, 5, 3])
    epoch.load([order])
    epoch.train()
    trained = values[0].tolist()

    reference = build()
    history = reference.fit(TRAINING.x[order], TRAINING.y[order], batch_size=3, shuffle=False, verbose=0).history
    np.testing.assert_allclose(trained, [history["loss"][0], history["mae"][0]], rtol=1e-5)
    weights = len(reference.trainable_variables)
    for tensor, variable in zip(state[:weights], reference.trainable_variables, strict=True):
        np.testing.assert_allclose(tensor[0], variable.numpy(), rtol=1e-5, atol=1e-6)

    for tensor in state[len(state) - len(reference.metrics_variables) :]:
        tensor.zero_()
    epoch.validate()
    expected = reference.evaluate(VALIDATION.x, VALIDATION.y, batch_size=3, verbose=0)
    np.testing.assert_allclose(values[0], expected, rtol=1e-5)
