"""What cannot be written as a kernel is refused with its reason; the kernels run in test_triton_models.py."""

from k3torch.models.builders import boston_regressor
from k3torch.stack import graphs, stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.traced_steps import TracedSteps
from k3torch.stack.triton_source import TritonSource
import numpy as np
import pytest
import torch


def source(size=4, **options):
    model = boston_regressor(13, **options)
    samples = Samples(np.zeros((20, 13), "float32"), np.zeros((20, 1), "float32"))
    stateless.build(model, samples.x, samples.y)
    traced = TracedSteps(model, samples)
    return TritonSource(traced.at(size)["training"], len(traced.state))


def test_a_kernel_loads_and_stores_each_tensor_of_the_state_once():
    text = source().text
    assert text.count("tl.load(s0 ") == text.count("tl.store(s0 ") == 1
    assert "tl.store(s7 " not in text  # the learning rate does not change
    assert text.count("\n    while ") == 1


def test_more_state_takes_more_warps():
    assert source(units=(8, 8)).warps == 4
    assert source().warps == 8


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"units": (256, 256)}, "numbers of state"),
        ({"dropout": 0.5}, "the operator aten.bernoulli"),
        ({"size": 2048}, r"a tensor of shape \(2048"),
    ],
)
def test_what_is_not_supported_is_refused(options, reason):
    with pytest.raises(UnsupportedGraph, match=reason):
        source(**options)


def steps(function, *inputs):
    return graphs.trace(lambda *all_of: all_of[0].copy_(function(*all_of[:-1])), [*inputs, torch.zeros(())])


@pytest.mark.parametrize(
    ("function", "tensor", "reason"),
    [
        (lambda x: x + x.double().float(), torch.zeros(3), "a tensor of type torch.float64"),
        (lambda x: x.flatten().reshape(3, 4), torch.zeros(3, 4), "a view of"),
        (lambda x: x * 2, torch.zeros(2, 3, 4), "a tensor of 3 dimensions"),
        (lambda x: torch.add(x, x, alpha=2), torch.zeros(3), "aten.add.Tensor with these arguments"),
        (lambda x: x.abs() ** x, torch.zeros(3), "a power of a tensor"),
        (lambda x: x.cumsum(0), torch.zeros(3), "the operator "),
    ],
)
def test_operators_that_are_not_supported_are_refused(function, tensor, reason):
    with pytest.raises(UnsupportedGraph, match=reason):
        TritonSource(steps(function, tensor), 1)
