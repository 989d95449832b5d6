"""benchmark_gpu.py: without a GPU it says so; bad input is one line; the tables where there is a GPU."""

import importlib.util

from k3torch import cli
from k3torch.errors import InputError
from k3torch.options import Output
import pytest
import torch

spec = importlib.util.spec_from_file_location("benchmark_gpu", cli.SCRIPTS / "benchmark_gpu.py")
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    with pytest.raises(InputError, match="expected a GPU"):
        script.main(script.Settings(output=Output(tmp_path / "run")))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": (0,)}, "models as a whole number of 1 or more"),
        ({"epochs": 3}, "epochs as a whole number of 4 or more"),
        ({"batch_size": 0}, "batch_size as a whole number of 1 or more"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        script.check(script.Settings(**options))


def test_a_spread_has_the_median_and_the_range():
    assert script.spread([3.0, 1.0, 2.0]) == "2 (1 to 3)"


@pytest.mark.cuda(seconds=60)
def test_the_tables(tmp_path):
    settings = script.Settings(models=(2,), epochs=4, output=Output(tmp_path / "run"))
    script.main(settings)
    text = (tmp_path / "run" / "benchmark.md").read_text()
    assert all(name in text for name in script.NAMES.values())
