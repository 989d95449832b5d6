"""Few small models are trained on the CPU, and a graph of tensors elsewhere computes the same there."""

from k3torch.stack import graphs
from k3torch.stack.device_choice import cpu_is_faster, graph_on_cpu
import pytest
import torch

LECTURE, WIDE = 5121, 1_100_000


@pytest.mark.parametrize(
    ("models", "weights", "batch", "cores", "expected"),
    [
        (1, LECTURE, 1, 2, True),
        (4, LECTURE, 1, 2, True),
        (32, LECTURE, 1, 2, False),
        (32, LECTURE, 1, 16, True),
        (1024, LECTURE, 1, 16, False),
        (4, LECTURE, 512, 2, False),
        (4, WIDE, 256, 2, False),
        (4, WIDE, 1, 4, True),
        (1, LECTURE, 1, 64, True),
    ],
)
def test_the_choice_by_size(models, weights, batch, cores, expected):
    assert cpu_is_faster(models, weights, batch, cores) is expected


def test_a_graph_that_was_traced_on_another_device_computes_on_the_cpu():
    def step(x, total):
        factor = torch.full((2,), 3.0, device=x.device)
        x.mul_(factor + torch.arange(2, device=x.device))
        total.add_(x.sum().to("cpu"))

    graph = graph_on_cpu(graphs.trace(step, [torch.ones(2, device="meta"), torch.zeros(())]))
    inputs = [torch.tensor([1.0, 2.0]), torch.zeros(())]
    graph(*inputs)
    assert inputs[0].tolist() == [3, 8]
    assert inputs[1] == 11


def test_a_graph_on_the_cpu_stays_as_it_is():
    graph = graphs.trace(lambda x: x.add_(torch.ones(2)), [torch.zeros(2)])
    code = graph.code
    assert graph_on_cpu(graph).code == code
