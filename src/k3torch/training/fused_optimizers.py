"""RMSprop and Adam in fewer passes over memory than Keras's, on the same weights and the same optimizer variables.

Keras's own updates make up to ten passes over all weights, with four temporary copies. Here an update makes one, in a
compiled loop of ``k3torch.kernels``, or where that is not available five, most of them in place. Formulas and the place
of epsilon are Keras's (inside RMSprop's square root, outside Adam's), which are not those of torch.optim. Reading the
learning rate would synchronise with an accelerator, so there Keras's updates are used.
"""

from collections.abc import Callable, Sequence
from typing import Any

from k3torch import kernels
from k3torch.training.keras_internals import private_attribute, private_method
import keras
import torch

Update = Callable[[Sequence[torch.Tensor], Sequence[Any]], None]
# In one thread the compiled loop takes a quarter of the time of the operators below (RMSprop of 160,000 weights: 31 of
# 122 microseconds, of 3.2 million: 758 of 3,009). More than four threads may be faster, where there is enough to do.
THREADS, WEIGHTS = 4, 2**20
# From Keras variables to one of their optimizer variables each.
Slots = Callable[[Sequence[Any]], list[torch.Tensor]]


def fused_update(optimizer: keras.optimizers.Optimizer) -> Update:
    """Return ``f(gradients, variables)``: one update, without clipping, weight decay and counting the step.

    Args:
        optimizer: built.

    Raises:
        keras_internals.MissingPart: if this version of Keras keeps the optimizer's variables elsewhere.
    """
    on_cpu = optimizer.iterations.value.device.type == "cpu"
    if isinstance(optimizer, keras.optimizers.RMSprop) and on_cpu and not (optimizer.momentum or optimizer.centered):
        return _rmsprop(optimizer)
    if type(optimizer).__name__ in ("Adam", "AdamW") and isinstance(optimizer, keras.optimizers.Adam) and on_cpu:
        return _adam(optimizer)
    return keras_update(optimizer)


def keras_update(optimizer: keras.optimizers.Optimizer) -> Update:
    """Return Keras's own ``f(gradients, variables)``."""
    step = private_method(optimizer, "_backend_update_step", "gradients", "variables", "learning_rate")
    return lambda gradients, variables: step(gradients, variables, optimizer.learning_rate)


def _rmsprop(optimizer: Any) -> Update:
    velocities_of = _slots(optimizer, "_velocities")

    def update(gradients: Sequence[torch.Tensor], variables: Sequence[Any]) -> None:
        rate = float(optimizer.learning_rate)
        weights, velocities = _tensors(variables), velocities_of(variables)
        compiled = _kernels(gradients, velocities, weights)
        if compiled is not None:
            for tensors in zip(gradients, velocities, weights, strict=True):
                compiled.rmsprop(rate, optimizer.rho, optimizer.epsilon, *tensors)
            return
        torch._foreach_mul_(velocities, optimizer.rho)
        torch._foreach_addcmul_(velocities, list(gradients), list(gradients), 1 - optimizer.rho)
        roots = torch._foreach_add(velocities, optimizer.epsilon)
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(weights, list(gradients), roots, -rate)

    return update


def _adam(optimizer: Any) -> Update:
    means_of, squares_of = _slots(optimizer, "_momentums"), _slots(optimizer, "_velocities")
    largest_of = _slots(optimizer, "_velocity_hats") if optimizer.amsgrad else None

    def update(gradients: Sequence[torch.Tensor], variables: Sequence[Any]) -> None:
        weights, means, squares = _tensors(variables), means_of(variables), squares_of(variables)
        compiled = _kernels(gradients, means, squares, weights) if largest_of is None else None
        if compiled is not None:
            rate, betas = _adam_rate(optimizer), (optimizer.beta_1, optimizer.beta_2)
            for tensors in zip(gradients, means, squares, weights, strict=True):
                compiled.adam(rate, betas, optimizer.epsilon, *tensors)
            return
        torch._foreach_mul_(means, optimizer.beta_1)
        torch._foreach_add_(means, list(gradients), alpha=1 - optimizer.beta_1)
        torch._foreach_mul_(squares, optimizer.beta_2)
        torch._foreach_addcmul_(squares, list(gradients), list(gradients), 1 - optimizer.beta_2)
        if largest_of is not None:
            largest = largest_of(variables)
            torch._foreach_maximum_(largest, squares)
            squares = largest
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, optimizer.epsilon)
        torch._foreach_addcdiv_(weights, means, roots, -_adam_rate(optimizer))

    return update


def _adam_rate(optimizer: Any) -> float:
    """Return the learning rate with Adam's bias correction, rounded to float32 where Keras rounds."""
    step = (optimizer.iterations.value + 1).to(torch.float32)
    first, second = (torch.tensor(beta) ** step for beta in (optimizer.beta_1, optimizer.beta_2))
    return float(optimizer.learning_rate * torch.sqrt(1 - second) / (1 - first))


def _kernels(*tensors: Sequence[torch.Tensor]) -> kernels.Kernels | None:
    """Return the compiled loops if they support all tensors and are faster than torch with its threads."""
    if torch.get_num_threads() > THREADS and sum(tensor.numel() for tensor in tensors[0]) > WEIGHTS:
        return None
    return kernels.load() if all(kernels.are_plain(*group) for group in tensors) else None


def _tensors(variables: Sequence[Any]) -> list[torch.Tensor]:
    return [variable.value for variable in variables]


def _slots(optimizer: Any, name: str) -> Slots:
    slots, index = private_attribute(optimizer, name), private_method(optimizer, "_get_variable_index", "variable")
    found: dict[int, torch.Tensor] = {}  # by the index, which is settled when the optimizer is built

    def values(variables: Sequence[Any]) -> list[torch.Tensor]:
        numbers = [index(variable) for variable in variables]
        for number in numbers:
            if number not in found:
                found[number] = slots[number].value
        return [found[number] for number in numbers]

    return values
