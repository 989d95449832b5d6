"""RMSprop and Adam in fewer passes over memory than Keras's, on the same weights and the same optimizer variables.

Keras's own updates run through as many as ten whole-array operations with four temporary arrays. Here a step is
five, most of them in place. Formulas and epsilon stand where Keras has them (inside RMSprop's root, outside
Adam's), which torch.optim does not. A learning rate on an accelerator would have to be waited for, so there
Keras's updates are used.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import torch

Update = Callable[[Sequence[torch.Tensor], Sequence[Any]], None]


def short_update(optimizer: keras.optimizers.Optimizer) -> Update:
    """Return ``f(gradients, variables)``: one update, without clipping, weight decay and the count of steps."""
    on_cpu = optimizer._iterations.value.device.type == "cpu"
    if isinstance(optimizer, keras.optimizers.RMSprop) and on_cpu and not (optimizer.momentum or optimizer.centered):
        return lambda gradients, variables: _rmsprop(optimizer, gradients, variables)
    if type(optimizer).__name__ in ("Adam", "AdamW") and isinstance(optimizer, keras.optimizers.Adam) and on_cpu:
        return lambda gradients, variables: _adam(optimizer, gradients, variables)
    return keras_update(optimizer)


def keras_update(optimizer: keras.optimizers.Optimizer) -> Update:
    """Return Keras's own ``f(gradients, variables)``."""
    return lambda gradients, variables: optimizer._backend_update_step(gradients, variables, optimizer.learning_rate)


def _rmsprop(optimizer: Any, gradients: Sequence[torch.Tensor], variables: Sequence[Any]) -> None:
    weights, velocities = _tensors(variables), _state(optimizer, optimizer._velocities, variables)
    torch._foreach_mul_(velocities, optimizer.rho)
    torch._foreach_addcmul_(velocities, list(gradients), list(gradients), 1 - optimizer.rho)
    roots = torch._foreach_add(velocities, optimizer.epsilon)
    torch._foreach_sqrt_(roots)
    torch._foreach_addcdiv_(weights, list(gradients), roots, -float(optimizer.learning_rate))


def _adam(optimizer: Any, gradients: Sequence[torch.Tensor], variables: Sequence[Any]) -> None:
    weights = _tensors(variables)
    means = _state(optimizer, optimizer._momentums, variables)
    squares = _state(optimizer, optimizer._velocities, variables)
    torch._foreach_mul_(means, optimizer.beta_1)
    torch._foreach_add_(means, list(gradients), alpha=1 - optimizer.beta_1)
    torch._foreach_mul_(squares, optimizer.beta_2)
    torch._foreach_addcmul_(squares, list(gradients), list(gradients), 1 - optimizer.beta_2)
    if optimizer.amsgrad:
        largest = _state(optimizer, optimizer._velocity_hats, variables)
        torch._foreach_maximum_(largest, squares)
        squares = largest
    roots = torch._foreach_sqrt(squares)
    torch._foreach_add_(roots, optimizer.epsilon)
    torch._foreach_addcdiv_(weights, means, roots, -_adam_rate(optimizer))


def _adam_rate(optimizer: Any) -> float:
    """Return the learning rate with Adam's start-up correction, rounded to float32 where Keras rounds."""
    step = (optimizer._iterations.value + 1).to(torch.float32)
    first, second = (torch.tensor(beta) ** step for beta in (optimizer.beta_1, optimizer.beta_2))
    return float(optimizer.learning_rate * torch.sqrt(1 - second) / (1 - first))


def _tensors(variables: Sequence[Any]) -> list[torch.Tensor]:
    return [variable.value for variable in variables]


def _state(optimizer: Any, state: Sequence[Any], variables: Sequence[Any]) -> list[torch.Tensor]:
    return [state[optimizer._get_variable_index(variable)].value for variable in variables]
