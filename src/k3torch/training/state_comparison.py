"""Comparison of a fast step with Keras's own: from the same state, both must leave the same state.

Two correct steps may sum numbers in a different order. So each element of a tensor may differ by float32 rounding of
its value and of the change that the step made to it. If a tensor differs by more, the effect of rounding is measured:
Keras's own step is repeated from weights perturbed by ``PERTURBATION``, and tensors may then differ by ten times what
the perturbation changed.

An optimizer such as Adam divides a gradient by its own size, which turns the rounding error of a zero gradient into a
full step. A weight whose gradient is a rounding error may therefore differ by about two full steps.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from k3torch.errors import first_line
from k3torch.training.model_state import GRADIENT, State
import keras
import numpy as np
import torch

Step = Callable[[], object]

PERTURBATION = 1e-6  # relative; some 8 units in the last place of float32
ROUNDING = 1e-5  # relative error that a correct float32 computation of a tensor may have
CHUNK = 2**15  # elements that are compared at a time
NEGLIGIBLE = 1e-6  # below this fraction of the largest tensor of its kind, a change is a rounding error


def compare_steps(model: keras.Model, keras_step: Step, fast_step: Step) -> list[str]:
    """Run both steps from the present state, and return the names of what differs, none if they agree.

    The model is left in the state after ``fast_step`` if they agree, and after ``keras_step`` otherwise. An exception
    of ``fast_step`` is a difference; one of ``keras_step`` is raised.
    """
    before = State(model)
    keras_step()
    expected = State(model)
    before.restore()
    try:
        fast_step()
    except Exception as error:  # of any kind: the fast step makes assumptions about models that it has not seen
        expected.restore()
        return [first_line(error, with_type=True)]
    found = State(model)
    problems = differences(model, before, expected, found, keras_step)
    (expected if problems else found).restore()
    return problems


def differences(model: keras.Model, before: State, expected: State, found: State, keras_step: Step) -> list[str]:
    """Return the names of what differs by more than rounding between two states after a step.

    Args:
        model: whose states these are; its state after the call is arbitrary.
        before: the state before the step.
        expected: the state after ``keras_step``.
        found: the state after the other step.
        keras_step: is repeated from perturbed weights if a difference exceeds the resolution of float32.
    """
    problems = _Comparison(before, expected, found).problems()
    if problems:
        before.restore()
        perturbed = _perturb(model)
        keras_step()
        problems = _Comparison(before, expected, found, (perturbed, State(model))).problems()
    return problems


def _perturb(model: keras.Model) -> State:
    """Multiply each weight by 1 plus or minus ``PERTURBATION``, without drawing from a global generator."""
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for variable in model.trainable_variables:
            value = variable.value
            signs = torch.from_numpy(generator.choice([-1.0, 1.0], size=tuple(value.shape)))
            value.mul_(1 + PERTURBATION * signs.to(value))
    return State(model)


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
        self._typical = {name: _rms(self._changes(name)) for name in expected.tensors}
        self._scale: dict[str, float] = defaultdict(float)
        for name, typical in self._typical.items():
            self._scale[_kind(name)] = max(self._scale[_kind(name)], typical)

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
        return all(
            _close(x, y, allowed) for x, y, allowed in zip(_chunks(a), _chunks(b), self._allowed(name, a), strict=True)
        )

    def _allowed(self, name: str, value: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield by how much each element may differ, chunk by chunk."""
        scale, typical = self._scale[_kind(name)], self._typical[name]
        constant, idle = ROUNDING * typical + NEGLIGIBLE * scale, 0.0
        gradient = self._expected.tensors.get(GRADIENT + name)
        if self._noise is not None:
            pairs = zip(self._changes(name), self._changes(name, *self._noise), strict=True)
            constant += 10 * _largest(perturbed - change for change, perturbed in pairs)
            idle = 2 * _largest(self._changes(name)) + 2 * scale
        slopes = _chunks(gradient) if gradient is not None and idle else (None for _ in _chunks(value))
        for part, change, slope in zip(_chunks(value), self._changes(name), slopes, strict=True):
            allowed = 4 * torch.finfo(torch.float32).eps * part.abs() + ROUNDING * change.abs() + constant
            if slope is not None:  # a gradient that is a rounding error
                allowed = torch.where(slope.abs() <= NEGLIGIBLE * self._scale[GRADIENT], allowed + idle, allowed)
            yield allowed

    def _changes(self, name: str, before: State | None = None, after: State | None = None) -> Iterator[torch.Tensor]:
        """Yield by how much a step changed a tensor, chunk by chunk; a gradient, and what is new, counts from zero."""
        value = (after or self._expected).tensors.get(name)
        start = None if name.startswith(GRADIENT) else (before or self._before).tensors.get(name)
        if value is None:
            value = torch.zeros_like(self._expected.tensors[name])
        if start is None or start.shape != value.shape:
            yield from _chunks(value)
        else:
            for x, y in zip(_chunks(value), _chunks(start), strict=True):
                yield x - y


def _chunks(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the elements as float64, so many at a time that the memory of one chunk serves the next."""
    for chunk in torch.split(tensor.reshape(-1), CHUNK):
        yield chunk.double()


def _rms(chunks: Iterable[torch.Tensor]) -> float:
    """Return the root of the mean square of the finite elements."""
    total, count = 0.0, 0
    for chunk in chunks:
        total += float(chunk.nan_to_num(0, 0, 0).square().sum())
        count += len(chunk)
    return float((total / max(count, 1)) ** 0.5)


def _largest(chunks: Iterable[torch.Tensor]) -> float:
    """Return the largest absolute value of the finite elements, 0 if there are none."""
    return max((float(chunk.abs().nan_to_num(0, 0, 0).max()) for chunk in chunks), default=0.0)


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
