"""Selects the torch backend before any test imports Keras, and a cache folder other than the user's."""

import os
import signal
import tempfile
import time

import k3torch  # noqa: F401
import pytest
import torch

# One cache folder for all tests of a run, set before the package reads the variable; pytest's processes inherit it.
if not os.environ.get("K3TORCH_TEST_CACHE"):
    os.environ["K3TORCH_TEST_CACHE"] = tempfile.mkdtemp(prefix="k3torch-tests-")
os.environ["K3TORCH_CACHE"] = os.environ["K3TORCH_TEST_CACHE"]

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a job that a shell starts with &: tests send the signal
    signal.signal(signal.SIGINT, signal.default_int_handler)

BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """How many random cases are drawn: models on which the fast paths are compared with Keras, killed runs, inputs."""
    parser.addoption("--random-models", type=int, default=8)
    parser.addoption("--kills", type=int, default=1)
    parser.addoption("--random-inputs", type=int, default=300)
    parser.addoption("--stop-after", type=float, metavar="SECONDS", help="quickest tests first; begin none after that")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests marked cuda where there is no CUDA device, and begin with the quickest where time is short."""
    if config.getoption("stop_after"):
        items.sort(
            key=lambda item: max((mark.kwargs.get("seconds", 0) for mark in item.iter_markers("cuda")), default=0)
        )
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):  # keywords have the names of folders too
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session: pytest.Session):
    """Remember when the tests began."""
    session.stash[BEGAN] = time.monotonic()
    return (yield)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the run in good order, with its summary and its report, where the time is over."""
    limit = item.config.getoption("stop_after")
    if limit and time.monotonic() - item.session.stash[BEGAN] > limit:
        item.session.shouldstop = f"stopped after {limit:g} s"
        pytest.skip(f"not run: {limit:g} s are over")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for one test; it does not exist yet."""
    monkeypatch.setenv("K3TORCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["compiled loops", "operators"])
def with_and_without_loops(request, monkeypatch):
    """Runs a test twice: with the compiled loops of ``kernels``, and as on a machine without a C++ compiler."""
    from k3torch import kernels

    if request.param == "operators":
        monkeypatch.setattr(kernels, "load", lambda: None)
    elif kernels.load() is None:
        pytest.skip("no C++ compiler")
    return request.param


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


def pytest_make_parametrize_id(val):
    """Name a test by what its bytes are, not by what they contain: compressed files contain the time of day."""
    return "bytes" if isinstance(val, bytes) else None
