"""The graph of a step for any size of batches is the same whether the second size is recorded or traced."""

from k3torch.stack import stateless, traced_steps
from k3torch.stack.batch_loop import Samples
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.recorded_step import Variant
from k3torch.stack.traced_steps import StepGraphs, TracedSteps
import keras
from keras import layers
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)
X, Y, WEIGHTS = (DRAW.normal(size=(12, n)).astype("float32") for n in (6, 1, 1))
MODELS = {
    "penalties": lambda: [layers.Dense(4, "relu", kernel_regularizer="l1l2", activity_regularizer="l2")],
    "dropout": lambda: [layers.Dropout(0.3), layers.Dense(4, "gelu")],
    "normalization": lambda: [layers.Dense(4), layers.LayerNormalization()],
    "batch normalization": lambda: [layers.BatchNormalization()],
    "shapes": lambda: [layers.Reshape((3, 2)), layers.LSTM(3), layers.RepeatVector(2), layers.Flatten()],
    "convolution": lambda: [layers.Reshape((6, 1)), layers.Conv1D(2, 3), layers.GlobalAveragePooling1D()],
}


def steps(before=(), optimizer="adam", weighted=False):
    model = keras.Sequential([keras.Input((6,)), *before, layers.Dense(1)])
    model.compile(optimizer, "mse", weighted_metrics=["mae"])
    samples = Samples(X, Y, np.abs(WEIGHTS[:, 0]) if weighted else None)
    stateless.build(model, X, Y, samples.sample_weight)
    return TracedSteps(model, samples)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_recorded_size_gives_the_graph_of_a_traced_one(name, weighted, monkeypatch):
    recorded = steps(MODELS[name](), weighted=weighted, optimizer="nadam" if weighted else "adam")
    kinds = {type(recorded.of_sizes(step, (5, 7))[1]) for step in ("training", "validation")}
    assert (kinds == {Variant}) is (name != "batch normalization")  # its operators are recorded otherwise than traced
    found = StepGraphs.of([recorded], {4, 12})[0]
    monkeypatch.setattr(traced_steps, "LARGE", 0)
    weights = np.abs(WEIGHTS[:, 0]) if weighted else None
    expected = StepGraphs.of([TracedSteps(recorded.model, Samples(X, Y, weights))], {4, 12})[0]
    for kind, graph in found.steps.items():
        assert graph.graph.code == expected.steps[kind].graph.code
        assert len(graph.constants) == len(expected.steps[kind].constants)
        assert all(map(torch.equal, graph.constants, expected.steps[kind].constants))


def test_one_size_is_not_recorded(monkeypatch):
    monkeypatch.setattr(traced_steps, "record_at", None)
    traced = steps()
    assert traced.of_sizes("training", (1,)) == [traced.at(1)["training"]]


def test_a_large_model_is_traced_for_both_sizes(monkeypatch):
    monkeypatch.setattr(traced_steps, "LARGE", 0)
    traced = steps()
    assert traced.of_sizes("training", (5, 7)) == [traced.at(size)["training"] for size in (5, 7)]


class OfSize(layers.Layer):
    """Computes otherwise in batches of more than six samples."""

    def call(self, x):
        return keras.ops.tanh(x) if len(x) > 6 else x * 2.0


def test_a_step_that_differs_between_sizes_is_refused_in_the_words_of_traces():
    with pytest.raises(UnsupportedGraph, match=r"^the step differs between batch sizes in "):
        StepGraphs.of([steps([OfSize()])], {4, 12})
