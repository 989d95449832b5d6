"""Tracing records and does not compute; what is no tensor operation is refused with its reason."""

from k3torch.stack import graphs
from k3torch.stack.reasons import UntraceableStep
import pytest
import torch


def double(x, total):
    x.mul_(2)
    total.add_(x.sum())


def test_tracing_changes_nothing_and_the_graph_writes_into_its_inputs():
    inputs = [torch.tensor([1.0, 2.0]), torch.zeros(())]
    graph = graphs.trace(double, inputs)
    assert inputs[0].tolist() == [1, 2]
    graph(*inputs)
    assert inputs[0].tolist() == [2, 4]
    assert inputs[1] == 6


def test_repeated_runs_on_the_same_tensors():
    inputs = [torch.tensor([1.0, 2.0]), torch.zeros(())]
    run = graphs.repeated(graphs.trace(double, inputs), inputs)
    run(3)
    assert inputs[0].tolist() == [8, 16]
    assert inputs[1] == 6 + 12 + 24


def test_what_depends_on_values_cannot_be_traced():
    def branch(x):
        if x.sum() > 0:
            x.zero_()

    with pytest.raises(UntraceableStep):
        graphs.trace(branch, [torch.ones(2)])


def test_an_error_without_a_message_is_named_by_its_type():
    def fail(x):
        raise ZeroDivisionError

    with pytest.raises(UntraceableStep, match=r"^ZeroDivisionError$"):
        graphs.trace(fail, [torch.ones(2)])


@pytest.mark.cuda
def test_a_cuda_graph_keeps_the_inputs_until_it_runs():
    inputs = [torch.tensor([1.0, 2.0], device="cuda"), torch.zeros((), device="cuda")]
    run = graphs.repeated(graphs.trace(double, inputs), inputs)
    assert inputs[0].tolist() == [1, 2]
    run(3)
    assert inputs[0].tolist() == [8, 16]


@pytest.mark.filterwarnings("error")
def test_operators_that_vmap_applies_one_by_one_give_no_warning():
    def step(x, gradient):
        gradient.copy_(torch.vmap(torch.func.grad(lambda row: torch.nn.functional.silu(row).sum()))(x))

    x = torch.randn(3, 4)
    gradient = torch.zeros(3, 4)
    graphs.trace(step, [x, gradient])(x, gradient)
    sigmoid = torch.sigmoid(x)
    torch.testing.assert_close(gradient, sigmoid * (1 + x * (1 - sigmoid)))
