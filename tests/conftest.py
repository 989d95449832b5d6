"""Select the torch backend before any test module imports Keras, and keep the person's own cache out of it."""

import os
import tempfile

import k3torch  # noqa: F401
import pytest
import torch

# A cache of their own for all tests of a run, set before any module of the package can ask for one.
os.environ["K3TORCH_CACHE"] = os.environ.get("K3TORCH_TEST_CACHE") or tempfile.mkdtemp(prefix="k3torch-tests-")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--random-models N``: how many random models the fast paths are compared with Keras on."""
    parser.addoption("--random-models", type=int, default=12)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs CUDA where there is none."""
    if not torch.cuda.is_available():
        for item in items:
            if "cuda" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder of the test's own."""
    monkeypatch.setenv("K3TORCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
