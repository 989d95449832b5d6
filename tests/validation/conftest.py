"""Helpers of the tests of cross-validation."""

from k3torch.stack import model_stack
import pytest


@pytest.fixture(autouse=True)
def uncompiled_steps_are_fast(monkeypatch):
    """Keep a busy machine from deciding which engine trains: it compares the times of single steps."""
    compare = model_stack.compare_with_keras

    def untimed(*arguments):
        comparison = compare(*arguments)
        comparison.graph_seconds = 0.0
        return comparison

    monkeypatch.setattr(model_stack, "compare_with_keras", untimed)
