"""Comparison of a fast step with Keras's own: from the same state, both must leave the same state.

``State`` is all that a step may change: weights and other variables of the model, torch parameters and buffers that
are no Keras variables, gradients, optimizer slots, metric sums, plain attributes of the caller's own objects, and the
global random states of torch, NumPy and Python. ``compare_steps`` runs two steps from the present state and returns
what differs by more than float32 rounding.

Two correct steps may sum numbers in another order, and an optimizer such as Adam can turn a rounding error of a
gradient near zero into a full step. How far rounding reaches is therefore measured: Keras's own step is repeated from
weights that are perturbed by ``PERTURBATION``, and a tensor may differ by a small multiple of what that changes.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
import random
import sys
from types import FunctionType, MethodType, ModuleType
from typing import Any

import keras
import numpy as np
import torch

Step = Callable[[], object]

PERTURBATION = 1e-6  # relative; some 8 units in the last place of float32
_GRADIENT = "gradient of "
ROUNDING = 1e-5  # relative error that a correct float32 computation of a tensor may have
_LEAVES = (str, bytes, int, float, complex, type(None), type, ModuleType, FunctionType, MethodType, np.ndarray)
_LIBRARIES = {"keras", "torch", "k3torch", "optree", *sys.stdlib_module_names}  # their objects hold no such state
_NOT_SEARCHED = {"torch", "optree", *sys.stdlib_module_names}


@dataclass(frozen=True)
class State:
    """A copy of what a step may change.

    Attributes:
        tensors: by name, detached copies.
        attributes: numbers and strings among the attributes of the caller's own objects, by (object id, name).
        random: the random states of torch, NumPy and Python.
    """

    tensors: dict[str, torch.Tensor]
    attributes: dict[tuple[int, str], Any]
    random: tuple[Any, ...]

    @classmethod
    def of(cls, model: keras.Model) -> "State":
        """Copy the present state of ``model`` and of the random generators."""
        tensors = {name: tensor.detach().clone() for name, tensor in named_tensors(model)}
        gradients = {
            _GRADIENT + name: tensor.grad.clone() for name, tensor in named_tensors(model) if tensor.grad is not None
        }
        attributes = {(id(item), name): value for item in _own_objects(model) for name, value in _plain(item)}
        return cls(tensors | gradients, attributes, _random_states())

    def without_gradients(self) -> "State":
        """Return the same state without gradients, which not every step leaves."""
        return replace(self, tensors={k: v for k, v in self.tensors.items() if not k.startswith(_GRADIENT)})

    def restore(self, model: keras.Model) -> None:
        """Write everything but the gradients back."""
        with torch.no_grad():
            for name, tensor in named_tensors(model):
                tensor.copy_(self.tensors[name])
        for item in _own_objects(model):
            for name, _ in _plain(item):
                if (id(item), name) in self.attributes:
                    object.__setattr__(item, name, self.attributes[id(item), name])
        _set_random_states(self.random)


def compare_steps(model: keras.Model, keras_step: Step, fast_step: Step) -> list[str]:
    """Run both steps from the present state, and return the names of what differs, none if they agree.

    The model is left in the state after ``fast_step`` if they agree, and after ``keras_step`` otherwise. An exception
    of ``fast_step`` is a difference; one of ``keras_step`` is raised.
    """
    before = State.of(model)
    keras_step()
    expected = State.of(model)
    before.restore(model)
    try:
        fast_step()
    except Exception as error:  # of any kind: the fast step makes assumptions about models that it has not seen
        expected.restore(model)
        return [f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"]
    found = State.of(model)
    if problems := differences(model, before, expected, found, keras_step):
        expected.restore(model)
    else:
        found.restore(model)
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
    problems = _differences(before, expected, found, None)
    if problems:
        before.restore(model)
        perturbed = _perturb(model)
        keras_step()
        problems = _differences(before, expected, found, _Noise(perturbed, State.of(model)))
    return problems


@dataclass(frozen=True)
class _Noise:
    """Keras's own step from perturbed weights: the state before it and after it."""

    before: State
    after: State


def _perturb(model: keras.Model) -> State:
    """Multiply each weight by 1 plus or minus ``PERTURBATION``, without drawing from a global generator."""
    generator = np.random.default_rng(0)
    with torch.no_grad():
        for variable in model.trainable_variables:
            value = variable.value
            signs = torch.from_numpy(generator.choice([-1.0, 1.0], size=tuple(value.shape)))
            value.mul_(1 + PERTURBATION * signs.to(value))
    return State.of(model)


def _differences(before: State, expected: State, found: State, noise: _Noise | None) -> list[str]:
    libraries = ("torch", "NumPy", "Python")
    states = zip(libraries, expected.random, found.random, strict=False)
    problems = [f"the random state of {library}" for library, a, b in states if not _equal(a, b)]
    changed = {key[1] for key in expected.attributes if expected.attributes[key] != found.attributes.get(key)}
    problems += [f"the attribute {name!r}" for name in sorted(changed)]
    names = dict.fromkeys([*expected.tensors, *found.tensors])
    return problems + [name for name in names if not _agree(name, before, expected, found, noise)]


def _agree(name: str, before: State, expected: State, found: State, noise: _Noise | None) -> bool:
    if name not in expected.tensors or name not in found.tensors:
        return False
    a, b = expected.tensors[name], found.tensors[name]
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if not a.dtype.is_floating_point:
        return torch.equal(a, b)
    finite = torch.isfinite(a)
    if not torch.equal(a[~finite].nan_to_num(), b[~finite].nan_to_num()):
        return False
    error = (a.double() - b.double())[finite].abs()
    if not len(error):
        return True
    change = _change(name, before, expected)[finite]
    resolution = 4 * torch.finfo(torch.float32).eps * a[finite].double().abs()
    allowed = resolution + ROUNDING * (change.square().mean().sqrt() + change.abs())
    if noise is not None:  # the largest difference that the perturbation makes to the change of this tensor
        perturbed = _change(name, noise.before, noise.after)[finite]
        allowed += 10 * float((perturbed - change).abs().nan_to_num().max())
    return bool((error <= allowed).all())


def _change(name: str, before: State, after: State) -> torch.Tensor:
    """Return by how much a step changed a tensor; a gradient, and what is new, counts from zero."""
    value = after.tensors[name].double()
    if name.startswith(_GRADIENT) or name not in before.tensors:
        return value
    return value - before.tensors[name].double()


def named_tensors(model: keras.Model) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield each tensor of the state once: Keras's variables, then torch parameters and buffers that are none."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else ()), *model.metrics_variables]
    named = [(variable.path, variable.value) for variable in variables]
    # A model knows the torch parts of nested layers only where they are Keras variables.
    for layer in layers_of(model):
        parts = [*layer.named_parameters(), *layer.named_buffers()]
        named += [(f"{layer.name}.{name}", tensor) for name, tensor in parts]
    seen: set[int] = set()
    names: Counter[str] = Counter()
    for name, tensor in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            names[name] += 1
            yield name if names[name] == 1 else f"{name} ({names[name]})", tensor


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """Return the model and all layers in it, wherever they are held."""
    return [item for item in _reachable(model) if isinstance(item, keras.Layer)]


def _own_objects(model: keras.Model) -> list[Any]:
    """Return the layers, losses, metrics, schedules, ... whose class is the caller's own, wherever they are held."""
    return [item for item in _reachable(model) if _library(item) not in _LIBRARIES]


def _reachable(model: keras.Model) -> list[Any]:
    """Return the objects that the model holds, directly or through others, but not what torch's objects hold."""
    found: list[Any] = []
    seen: set[int] = set()
    waiting: list[Any] = [model]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, _LEAVES):
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list | tuple | set):
            waiting.extend(item)
        elif hasattr(item, "__dict__"):
            found.append(item)
            if _library(item) not in _NOT_SEARCHED:
                waiting.extend(vars(item).values())
    return found


def _library(item: Any) -> str:
    return type(item).__module__.partition(".")[0]


def _plain(item: Any) -> list[tuple[str, Any]]:
    """Return the attributes that are numbers or strings, but for the mode of torch modules, which fit sets."""
    own = vars(item).items()
    return [(k, v) for k, v in own if isinstance(v, int | float | complex | str) and k != "training"]


def _random_states() -> tuple[Any, ...]:
    devices = [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), np.random.get_state(), random.getstate(), *devices


def _set_random_states(states: tuple[Any, ...]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    for state in states[3:]:
        torch.cuda.set_rng_state(state)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(np.array_equal(a, b))
