"""Select the torch backend before any test module imports Keras, and keep the person's own cache out of it."""

import os
import tempfile

import k3torch  # noqa: F401
import pytest
import torch

# A cache of their own for all tests of a run, set before any module of the package can ask for one.
os.environ["K3TORCH_CACHE"] = os.environ.get("K3TORCH_TEST_CACHE") or tempfile.mkdtemp(prefix="k3torch-tests-")


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


@pytest.fixture
def without_keras_parts(monkeypatch):
    """A function that takes private parts of Keras away, and returns a list of all that are asked for afterwards.

    Keras itself keeps them: it could not train without.
    """
    from k3torch.training import keras_internals

    def take_away(*names):
        asked = []
        resolve = keras_internals.pkgutil.resolve_name

        def lookup(owner, name, *default):
            if not default:
                asked.append(name)
                if name in names:
                    raise AttributeError(name)
            return getattr(owner, name, *default)

        def imported(path):
            if path.startswith("keras"):
                asked.append(path)
            if path in names:
                raise ImportError(path)
            return resolve(path)

        monkeypatch.setattr(keras_internals, "getattr", lookup, raising=False)
        monkeypatch.setattr(keras_internals.pkgutil, "resolve_name", imported)
        return asked

    return take_away
