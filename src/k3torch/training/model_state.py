"""All that a training step may change, as a copy that can be put back."""

from collections.abc import Callable, Iterator
import contextlib
import random
from typing import Any, NamedTuple

from k3torch.training.keras_internals import GLOBAL_STATE, MissingPart, private_import
from k3torch.training.python_state import PythonState, reachable
import keras
import numpy as np
import torch

_SEED_GENERATOR = "global_seed_generator"  # its name among Keras's global attributes
GRADIENT = "gradient of "  # begins the names of gradients


class State:
    """A copy of what a step of a model may change.

    Attributes:
        tensors: by name, copies of variables, torch parameters, buffers and gradients.
        values: what the caller's own objects and functions hold in Python, by the path on which they hold it.
        random: the global random states of torch, NumPy and Python.

    Args:
        model: compiled and built.
        gradients: whether it has those.
        copies: False for the model's own tensors, until ``keep`` copies them.
    """

    def __init__(self, model: keras.Model, gradients: bool = True, copies: bool = True):
        named = list(named_tensors(model))
        self.tensors = {each.name: each.tensor.detach() for each in named}
        if gradients:
            found = [(GRADIENT + each.name, each.tensor.grad) for each in named]
            self.tensors |= {name: gradient for name, gradient in found if gradient is not None}
        if copies:
            self.keep()
        self.random = get_random_states()
        self._named = named
        self._seed_generator = _global_seed_generator()
        self._python = PythonState(model, {id(each.tensor) for each in named})
        self.values = self._python.values

    def keep(self) -> None:
        """Copy the tensors."""
        self.tensors = {name: tensor.clone() for name, tensor in self.tensors.items()}

    def restore(self) -> None:
        """Put back everything but the gradients, into the objects that it was copied from."""
        with torch.no_grad():
            for name, tensor, rebind in self._named:
                if rebind is not None:
                    rebind(tensor)
                tensor.copy_(self.tensors[name])
        self._python.restore()
        _set_global_seed_generator(self._seed_generator)
        set_random_states(self.random)


class NamedTensor(NamedTuple):
    """A tensor of the state, its name, and for a buffer, which a step may replace, how to put it in its place."""

    name: str
    tensor: torch.Tensor
    rebind: Callable[[torch.Tensor], None] | None = None


def named_tensors(model: keras.Model) -> Iterator[NamedTensor]:
    """Yield each tensor of the state once: Keras's variables, then torch parameters and buffers that are none."""
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.variables, *(optimizer.variables if optimizer is not None else ()), *model.metrics_variables]
    named = [NamedTensor(variable.path, variable.value) for variable in variables]
    if (generator := _global_seed_generator()) is not None:
        named.append(NamedTensor("Keras's global seed generator", generator.state.value))
    for layer in layers_of(model):
        for prefix, module in layer.named_modules(prefix=layer.name):
            parameters, buffers = module._parameters, module._buffers
            named += [NamedTensor(f"{prefix}.{k}", v) for k, v in parameters.items() if v is not None]
            for name, buffer in buffers.items():
                if buffer is not None:
                    named.append(NamedTensor(f"{prefix}.{name}", buffer, lambda t, b=buffers, n=name: b.update({n: t})))  # type: ignore[misc]
    seen: set[int] = set()
    names: set[str] = set()
    for name, tensor, rebind in named:
        if id(tensor) not in seen:
            seen.add(id(tensor))
            unique = name if name not in names else f"{name} ({len(seen)})"
            names.add(unique)
            yield NamedTensor(unique, tensor, rebind)


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """Return the model and all layers in it, wherever they are held."""
    return [item for item in reachable(model, through_functions=False) if isinstance(item, keras.Layer)]


def _global_seed_generator() -> Any:
    """Return the generator of Keras's random functions without a seed, or None before it is first used."""
    try:
        return private_import(GLOBAL_STATE).get_global_attribute(_SEED_GENERATOR)
    except MissingPart:
        return None


def has_global_seed_generator() -> bool:
    """Return whether Keras's random functions have been used without a seed, which makes a global generator."""
    return _global_seed_generator() is not None


def forget_global_seed_generator() -> None:
    """Have Keras make a new global generator when it next needs one."""
    _set_global_seed_generator(None)


def _set_global_seed_generator(generator: Any) -> None:
    with contextlib.suppress(MissingPart):
        private_import(GLOBAL_STATE).set_global_attribute(_SEED_GENERATOR, generator)


def get_random_states() -> tuple[Any, ...]:
    """Return the global random states of torch, NumPy and Python, and of each CUDA device if CUDA is in use."""
    devices = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return torch.get_rng_state(), np.random.get_state(), random.getstate(), *devices


def set_random_states(states: tuple[Any, ...]) -> None:
    """Set the states that ``get_random_states`` returned."""
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
    for device, state in enumerate(states[3 : 3 + torch.cuda.device_count()]):
        torch.cuda.set_rng_state(state, device)
