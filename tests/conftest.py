"""Selects the torch backend before any test imports Keras, and a cache folder other than the user's."""

import os
import tempfile

import k3torch  # noqa: F401
import pytest
import torch

# One cache folder for all tests of a run, set before the package reads the variable.
os.environ["K3TORCH_CACHE"] = os.environ.get("K3TORCH_TEST_CACHE") or tempfile.mkdtemp(prefix="k3torch-tests-")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--random-models N``: how many random models the fast paths are compared with Keras on."""
    parser.addoption("--random-models", type=int, default=12)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests marked cuda where there is no CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for one test; it does not exist yet."""
    monkeypatch.setenv("K3TORCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
