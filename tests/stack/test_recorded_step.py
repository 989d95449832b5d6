"""The numbers of a model's step, taken from a record of its operators instead of a trace."""

from k3torch.stack import stateless, traced_steps
from k3torch.stack.batch_loop import Samples
from k3torch.stack.graphs import trace
from k3torch.stack.recorded_step import Record, Variant, variant
from k3torch.stack.traced_steps import READING, StepGraphs, TracedSteps
from k3torch.training.model_state import State
import keras
import numpy as np
import pytest
import torch

DRAW = np.random.default_rng(0)
SAMPLES = Samples(*(DRAW.normal(size=(8, n)).astype("float32") for n in (3, 1)))


def steps(dropout=0.1, l2=0.01, momentum=0.9, optimizer=keras.optimizers.AdamW, kind=keras.layers.Dropout):
    hidden = keras.layers.Dense(4, "tanh", kernel_regularizer=keras.regularizers.L2(l2))
    model = keras.Sequential([keras.Input((3,)), hidden, kind(dropout), keras.layers.Dense(1)])
    first = {"beta_1": momentum} if optimizer is keras.optimizers.AdamW else {"momentum": momentum}
    model.compile(optimizer(0.01, **first), keras.losses.Huber(delta=momentum), metrics=["mae"])
    stateless.build(model, SAMPLES.x, SAMPLES.y)
    return TracedSteps(model, SAMPLES)


@pytest.mark.parametrize("optimizer", [keras.optimizers.AdamW, keras.optimizers.RMSprop])
@pytest.mark.parametrize("kind", [keras.layers.Dropout])
def test_graphs_and_numbers_are_those_of_traces(optimizer, kind, monkeypatch):
    settings = [
        {"optimizer": optimizer, "kind": kind, "dropout": rate, "l2": l2, "momentum": momentum}
        for rate, l2, momentum in [(0.1, 0.01, 0.9), (0.4, 0.02, 0.8), (0.4, 0.03, 0.7)]
    ]
    of_both = []
    for large in (traced_steps.LARGE, 0):
        monkeypatch.setattr(traced_steps, "LARGE", large)
        models = [steps(**each) for each in settings]
        quick = len({model.quick_signature(5) for model in models})
        assert quick == (1 if large else 3)
        names = ("training", "validation", READING)
        kinds = {type(model.variant_of(models[0], name, 5)) for model in models[1:] for name in names}
        assert (kinds == {Variant}) is (quick == 1)
        of_both.append(StepGraphs.of(models, {4, 8}))
    for recorded, traced in zip(*of_both, strict=True):
        for kind in ("training", "validation"):
            assert recorded.steps[kind].graph.code == traced.steps[kind].graph.code
            pairs = zip(recorded.steps[kind].constants, traced.steps[kind].constants, strict=True)
            assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    first, *others = [[float(c) for c in graphs.steps["training"].constants if c.ndim == 0] for graphs in of_both[0]]
    assert len(first) >= 3
    assert all(first != other for other in others)


def test_models_that_differ_in_more_than_numbers_have_other_signatures():
    signatures = {steps().quick_signature(5), steps(optimizer=keras.optimizers.RMSprop).quick_signature(5)}
    assert len({*signatures, steps(0.3, 0.2, 0.1).quick_signature(5)}) == 2


def without_biases(units):
    hidden = keras.layers.Dense(units, "relu", use_bias=False)
    model = keras.Sequential([keras.Input((3,)), hidden, keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    stateless.build(model, SAMPLES.x, SAMPLES.y)
    return TracedSteps(model, SAMPLES)


def test_models_of_other_widths_have_other_signatures_where_no_operator_names_a_width():
    assert len({without_biases(units).quick_signature(5) for units in (4, 8, 4)}) == 2


def test_records_of_inputs_of_other_types_have_other_signatures():
    inputs = [torch.zeros(3), torch.zeros(3, dtype=torch.float64), torch.zeros(2)]
    assert len({Record(lambda x: x.mul_(2.0), [x]).signature() for x in inputs}) == 3


def test_the_model_and_the_random_states_stay_as_they_were():
    traced = steps()
    before = State(traced.model)
    traced.quick_signature(5)
    after = State(traced.model)
    assert all(torch.equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())
    assert torch.equal(before.random[0], after.random[0])


def scaled(factor, unused=False):
    def function(x, y):
        if unused:
            torch.mul(x, 7.0)
        small, large = torch.aminmax(x * factor)
        y.copy_(large - small + torch.tensor(factor))

    return function


def records(*functions):
    inputs = [torch.arange(3.0), torch.zeros(())]
    return [Record(function, inputs) for function in functions]


@pytest.mark.parametrize("unused", [False, True])
def test_results_of_several_tensors_constants_and_unused_operators(unused):
    inputs = [torch.arange(3.0), torch.zeros(())]
    first, other = records(scaled(2.0, unused), scaled(3.0, unused))
    assert first.signature() == other.signature()
    graph = trace(scaled(2.0, unused), inputs)
    found = variant(graph, first, other)
    assert [float(value) for value in found.constants.values()] == [3.0]
    numbers = [leaf for node in found.nodes for leaf in node.args if isinstance(leaf, float)]
    assert numbers == [3.0]
    assert [node.op for node in found.nodes] == [node.op for node in graph.graph.nodes]
    assert inputs[1] == 0  # copies are written


def test_a_record_of_another_function_does_not_match():
    graph = trace(scaled(2.0), [torch.arange(3.0), torch.zeros(())])
    (other,) = records(lambda x, y: y.copy_(x.sum() * 2.0))
    assert variant(graph, other, other) is None
    (changed,) = records(scaled(5.0))
    assert variant(graph, changed, changed) is None  # the record of a model is of the traced one, with its numbers
