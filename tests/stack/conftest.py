"""Helpers of the stack's tests."""

from k3torch.stack import mapped_models, model_stack
import pytest


@pytest.fixture
def compiled(monkeypatch):
    """Compile whatever the number of steps, and fail where the stack falls back to running uncompiled."""
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    monkeypatch.setattr(mapped_models.graphs, "repeated", lambda *_: pytest.fail("it should run as a compiled loop"))
