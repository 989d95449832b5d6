"""Comparison of a fast step with Keras's own: from the same state, both must leave the same state.

Two correct steps may sum numbers in a different order. So each element of a tensor may differ by float32 rounding of
its value and of the change that the step made to it. If a tensor differs by more, the effect of rounding is measured:
Keras's own step is repeated from weights perturbed by ``PERTURBATION``, and tensors may then differ by ten times what
the perturbation changed.

An optimizer such as Adam divides a gradient by its own size, which turns the rounding error of a zero gradient into a
full step. A weight whose gradient is a rounding error may therefore differ by about two full steps.
"""

from collections.abc import Callable, Iterable, Iterator
import math
from typing import Any

from k3torch.errors import first_line
from k3torch.training.model_state import GRADIENT, State
import keras
import numpy as np
import torch

Step = Callable[[], object]

PERTURBATION = 1e-6  # relative; some 8 units in the last place of float32
ROUNDING = 1e-5  # relative error that a correct float32 computation of a tensor may have
CHUNK = 2**15  # elements that are compared at a time; torch takes a second thread for more
NEGLIGIBLE = 1e-6  # below this fraction of the largest tensor of its kind, a change is a rounding error


def compare_steps(model: keras.Model, keras_step: Step, fast_step: Step, before: State | None = None) -> list[str]:
    """Run both steps from the present state, and return the names of what differs, none if they agree.

    The model is left in the state after ``fast_step`` if they agree, and after ``keras_step`` otherwise. An exception
    of ``fast_step`` is a difference; one of ``keras_step`` is raised. ``before`` may be the present state.
    """
    before = before or State(model, gradients=False)
    keras_step()
    expected = State(model)
    before.restore()
    try:
        fast_step()
    except Exception as error:  # of any kind: the fast step makes assumptions about models that it has not seen
        expected.restore()
        return [first_line(error, with_type=True)]
    found = State(model, copies=False)
    problems = differences(model, before, expected, found, keras_step)
    (expected if problems else found).restore()
    return problems


def in_short(problems: list[str]) -> str:
    """Return up to three of the problems, and how many more there are."""
    shown = ", ".join(problems[:3])
    return shown if len(problems) <= 3 else f"{shown} and {len(problems) - 3} more"


def differences(model: keras.Model, before: State, expected: State, found: State, keras_step: Step) -> list[str]:
    """Return the names of what differs by more than rounding between two states after a step.

    Args:
        model: whose states these are; its state after the call is arbitrary.
        before: the state before the step.
        expected: the state after ``keras_step``.
        found: the state after the other step; its tensors may be the model's own.
        keras_step: is repeated from perturbed weights if a difference exceeds the resolution of float32.
    """
    problems = _Comparison(before, expected, found).problems()
    if problems:
        found.keep()
        before.restore()
        perturbed = _perturb(model)
        keras_step()
        problems = _Comparison(before, expected, found, (perturbed, State(model, copies=False))).problems()
    return problems


def _perturb(model: keras.Model) -> State:
    """Multiply each weight by 1 plus or minus ``PERTURBATION``, without drawing from a global generator."""
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for variable in model.trainable_variables:
            value = variable.value
            up = torch.from_numpy(generator.integers(0, 2, tuple(value.shape), np.uint8)).bool().to(value.device)
            value.mul_(torch.where(up, 1 + PERTURBATION, 1 - PERTURBATION).to(value))
    return State(model, gradients=False)


class _Comparison:
    """Of the states that two steps leave.

    Args:
        before: the state before both.
        expected: the state after Keras's own.
        found: the state after the other; without gradients these are not compared.
        noise: the states before and after Keras's own step from perturbed weights, once it was needed.
    """

    def __init__(self, before: State, expected: State, found: State, noise: tuple[State, State] | None = None):
        self._before, self._expected, self._found, self._noise = before, expected, found, noise
        self._known: dict[str, float] = {}

    def problems(self) -> list[str]:
        """Return the names of what differs."""
        a, b = self._expected, self._found
        states = zip(("torch", "NumPy", "Python"), a.random, b.random, strict=False)
        problems = [f"the random state of {library}" for library, x, y in states if not _equal(x, y)]
        problems += [key[1] for key in {**a.values, **b.values} if not _equal(a.values.get(key), b.values.get(key))]
        gradients = any(name.startswith(GRADIENT) for name in b.tensors)
        names = [name for name in {**a.tensors, **b.tensors} if gradients or not name.startswith(GRADIENT)]
        return problems + [name for name in names if not self._agrees(name)]

    def _agrees(self, name: str) -> bool:
        a, b = self._expected.tensors.get(name), self._found.tensors.get(name)
        if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
            return False
        if torch.equal(a, b):
            return True
        if not a.dtype.is_floating_point:
            return False
        constant, idle = self._constants(name)
        start, slope = self._start(name), self._expected.tensors.get(GRADIENT + name) if idle else None
        for x, y, z, g in zip(_chunks(a), _chunks(b), _chunks(start, a), _chunks(slope, a), strict=True):
            where = (x != y).nonzero()[:, 0]  # few: of a large kernel, the rows of the words that occur
            if len(where) == 0:
                continue
            value, other = x[where].double(), y[where].double()
            change = value if z is None else value - z[where].double()
            allowed = 4 * torch.finfo(torch.float32).eps * value.abs() + ROUNDING * change.abs() + constant
            if g is not None:  # a gradient that is a rounding error
                zero = g[where].double().abs() <= NEGLIGIBLE * self._scale(GRADIENT)
                allowed = torch.where(zero, allowed + idle, allowed)
            if not _close(value, other, allowed):
                return False
        return True

    def _constants(self, name: str) -> tuple[float, float]:
        """Return by how much any element of a tensor may differ, and by how much more one without a gradient."""
        scale = self._scale(_kind(name))
        constant, idle = ROUNDING * self._typical(name) + NEGLIGIBLE * scale, 0.0
        if self._noise is not None:
            pairs = zip(self._changes(name), self._changes(name, *self._noise), strict=True)
            constant += 10 * _largest(perturbed - change for change, perturbed in pairs)
            idle = 2 * _largest(self._changes(name)) + 2 * scale
        return constant, idle

    def _typical(self, name: str) -> float:
        """Return the root of the mean square of a tensor's changes."""
        if name not in self._known:
            self._known[name] = _rms(self._changes(name))
        return self._known[name]

    def _scale(self, kind: str) -> float:
        """Return the largest ``_typical`` of the tensors of a kind."""
        return max((self._typical(name) for name in self._expected.tensors if _kind(name) == kind), default=0.0)

    def _start(self, name: str, before: State | None = None) -> torch.Tensor | None:
        """Return what a tensor was before the step, or None for a gradient and what is new, which count from zero."""
        start = None if name.startswith(GRADIENT) else (before or self._before).tensors.get(name)
        return start if start is not None and start.shape == self._expected.tensors[name].shape else None

    def _changes(self, name: str, before: State | None = None, after: State | None = None) -> Iterator[torch.Tensor]:
        """Yield by how much a step changed a tensor, chunk by chunk."""
        value = (after or self._expected).tensors.get(name)
        if value is None or value.shape != self._expected.tensors[name].shape:
            value = torch.zeros_like(self._expected.tensors[name])
        for x, y in zip(_chunks(value), _chunks(self._start(name, before), value), strict=True):
            yield _wide(x) if y is None else _wide(x) - _wide(y)


def _chunks(tensor: torch.Tensor | None, like: torch.Tensor | None = None) -> Iterator[Any]:
    """Yield the elements, so many at a time that the memory of one chunk serves the next; None for those of ``like``.

    Operators on a chunk run in one thread: a second one would wait where another program occupies its core.
    """
    if tensor is None:
        assert like is not None
        yield from (None for _ in torch.split(like.reshape(-1), CHUNK))
    else:
        yield from torch.split(tensor.reshape(-1), CHUNK)


def _wide(chunk: torch.Tensor) -> torch.Tensor:
    return chunk if chunk.dtype in (torch.float32, torch.float64) else chunk.double()


def _rms(chunks: Iterable[torch.Tensor]) -> float:
    """Return the root of the mean square of the finite elements."""
    total, count = 0.0, 0
    for chunk in chunks:
        total += _finite(chunk, lambda x: float(torch.linalg.vector_norm(x, dtype=torch.float64)) ** 2)
        count += len(chunk)
    return float((total / max(count, 1)) ** 0.5)


def _largest(chunks: Iterable[torch.Tensor]) -> float:
    """Return the largest absolute value of the finite elements, 0 if there are none."""
    return max((_finite(chunk, lambda x: float(x.abs().max())) for chunk in chunks if len(chunk)), default=0.0)


def _finite(chunk: torch.Tensor, function: Callable[[torch.Tensor], float]) -> float:
    """Return ``function`` of the chunk, in which what is not finite counts as zero."""
    value = function(chunk)
    return value if math.isfinite(value) else function(chunk.nan_to_num(0, 0, 0))


def _close(a: torch.Tensor, b: torch.Tensor, allowed: torch.Tensor) -> bool:
    finite = torch.isfinite(a)
    if not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return False
    return bool(((a - b).abs() <= allowed)[finite].all())


def _kind(name: str) -> str:
    """Return what tensors are compared in size with: all gradients, all weights, all slots of one name."""
    if name.startswith(GRADIENT):
        return GRADIENT
    return name.rpartition("_")[2] if "/" not in name.rpartition("_")[2] else "weights"


def _equal(a: Any, b: Any) -> bool:
    """Return whether two values in Python are equal, floats up to rounding."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        a, b = a.cpu().numpy(), b.cpu().numpy()
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if all(isinstance(value, float | np.floating | np.ndarray) for value in (a, b)):
        return np.shape(a) == np.shape(b) and _close_arrays(np.asarray(a), np.asarray(b))
    return type(a) is type(b) and bool(a == b)


def _close_arrays(a: Any, b: Any) -> bool:
    if a.dtype.kind not in "fc" or b.dtype.kind not in "fc":
        return bool(np.array_equal(a, b))
    return bool(np.allclose(a, b, rtol=1e-4, atol=1e-6, equal_nan=True))
