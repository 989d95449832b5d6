"""What runs on CUDA, followed without a GPU: where the host waits, what is copied, whether devices are mixed.

``cuda_shapes/look.py`` runs whole trainings on CUDA tensors that have shapes and no values, in a process of its own.
What needs values on a GPU is tested where there is one, by the tests that are marked ``cuda``.
"""

import json
from pathlib import Path
import shutil
import subprocess
import sys

import pytest
import torch

LOOK = Path(__file__).parent / "cuda_shapes" / "look.py"
STEPS = (
    "rmsprop", "rmsprop, momentum", "sgd", "nesterov", "adam", "adamw", "adagrad", "adadelta", "adamax", "lion", "ftrl",
    "clipnorm", "clipvalue", "schedule", "l1", "l2", "l1l2", "activity penalty", "dropout", "max_norm", "mse", "mae",
    "huber", "sample weights", "bfloat16",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    torch.version.cuda is not None or sys.platform != "linux" or not (shutil.which("c++") or shutil.which("g++")),
    reason="for a CPU build of torch on Linux, with a C++ compiler",
)


@pytest.fixture(scope="module")
def found():
    done = subprocess.run([sys.executable, LOOK], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    looks = json.loads(done.stdout.splitlines()[-1])
    errors = {name: look for name, look in looks.items() if isinstance(look, dict) and "error" in look}
    assert errors == {}
    return looks


def test_what_makes_the_host_wait_is_seen(found):
    assert found["watch"] == {
        "a number": ["wait"],
        "a comparison": ["wait"],
        "to the device": ["wait"],
        "from the device": ["wait"],
        "pageable": ["pageable"],
        "pinned": ["pinned"],
        "into a tensor": ["wait"],
        "a constant": ["wait"],
        "an asynchronous constant": [],
        "two devices": "FakeTensorDeviceMismatchError",
        "a size that depends on values": "DynamicOutputShapeException",
        "dropout": ["random"],
        "freed": [1, 0],
    }


def test_a_number_that_a_step_reads_and_a_tensor_on_the_cpu_in_the_backward_pass_are_found(found):
    assert found["a number read"]["train"]["wait"] == 1
    assert found["backward"] == "FakeTensorDeviceMismatchError"


@pytest.mark.parametrize("name", STEPS)
def test_a_step_synchronises_with_nothing(found, name):
    steps = found[name]
    assert {part: steps[part]["where"] for part in ("gather", "train", "test")} == {
        "gather": [],
        "train": [],
        "test": [],
    }
    assert steps["gather"]["pinned"] == 1  # the sample numbers
    assert steps["gather"]["kernel"] == 3 + (name == "sample weights")  # rows, as float32; labels, weights
    assert steps["train"]["pinned"] == steps["test"]["pinned"] == 0


def test_a_step_over_dense_samples_synchronises_with_nothing(found):
    assert found["digits"]["train"]["where"] == []


def test_only_what_keras_cannot_fuse_falls_back(found):
    fallbacks = {name: found[name]["fallbacks"] for name in STEPS if found[name]["fallbacks"]}
    assert set(fallbacks) == {"clipnorm", "clipvalue", "activity penalty"}


@pytest.mark.parametrize("name", ["fit", "loop"])
def test_an_epoch_synchronises_as_often_however_many_batches_it_has(found, name):
    few, many = found[name]
    assert few["wait"] == many["wait"] <= 12
    assert few["pageable"] == many["pageable"] == 0
    assert (few["pinned"], many["pinned"]) == (7, 12)  # one a batch of training and validation
    assert few["kernel"] < many["kernel"]


def test_a_fit_captures_its_steps_and_keeps_what_their_kernels_read(found):
    """Three batches of training and a shorter one, two of validation, in each of four epochs."""
    full, shorter, validation = found["captured"]
    assert full["replays"] == 12 - 2 - 1  # two are compared with Keras, one is not captured
    assert shorter["replays"] == 4 - 1
    assert validation["replays"] == 8 - 1 - 1
    for graph in found["captured"]:
        assert (graph["where"], graph["pinned"], graph["freed"]) == ([], 0, 0)
        assert graph["kernel"] > 0


def test_steps_on_sparse_batches_are_not_captured(found):
    assert found["sparse"] == []


def test_a_fit_whose_step_waits_trains_uncaptured_and_says_so_once(found):
    look = found["not captured"]
    assert look["graphs"] == 0  # a capture that fails would spoil later ones
    assert look["said"] == [
        "FastModel launches the kernels of a step one by one, which is slower: its step as a CUDA graph differs "
        "(RuntimeError: called a synchronizing CUDA operation)"
    ]


def test_evaluate_synchronises_once_an_epoch_and_predict_once_a_batch_for_its_output(found):
    few, many = found["inference"]["evaluate"]
    assert few["wait"] == many["wait"]
    assert [predicted["wait"] for predicted in found["inference"]["predict"]] == [4, 8]
    assert all(part["pageable"] == 0 for method in found["inference"].values() for part in method)


@pytest.mark.parametrize("name", ["stack", "stack, adam"])
def test_the_graphs_of_a_stack_can_be_captured_and_keep_what_their_kernels_read(found, name):
    graphs = found[name]["graphs"]
    assert len(graphs) >= 2
    for graph in graphs:
        assert graph["where"] == []
        assert graph["pinned"] == 0
        assert graph["freed"] == 0
        assert graph["kernel"] > 0
    assert found[name]["notices"] == []
    assert found[name]["train"]["wait"] == 1  # the metrics, once an epoch


def test_each_step_of_a_stack_is_one_replay(found):
    assert [graph["replays"] for graph in found["stack"]["graphs"]] == [11, 0]  # training; validation has not run
    assert found["stack"]["train"]["kernel"] < 40  # between the replays


def test_a_step_of_the_lecture_takes_at_most_so_many_kernels(found):
    assert found["stack"]["graphs"][0]["kernel"] <= 145
    assert found["rmsprop"]["train"]["kernel"] <= 56


def test_a_stack_whose_step_cannot_be_captured_trains_uncaptured_and_says_so_once(found):
    look = found["stack, no capture"]
    reason = "operation not permitted when stream is capturing"
    assert look["notices"] == [f"training operator by operator, which is slower: no CUDA graph ({reason})"]
    assert look["train"]["kernel"] > 1000
    assert look["train"]["wait"] == 1


def test_few_small_models_train_on_the_cpu_and_return_to_the_device(found):
    look = found["few models"]
    assert look["notices"] == [
        "training on the CPU in compiled C++ loops: a step of so few small models takes longer on the GPU"
    ]
    assert (look["groups"], look["captured"]) == (2, 0)
    assert look["devices"] == ["cuda"]
    assert look["epoch"] == {"wait": 0, "pageable": 0, "kernel": 0}


def test_large_models_train_on_the_device(found):
    look = found["many models"]
    assert (look["notices"], look["groups"], look["captured"]) == ([], 1, 2)
    assert look["devices"] == ["cuda"]
    assert look["epoch"]["pageable"] == 0
    assert look["epoch"]["wait"] <= 5
