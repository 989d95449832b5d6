"""The comparison of compiled loops with their graphs finds what is wrong and accepts what is rounding."""

from k3torch.stack import compiled_check
from k3torch.stack.graphs import trace
import pytest
from tests.stack import small_steps
import torch


def step(weights, sums, position):
    weights.mul_(0.9)
    sums.add_(weights.sum())
    position.add_(1)


def step_inputs():
    return [torch.tensor([1.0, -2.0, 3.0]), torch.zeros(()), torch.zeros((), dtype=torch.int64)]


class Loop:
    """Stands for the compiled loop of a step without samples."""

    def __init__(self, function, steps=1):
        self.function, self.steps = function, steps

    def bind(self, state, arrays, seed):
        def run(size, batches, order):
            assert (size, batches, order) == (1, 1, None)
            self.function(*state)
            seed.add_(self.steps)

        return run


def difference(function, inputs, loop):
    """What the comparison says of ``loop(*inputs)``, which stands for the compiled graph of ``function``."""
    example = small_steps.without_batch(function, inputs, "training")
    return compiled_check.difference_from_graphs([example], [Loop(loop)])


def test_the_same_numbers_pass_and_the_inputs_stay():
    inputs = step_inputs()
    assert difference(step, inputs, step) is None
    assert [tensor.tolist() for tensor in inputs] == [tensor.tolist() for tensor in step_inputs()]


def test_rounding_passes():
    def rounded(weights, sums, position):
        step(weights, sums, position)
        weights.mul_(1 + 1e-6)

    assert difference(step, step_inputs(), rounded) is None


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (
            lambda w, s, p: (step(w, s, p), w[1].add_(0.01)),
            "input 0 of the graph of training, batches of 1, of shape (3,), by 0.01",
        ),
        (lambda w, s, p: (step(w, s, p), s.neg_()), "input 1"),
        (
            lambda w, s, p: (step(w, s, p), p.add_(1)),
            "input 2 of the graph of training, batches of 1, of shape (), by 1",
        ),
        (lambda w, s, p: (step(w, s, p), w[0].fill_(torch.nan)), "input 0"),
        (lambda w, s, p: None, "input 0"),
    ],
    ids=["a weight", "a sum", "an integer", "not a number", "nothing computed"],
)
def test_a_wrong_number_is_named(wrong, found):
    assert difference(step, step_inputs(), wrong).startswith(found)


def test_a_tensor_that_the_graph_leaves_alone_must_stay():
    def only_sums(weights, sums, position):
        sums.add_(1)

    def overwrites(weights, sums, position):
        sums.add_(1)
        weights.zero_()

    assert difference(only_sums, step_inputs(), overwrites).startswith("input 0")


def test_a_sign_that_hangs_on_rounding_is_no_difference():
    def by_sign(weights, target):
        weights.sub_(0.001 * torch.sign(weights * 3 - target))

    def the_other_way(weights, target):
        weights.sub_(0.001 * torch.sign(weights * 3 * (1 - 1e-7) - target))

    inputs = [torch.full((50,), 1.0), torch.full((50,), 3.0)]
    assert difference(by_sign, inputs, the_other_way) is None


def test_later_graphs_see_what_earlier_ones_have_left():
    inputs = step_inputs()
    mean = torch.zeros(())

    def read(sums, mean):
        mean.copy_(sums * 2)

    examples = [
        small_steps.without_batch(step, inputs, "training"),
        small_steps.without_batch(read, [inputs[1], mean], "reading metrics"),
    ]
    loops = [Loop(step), Loop(lambda sums, mean: mean.copy_(sums * 3))]
    found = compiled_check.difference_from_graphs(examples, loops)
    assert found.startswith("input 1 of the graph of reading metrics")
    assert compiled_check.difference_from_graphs(examples, [Loop(step), Loop(read)]) is None


def test_the_seed_must_go_on_by_one():
    example = small_steps.without_batch(step, step_inputs(), "training")
    assert compiled_check.difference_from_graphs([example], [Loop(step)]) is None
    found = compiled_check.difference_from_graphs([example], [Loop(step, steps=2)])
    assert found == "input 3 of the graph of training, batches of 1, of shape (), by 1"


class BatchLoop:
    """Stands for the compiled loop of ``add_samples``, which is wrong for batches of one size."""

    def __init__(self, wrong_size=None):
        self.wrong_size, self.ran = wrong_size, []

    def bind(self, state, arrays, seed):
        def run(size, batches, order):
            self.ran.append((size, batches, order.tolist()))
            total, index = state
            total.add_(arrays[0][order].sum(0) * (1.01 if size == self.wrong_size else 1))
            index.copy_(order[-1])
            seed.add_(1)

        return run


def add_samples(state, batch):
    return [state[0] + batch[0].sum(0), batch[1][-1]]


def test_batches_of_each_size_are_compared_in_reversed_order():
    arrays = [torch.arange(1.0, 15.0).reshape(7, 2), torch.arange(7)]
    state = [torch.zeros(2), torch.zeros((), dtype=torch.int64)]
    example = small_steps.with_batch(add_samples, state, arrays, sizes=(3, 1))
    assert compiled_check.difference_from_graphs([example], [loop := BatchLoop()]) is None
    assert loop.ran == [(3, 1, [6, 5, 4]), (1, 1, [6])]
    for size in (3, 1):
        found = compiled_check.difference_from_graphs([example], [BatchLoop(wrong_size=size)])
        assert found.startswith(f"input 0 of the graph of a step, batches of {size}, of shape (2,)")
    assert [tensor.tolist() for tensor in state] == [[0, 0], 0]


def dropout(weights, sums, data, position):
    mask = torch.bernoulli(weights, 0.5)
    sums[0].add_((mask * data).sum())
    weights.sub_(mask)
    position.add_(1)


def dropout_inputs():
    return [torch.randn(100), torch.zeros(2), torch.ones(100), torch.zeros((), dtype=torch.int64)]


def test_what_depends_on_random_numbers_is_found_through_views_and_writes():
    assert compiled_check.random_inputs(trace(dropout, dropout_inputs())) == {0, 1}
    assert compiled_check.random_inputs(trace(step, step_inputs())) == set()


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (lambda w, s, d, p: w[0].fill_(torch.inf), "input 0"),
        (lambda w, s, d, p: d.add_(0.1), "input 2"),
        (lambda w, s, d, p: p.add_(1), "input 3"),
    ],
)
def test_beside_random_numbers_the_rest_is_compared(wrong, found):
    def run(*tensors):
        dropout(*tensors)
        wrong(*tensors)

    state = torch.get_rng_state()
    inputs = dropout_inputs()
    torch.set_rng_state(state)
    assert difference(dropout, inputs, run).startswith(found)
    assert difference(dropout, inputs, dropout) is None


def test_beside_an_infinite_number_the_others_must_stay_finite():
    inputs = dropout_inputs()
    inputs[0][1] = torch.inf  # stays infinite in every step

    def run(*tensors):
        dropout(*tensors)
        tensors[0][0].fill_(torch.nan)

    assert difference(dropout, inputs, dropout) is None
    assert difference(dropout, inputs, run).startswith("input 0")


def test_written_inputs_are_those_that_an_operator_writes_into():
    assert compiled_check.written_inputs(trace(dropout, dropout_inputs())) == {0, 1, 3}
