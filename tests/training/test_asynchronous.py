"""The calls that are replaced on CUDA give the tensors of those that they replace; test_cuda_shapes.py counts waits."""

from contextlib import nullcontext

from k3torch.models.builders import vanilla_model
from k3torch.training import asynchronous as module
from k3torch.training.asynchronous import asynchronous, device_of, unpacked
import keras
import numpy as np
import pytest
import torch


@pytest.fixture
def on_cpu(monkeypatch):
    """Has the CPU count as CUDA, so that values can be compared without a GPU."""
    monkeypatch.setattr(module, "ASYNCHRONOUS", ("cpu",))


def test_other_devices_are_left_alone():
    assert isinstance(asynchronous(torch.device("cpu")), nullcontext)
    assert not isinstance(asynchronous(torch.device("cuda")), nullcontext)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64, torch.bfloat16, torch.int32, torch.int64])
@pytest.mark.parametrize(
    "data",
    [0.1, 7, True, [1, 2], (0.1, 2), [True, False], np.float64(0.1), np.int16(3),
     np.array(0.1), np.arange(6).reshape(2, 3), np.array([0.1, 0.2], np.float32), [], np.arange(100),
     [[1, 2], [3, 4]]],
    ids=repr,
)  # fmt: skip
def test_a_constant_is_what_torch_makes(data, dtype):
    for function in (torch.as_tensor, torch.tensor):
        expected = function(data, dtype=dtype, device="cpu")
        with asynchronous(torch.device("cpu")):
            found = function(data, dtype=dtype, device="cpu")
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("data", [-(2**40), np.float32(0.1)], ids=repr)
def test_a_constant_without_a_dtype_is_what_torch_makes(data):
    expected = torch.as_tensor(data)
    with asynchronous(torch.device("cpu")):
        found = torch.as_tensor(data, device="cpu")
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


@pytest.mark.usefixtures("on_cpu")
def test_a_few_numbers_are_written_by_kernels_and_many_are_copied(monkeypatch):
    filled = []
    full = torch.full
    monkeypatch.setattr(torch, "full", lambda *args, **kwargs: filled.append(args[1]) or full(*args, **kwargs))
    with asynchronous(torch.device("cpu")):
        torch.as_tensor([1, 2], device="cpu")
        assert filled == [1, 2]
        torch.as_tensor(list(range(17)), device="cpu")
        torch.tensor([1, 2], device="cpu", requires_grad=False)
        torch.as_tensor(3)
        assert filled == [1, 2]


@pytest.mark.usefixtures("on_cpu")
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adadelta"])
def test_optimizers_that_pass_the_learning_rate_as_a_number_update_alike(optimizer):
    def trained(context):
        keras.utils.set_random_seed(0)
        options = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True} if optimizer == "nesterov" else {
            "optimizer": optimizer}  # fmt: skip
        model = vanilla_model(4, learning_rate=0.5, **options)
        x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
        with context:
            for _ in range(3):
                model.train_on_batch(x, y)
        return model.get_weights()

    for a, b in zip(trained(nullcontext()), trained(asynchronous(torch.device("cpu"))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def test_the_device_of_a_model_is_that_of_its_variables():
    assert device_of(vanilla_model(2)).type == "cpu"
    assert device_of(keras.Sequential([keras.layers.Dense(1)])).type == "cpu"
    with keras.device("meta"):
        variable = keras.Variable([1.0])
    assert device_of(type("Model", (), {"variables": [variable]})()).type == "meta"


@pytest.mark.parametrize(("device", "asynchronously"), [("cpu", False), ("cuda", True)])
def test_a_batch_is_copied_asynchronously_to_a_gpu_only(monkeypatch, device, asynchronously):
    """The host would read a batch on the CPU before it is copied."""
    copies = []
    monkeypatch.setattr(torch.Tensor, "to", lambda _, to, non_blocking: copies.append((to.type, non_blocking)))
    unpacked((torch.ones(2, 3, device="meta"), torch.ones(2, 1, device="meta")), torch.device(device))
    assert copies == [(device, asynchronously)] * 2
