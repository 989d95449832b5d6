"""Numbers in which two graphs differ become inputs, and each graph has its own values of them."""

from k3torch.stack.lifted_numbers import signature
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.step_graphs import join_graphs, trace_at
import pytest
from tests.stack import small_steps
import torch

# For each way in which an operator takes a number: a function of a tensor (5, 3) and of the number.
NUMBERS = {
    "factor": lambda x, n: x * n,
    "divisor": lambda x, n: x / n,
    "summand": lambda x, n: x + n,
    "subtrahend": lambda x, n: n - x,
    "exponent": lambda x, n: x.abs() ** n,
    "base": lambda x, n: n**x,
    "bounds": lambda x, n: x.clamp(-n, n),
    "a lower bound": lambda x, n: x.clamp(min=n),
    "an upper bound": lambda x, n: x.clamp_max(n),
    "comparison": lambda x, n: (x > n).float(),
    "a constant": lambda x, n: x * torch.tensor(n),
    "constants": lambda x, n: x * torch.tensor([n, 1.0, 2 * n]),
    "a new tensor": lambda x, n: x + torch.full((3,), n),
    "a tensor like another": lambda x, n: x + torch.full_like(x, n),
    "a choice": lambda x, n: torch.where(x > 0, x, n),
    "masked": lambda x, n: x.masked_fill(x > 0, n),
    "whole numbers": lambda x, n: x * int(4 * n),
}


def graphs_of(function, numbers, sizes=(5, 7)):
    """The graphs of the first number for each size, and of the other numbers for the first size."""

    def traced(number, size):
        step = lambda _, batch: [function(batch[0], number).sum(0)]  # noqa: E731
        return trace_at(size, step, [torch.zeros(3)], [torch.ones(1, 3)])

    return [traced(numbers[0], size) for size in sizes], [traced(number, sizes[0]) for number in numbers[1:]]


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", NUMBERS)
def test_the_joined_graph_computes_with_the_number_of_each(name, size):
    numbers, function = [0.5, 0.25, 1.5], NUMBERS[name]
    of_sizes, variants = graphs_of(function, numbers)
    assert len({signature(graph) for graph in (of_sizes[0], *variants)}) == 1
    steps = join_graphs(of_sizes, (5, 7), variants, 1, [torch.ones(1, 3)], "a step")
    assert len({id(step.graph) for step in steps}) == 1
    torch.manual_seed(0)
    x = torch.randn(size, 3)
    for number, step in zip(numbers, steps, strict=True):
        state = [torch.zeros(3)]
        with torch.no_grad():
            step.graph(*step.inputs(state, [x], size, small_steps.seed()))
        torch.testing.assert_close(state[0], function(x, number).sum(0))


def test_equal_numbers_stay_literals_and_one_input_stands_for_all_places_of_a_number():
    of_sizes, variants = graphs_of(lambda x, n: (x * n + 3) / n, [0.5, 0.25])
    first, second = join_graphs(of_sizes, (5, 7), variants, 1, [torch.ones(1, 3)], "a step")
    assert [float(value) for value in first.constants] == [0.5]
    assert [float(value) for value in second.constants] == [0.25]


@pytest.mark.parametrize(
    "other", [lambda x, n: x + n, lambda x, n: x * n * 1, lambda x, n: torch.nn.functional.elu(x, n)], ids="sme"
)
def test_other_operators_have_another_signature(other):
    first = graphs_of(lambda x, n: x * n, [0.5])[0][0]
    assert signature(first) != signature(graphs_of(other, [0.5])[0][0])


def test_numbers_that_no_tensor_can_replace_are_part_of_the_signature():
    (graph, _), (other,) = graphs_of(torch.nn.functional.elu, [0.5, 0.25])
    assert signature(graph) != signature(other)


def test_a_number_that_depends_on_the_size_too_is_refused():
    of_sizes, variants = graphs_of(lambda x, n: x * (n / len(x)), [0.5, 0.25])
    with pytest.raises(UnsupportedGraph, match="in which the models differ too"):
        join_graphs(of_sizes, (5, 7), variants, 1, [torch.ones(1, 3)], "a step")


def test_dropout_with_a_lifted_rate_keeps_that_fraction():
    of_sizes, variants = graphs_of(lambda x, n: torch.bernoulli(x, n), [0.2, 0.7])
    for step, rate in zip(
        join_graphs(of_sizes, (5, 7), variants, 1, [torch.ones(1, 3)], "a step"), [0.2, 0.7], strict=True
    ):
        state = [torch.zeros(3)]
        torch.manual_seed(0)
        with torch.no_grad():
            step.graph(*step.inputs(state, [torch.ones(10_000, 3)], 10_000, small_steps.seed()))
        assert (state[0] / 10_000 - rate).abs().max() < 0.02
