"""What is captured is tested on a GPU (test_cuda.py), and followed without one (test_cuda_shapes.py)."""

from k3torch.models.builders import boston_regressor
from k3torch.training.captured_steps import CapturedSteps, captured_steps
import torch


def test_nothing_is_captured_on_the_cpu():
    model = boston_regressor()
    assert captured_steps(model, list(model.parameters())) is None


def test_batches_that_are_no_dense_tensors_are_left_to_the_caller():
    model = boston_regressor()
    steps = CapturedSteps(model, list(model.parameters()))
    sparse = torch.eye(3).to_sparse_csr()
    for data in ([torch.ones(3, 13), torch.ones(3, 1)], (torch.ones(3, 13), [1, 2, 3]), (sparse, torch.ones(3, 1))):
        assert not any(steps.take("train", data, lambda _: None) for _ in range(5))


def test_only_so_many_shapes_of_batches_are_captured():
    model = boston_regressor()
    steps = CapturedSteps(model, list(model.parameters()))
    for samples in range(1, 40):
        assert not steps.take("train", (torch.ones(samples, 13), torch.ones(samples, 1)), lambda _: None)
    assert len(steps._counts) == 8
