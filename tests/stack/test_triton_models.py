"""Models trained by one kernel become what ``fit`` makes of them; Triton interprets its kernels on the CPU.

The kernels run on a GPU in test_cuda.py.
"""

import importlib.util
import json
from pathlib import Path
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="needs Triton")

KERNELS = Path(__file__).with_name("triton_kernels.py")
QUICK = ("rmsprop, batches of 1", "operators", "1 models, batches of 16", "3 models, batches of 32")
OPTIMIZERS = ("momentum", "nadam", "lion", "adamw")
SLOW = (
    "rmsprop, batches of 4", "adam, batches of 1", "adam, batches of 4", "sample weights",
    *(f"{name}, batches of {size}" for name in OPTIMIZERS for size in (1, 4)),
)  # fmt: skip
SIZES = ("1 models, batches of 32", "3 models, batches of 16", "128 models, batches of 16")


def looks(names):
    done = subprocess.run([sys.executable, KERNELS, *names], capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found():
    return looks(QUICK)


def test_models_become_what_fit_makes_of_them(found):
    assert found[QUICK[0]]["difference"] is None
    assert found[QUICK[0]]["error"] < 1e-4


def test_each_operator_gives_what_torch_gives(found):
    wrong = {name: error for name, error in found["operators"].items() if not error < 1e-5}
    assert wrong == {}
    assert len(found["operators"]) > 40


@pytest.mark.parametrize("name", QUICK[2:])
def test_large_batches_and_shorter_last_ones_give_what_the_operators_give(found, name):
    assert found[name] < 1e-5


@pytest.mark.slow
def test_any_number_of_models_gives_what_the_operators_give():
    assert {name: error for name, error in looks(SIZES).items() if not error < 1e-5} == {}


@pytest.mark.slow
def test_other_steps_and_sizes_give_what_fit_gives():
    for name, look in looks(SLOW).items():
        assert look["difference"] is None, name
        assert look["error"] < 1e-3, name
