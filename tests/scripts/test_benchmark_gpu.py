"""benchmark_gpu.py: without a GPU it says so; bad input is one line; the tables where there is a GPU."""

import importlib.util
import json
import re
from types import SimpleNamespace
import warnings

from k3torch import cli
from k3torch.errors import InputError
from k3torch.options import Output
import numpy as np
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


def test_each_row_is_measured_whatever_happens_to_another(tmp_path, monkeypatch, capsys):
    """On the CPU, where the kernel of all steps has no compiler."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
    monkeypatch.setattr(script, "synchronize", lambda: None)
    monkeypatch.setattr(script.runtime, "configure", lambda device: None)
    measurements = script.measurements
    monkeypatch.setattr(script, "measurements", lambda settings, device: measurements(settings, "cpu"))
    monkeypatch.setattr(script, "load_data", few_reviews)
    monkeypatch.setattr(script, "SAMPLES", 7)
    script.main(script.Settings(models=(2,), ways=("kernel", "operators"), epochs=4, output=Output(tmp_path / "run")))

    _, kernel, operators, dense, sparse, *_ = capsys.readouterr().out.replace("\n\n", "\n").splitlines()
    assert kernel.startswith("one kernel for all steps  2  ")
    assert "Error" in kernel
    assert re.fullmatch(r"kernels of the operators, captured  2  \S+ \(\S+ to \S+\)  \S+  \S+", operators)
    assert re.fullmatch(r"dense batches, CUDA graphs  \S+ \(\S+ to \S+\)  0\.\d{4}", dense)
    assert sparse.startswith("sparse batches, kernel by kernel  ")
    text = (tmp_path / "run" / "benchmark.md").read_text()
    assert "| way | models | error | µs per step |" in text
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["status"] == "complete"


def test_a_row_says_what_was_slower_and_what_went_wrong(monkeypatch):
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: torch.ones(2) @ torch.ones(3))  # fails too

    def measure():
        warnings.warn("no CUDA graph, which is slower", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
        raise RuntimeError("illegal memory access\nand more")

    assert script.measured({"way": "one"}, measure) == {
        "way": "one",
        "error": "RuntimeError: illegal memory access",
        "notice": "no CUDA graph, which is slower",
    }


def few_reviews(source, num_words):
    draw = np.random.default_rng(0)
    part = SimpleNamespace(ids=draw.integers(0, 50, 400), offsets=np.arange(0, 401, 10), labels=draw.integers(0, 2, 40))
    return SimpleNamespace(train=part)


@pytest.mark.cuda(seconds=60)
def test_the_tables(tmp_path):
    settings = script.Settings(models=(2,), epochs=4, output=Output(tmp_path / "run"))
    script.main(settings)
    text = (tmp_path / "run" / "benchmark.md").read_text()
    assert all(name in text for name in script.NAMES.values())
