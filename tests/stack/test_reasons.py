"""Reasons are caught by what they lead to: training with fit, or uncompiled."""

from k3torch.stack import reasons


def test_reasons_for_fit_and_reasons_for_no_compilation_are_caught_separately():
    uncompiled = {reasons.UnsupportedGraph, reasons.CompilerUnavailable, reasons.CompilerChanged, reasons.WrongResult}
    assert set(reasons.NotCompiled.__subclasses__()) == uncompiled
    assert set(reasons.UntraceableStep.__subclasses__()) == {reasons.DifferentStep, reasons.SlowerThanFit}
    assert not issubclass(reasons.NotCompiled, reasons.UntraceableStep)
