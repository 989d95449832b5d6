"""A step traced for two batch sizes is one graph for all sizes, or a reason why not."""

from k3torch.stack.reasons import UnsupportedGraph, UntraceableStep
from k3torch.stack.step_graphs import sizes_to_trace
import pytest
from tests.stack import small_steps
from tests.stack.small_steps import trace_step
import torch

SIZES = (1, 2, 3, 16, 31)


def state():
    torch.manual_seed(0)
    return [torch.randn(3, 2), torch.zeros(()), torch.zeros((), dtype=torch.int64)]


def batch(size):
    torch.manual_seed(size)
    return [torch.randn(size, 3), torch.randn(size, 2)]


def traced(step, old=None, rows=None):
    return trace_step(step, state() if old is None else old, batch(1) if rows is None else rows, (5, 7), "a step")


def after(graph, size, old=None, arrays=None):
    """Return what the graph writes into its state."""
    mine = state() if old is None else old
    arrays = batch(size) if arrays is None else arrays
    with torch.no_grad():
        graph.graph(*graph.inputs(mine, arrays, size, small_steps.seed()))
    return mine


def gradient_step(old, arrays):
    """Gradient descent on a mean of squares with a penalty, a running loss weighted by samples, a count of steps."""
    weights, total, steps = old
    x, y = arrays

    def loss(weights):
        return ((x @ weights - y) ** 2).mean(-1).sum() / len(x) + 0.01 * (weights**2).sum()

    gradient, value = torch.func.grad_and_value(loss)(weights)
    return [weights - 0.1 * gradient, total + value * len(x), steps + 1]


@pytest.mark.parametrize("size", SIZES)
def test_the_joined_graph_is_the_step_for_any_size(size):
    mine = after(traced(gradient_step), size)
    for tensor, expected in zip(mine, gradient_step(state(), batch(size)), strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-6, atol=1e-6)


FUNCTIONS_OF_THE_SIZE = {
    "reciprocal": lambda x: x.sum(0) / len(x),
    "factor": lambda x: x.sum(0) * len(x),
    "linear": lambda x: x.sum(0) * (3 * len(x) + 2),
    "linear in the other direction": lambda x: x.sum(0) * (2 - 3 * len(x)),
    "summand": lambda x: x.sum(0) + len(x) + 4,
    "subtrahend": lambda x: x.sum(0) - len(x),
    "reciprocal times a number": lambda x: x.sum(0) * (0.25 / len(x)),
    "constant": lambda x: x.sum(0) + torch.tensor([1.0 / len(x)] * 3),
    "constant of whole numbers": lambda x: x.sum(0) * torch.tensor([len(x)] * 3),
    "constant linear in the size": lambda x: x.sum(0) * torch.tensor(2 * len(x) + 1),
    "mean": lambda x: x.mean(0),
    "a new tensor of a multiple of its length": lambda x: torch.ones(2 * len(x), 3).sum(0) + x[0],
    "a new tensor longer by one": lambda x: torch.ones(len(x) + 1, 3).sum(0) + x[0],
    "reshaped": lambda x: (x.reshape(3 * len(x), 1) * 2).reshape(len(x), 3).sum(0),
    "comparison": lambda x: (x.abs().sum(0) > 0.5 * len(x)).float(),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", FUNCTIONS_OF_THE_SIZE)
def test_numbers_that_depend_on_the_size_are_computed_from_it(name, size):
    function = FUNCTIONS_OF_THE_SIZE[name]
    graph = trace_step(lambda _, b: [function(b[0])], [torch.zeros(3)], [torch.ones(1, 3)], (5, 7), name)
    (mine,) = after(graph, size, [torch.zeros(3)], batch(size)[:1])
    torch.testing.assert_close(mine, function(batch(size)[0]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64])
def test_they_are_computed_in_the_precision_of_the_result(dtype):
    large = torch.full((1,), 2**40 + 1, dtype=dtype)
    if dtype.is_floating_point:
        large = large / 3

    def step(old, arrays):
        size = len(arrays[0])
        last = old[2] * (0.1 / size) if dtype.is_floating_point else old[2] - torch.tensor([2 * size + 1])
        return [old[0] * size, old[1].add(size, alpha=2), last]

    def initial():
        return [large.clone() for _ in range(3)]

    rows = [torch.ones(1, 1, dtype=dtype)]
    graph = trace_step(step, initial(), rows, (5, 7), "a step")
    for size in (3, 11):
        arrays = [torch.ones(size, 1, dtype=dtype)]
        for mine, expected in zip(after(graph, size, initial(), arrays), step(initial(), arrays), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-14, atol=0)


def test_constants_of_several_numbers_become_inputs_and_others_are_folded():
    table, same = torch.arange(3.0), torch.full((3,), 0.5)
    graph = trace_step(
        lambda old, b: [old[0] + (b[0] * table).sum(0) + same], [torch.zeros(3)], [torch.ones(1, 3)], (5, 7), "a step"
    )
    assert [constant.tolist() for constant in graph.constants] == [[0, 1, 2]]
    nodes = list(graph.graph.graph.nodes)
    assert [node.name for node in nodes if node.op == "placeholder"][2:] == ["constant_1", "batch_size", nodes[4].name]
    assert not [node for node in nodes if node.op == "get_attr"]
    (mine,) = after(graph, 2, [torch.zeros(3)], [torch.ones(2, 3)])
    assert mine.tolist() == [0.5, 2.5, 4.5]


def test_the_seed_goes_on_by_one_and_only_the_state_is_written():
    graph, arrays, seed = traced(gradient_step), batch(4), small_steps.seed()
    kept = [array.clone() for array in arrays]
    with torch.no_grad():
        graph.graph(*graph.inputs(state(), arrays, 4, seed))
    assert seed == 1
    assert all(torch.equal(array, before) for array, before in zip(arrays, kept, strict=True))


def test_a_step_without_samples_needs_one_size():
    graph = trace_step(lambda old, _: [old[0] * 2], [torch.ones(2)], [], (1,), "reading metrics")
    assert (graph.state, graph.rows, graph.any_size, graph.name) == (1, [], False, "reading metrics")
    mine = [torch.ones(2)]
    graph.graph(*graph.inputs(mine, [], 1, small_steps.seed()))
    assert mine[0].tolist() == [2, 2]


def by_size(small, large):
    return lambda old, b: [small(old[0], b[0]) if len(b[0]) < 6 else large(old[0], b[0])]


DIFFERENT_STEPS = {
    "one more": (by_size(lambda s, x: s + 1, lambda s, x: (s + 1) * 2), "numbers of operations"),
    "another operator": (by_size(lambda s, x: s.exp(), lambda s, x: s.sin()), "operations"),
    "operands": (by_size(lambda s, x: s / s.exp(), lambda s, x: s.exp() / s), "the order of operations"),
    "dimension": (by_size(lambda s, x: s.sum(0), lambda s, x: s.sum(1)), "a size that is no whole multiple of it"),
    "several numbers": (
        lambda old, b: [old[0] * torch.tensor([1.0, 2, len(b[0])])],
        "constants of several numbers",
    ),
    "length of a constant": (
        lambda old, b: [old[0] + torch.tensor([1.0] * len(b[0])).sum()],
        "the shapes of constants",
    ),
    "half": (lambda old, b: [old[0] + torch.ones(len(b[0]) // 2).sum()], "a size that is no whole multiple of it"),
    "truth": (lambda old, b: [old[0] * torch.tensor([len(b[0]) > 6])], "a number of type torch.bool"),
    "full": (lambda old, b: [old[0] + torch.full((3,), 1.0 / len(b[0]))], "a number that aten.full.default takes"),
    "exponent": (lambda old, b: [old[0] ** len(b[0])], "a number that aten.pow.Tensor_Scalar takes"),
}


@pytest.mark.parametrize("name", DIFFERENT_STEPS)
def test_steps_that_differ_in_more_than_the_size_are_refused(name):
    step, why = DIFFERENT_STEPS[name]
    with pytest.raises(UnsupportedGraph, match=f"^the step differs between batch sizes in {why}$"):
        trace_step(step, [torch.ones(3, 3)], [torch.ones(1, 3)], (5, 7), name)


def test_what_is_no_tensor_operation_cannot_be_traced():
    with pytest.raises(UntraceableStep):
        traced(lambda old, b: [old[0] * float(b[0].sum()), *old[1:]])


@pytest.mark.parametrize(
    ("occurring", "traced"),
    [({1}, (1,)), ([1, 1], (1,)), ({1, 2}, (5, 7)), ({16, 5}, (7, 9)), ({5, 7, 9, 11}, (13, 15)), ({32}, (5, 7))],
)
def test_sizes_to_trace_are_none_that_occur(occurring, traced):
    assert sizes_to_trace(occurring) == traced
