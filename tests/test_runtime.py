from k3torch import runtime
from k3torch.errors import InputError
import keras
import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _restore():
    yield
    runtime.configure("cpu")


def test_the_same_seed_gives_the_same_weights_and_another_gives_others():
    def weights(seed):
        runtime.configure("cpu", seed=seed)
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)]).get_weights()[0], torch.rand(2).tolist()

    (first, drawn), (again, drawn_again), (other, _) = weights(1), weights(1), weights(2)
    np.testing.assert_array_equal(first, again)
    assert drawn == drawn_again
    assert (first != other).any()


def test_bfloat16_computes_in_bfloat16_and_keeps_float32_weights():
    runtime.configure("cpu", precision="bfloat16")
    layer = keras.layers.Dense(2)
    out = layer(np.ones((1, 3)))
    assert out.dtype == torch.bfloat16
    assert layer.kernel.dtype == "float32"
    runtime.configure("cpu")
    assert keras.layers.Dense(2)(np.ones((1, 3))).dtype == torch.float32


def test_cpu_is_always_there_and_auto_takes_the_first():
    assert runtime.available_devices()[-1] == "cpu"
    assert runtime.configure("auto").type == runtime.available_devices()[0]
    assert runtime.configure("cpu") == torch.device("cpu") == runtime.current_device()


def test_a_device_that_is_not_there_is_refused_with_those_that_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"a device of this machine \(.*cpu\), got 'cuda'"):
        runtime.configure("cuda")


@pytest.mark.parametrize(
    ("options", "message"), [({"precision": "float8"}, "precision"), ({"seed": -1}, "seed"), ({"seed": 2**32}, "seed")]
)
def test_other_bad_values_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        runtime.configure("cpu", **options)


@pytest.mark.cuda
def test_cuda_places_weights_there():
    assert runtime.configure("cuda").type == "cuda"
    assert keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)]).weights[0].value.device.type == "cuda"


def test_peak_memory_is_that_of_a_process_with_torch():
    assert 100 < runtime.peak_memory_mb() < 20_000
