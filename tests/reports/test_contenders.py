import sys

from k3torch.errors import InputError
from k3torch.reports.contenders import environment_on, printed_by
import pytest


def test_caches_of_compilers_and_settings_of_keras_are_not_passed_on(monkeypatch):
    for name in ("KERAS_BACKEND", "JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "OPENBLAS_L2_SIZE"):
        monkeypatch.setenv(name, "x")
    found = environment_on("cuda")
    assert (found["OPENBLAS_L2_SIZE"], found["KERAS_TORCH_DEVICE"]) == ("x", "cuda")
    assert not {"KERAS_BACKEND", "JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"} & set(found)


def test_on_the_cpu_no_contender_finds_a_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert environment_on("cuda")["CUDA_VISIBLE_DEVICES"] == "1"
    found = environment_on("cpu")
    assert (found["CUDA_VISIBLE_DEVICES"], found["JAX_PLATFORMS"]) == ("", "cpu")


def test_the_last_line_that_a_contender_prints_is_its_result():
    code = "import os; print('starting'); print('{\"seconds\": ' + os.environ['SECONDS'] + '}')"
    assert printed_by("a", [sys.executable, "-S", "-c", code], {"SECONDS": "2.5"}) == {"seconds": 2.5}


def test_a_contender_that_fails_ends_the_benchmark():
    refused = "import sys; sys.stderr.write('error: expected x, got y\\n'); sys.exit(2)"
    with pytest.raises(InputError, match=r"^expected x, got y$"):
        printed_by("a", [sys.executable, "-S", "-c", refused], {})
    with pytest.raises(RuntimeError, match=r"(?s)^a failed:.*ZeroDivisionError"):
        printed_by("a", [sys.executable, "-S", "-c", "1 / 0"], {})
