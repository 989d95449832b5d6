"""Why models are not trained as one stack, or not by compiled C++ loops: exceptions whose messages the user sees."""


class UntraceableStep(Exception):  # noqa: N818  (a reason, not an error)
    """A function cannot be traced, or not be mapped over models; the message says why, in a few words."""


class DifferentStep(UntraceableStep):
    """The stack's step was compared with Keras's own, and differs; the message says in what."""


class SlowerThanFit(UntraceableStep):
    """The stack's step cannot be compiled, and Keras's own is faster; the message says by how much."""


class NotCompiled(Exception):  # noqa: N818  (a reason, not an error)
    """Training runs uncompiled; the message says why, in one line."""


class UnsupportedGraph(NotCompiled):
    """The graph calls operators that are no loops (large matrix products), or Inductor fails on it."""


class CompilerUnavailable(NotCompiled):
    """No C++ compiler works on this machine, or its files cannot be written."""


class CompilerChanged(NotCompiled):
    """A private part of torch is missing or has changed since the version that compiled loops are written for."""


class WrongResult(NotCompiled):
    """A compiled C++ loop gives other numbers than the graph that it was made from."""
