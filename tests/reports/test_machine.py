import os
from pathlib import Path
import sys

from k3torch.errors import InputError
from k3torch.reports import machine
import pytest
import torch


def test_the_description_has_processor_and_versions():
    found = machine.describe_machine()
    assert f", {os.cpu_count()} cores, " in found["processor"]
    assert f"torch {torch.__version__}, Keras 3." in found["software"]


@pytest.mark.parametrize(
    ("variables", "settings"),
    [
        ({}, []),
        ({"OPENBLAS_L2_SIZE": "512"}, ["OPENBLAS_L2_SIZE=512"]),
        (
            {"OPENBLAS_L2_SIZE": "512", "OPENBLAS_CORETYPE": "Haswell"},
            ["OPENBLAS_CORETYPE=Haswell", "OPENBLAS_L2_SIZE=512"],
        ),
        ({"OPENBLAS_NUM_THREADS": "1"}, []),
    ],
)
def test_settings_that_change_the_kernels_are_found(monkeypatch, variables, settings):
    for name in ("OPENBLAS_L2_SIZE", "OPENBLAS_CORETYPE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert machine.kernel_settings() == settings


def test_a_load_over_the_limit_is_refused_unless_allowed(monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (1.51, 0.0, 0.0), raising=False)
    with pytest.raises(InputError, match=r"^expected a load average of at most 1\.5, got 1\.5, .* set --allow-load$"):
        machine.check_load(False)
    assert machine.check_load(True) == 1.51
    monkeypatch.setattr(os, "getloadavg", lambda: (1.5, 9.0, 9.0), raising=False)  # of the last minute alone
    assert machine.check_load(False) == 1.5


def test_a_system_without_a_load_average_has_none(monkeypatch):
    monkeypatch.delattr(os, "getloadavg", raising=False)
    assert machine.check_load(False) is None


def test_the_first_package_that_an_environment_lacks_is_named(tmp_path):
    here = Path(sys.executable)
    assert machine.missing_package(here, ["numpy", "json"]) is None
    assert machine.missing_package(here, ["numpy", "no_such_one", "no_such_two"]) == "no_such_one"
    assert machine.missing_package(Path("/no/python"), []) is None
    not_python = tmp_path / "python"
    not_python.write_text("#!/bin/sh\nexit 1\n")
    not_python.chmod(0o755)
    assert machine.missing_package(not_python, ["jax"]) == "jax"
