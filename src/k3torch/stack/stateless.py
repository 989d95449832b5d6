"""A Keras model's train and test step as pure functions of its state.

``fit`` keeps weights, optimizer slots and metric sums in variables and changes them in place. The functions here take
all of that as a list of tensors and return the new list, through Keras's own ``stateless_*`` methods; so they can be
differentiated, mapped over a stack of models and compiled. (``torch.func.functional_call`` would not do: Keras layers
read their own variables and ignore the weights that it passes.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any

import keras
import torch

Tensor = torch.Tensor
State = list[Tensor]
Step = Callable[[State, Tensor, Tensor, Tensor | None], State]


def variables(model: keras.Model) -> list[keras.Variable]:
    """Return all that a step changes: weights, other state, optimizer slots, metric sums, in this order."""
    return [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ]


def _cut(model: keras.Model, state: Sequence[Tensor]) -> list[State]:
    """Divide a state list into the four parts that ``variables`` joins."""
    parts, start = [], 0
    for group in (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables):
        parts.append(list(state[start : start + len(group)]))
        start += len(group)
    return [*parts, list(state[start:])]


def train_step(model: keras.Model) -> Step:
    """Return ``f(state, x, y, sample_weight) -> state``: one update, and the metrics with this batch counted in."""

    def step(state: State, x: Tensor, y: Tensor, sample_weight: Tensor | None) -> State:
        weights, others, slots, sums = _cut(model, state)

        def loss_of(weights: State) -> tuple[Tensor, tuple[Tensor, Tensor, State, State]]:
            loss, y_pred, changed_others, changed_sums = _loss(
                model, weights, others, sums, x, y, sample_weight, training=True
            )
            return loss, (loss, y_pred, changed_others, changed_sums)

        gradients, (loss, y_pred, others, sums) = torch.func.grad(loss_of, has_aux=True)(weights)
        sums = _count(model, sums, loss, x, y, y_pred, sample_weight)
        with _one_by_one(model.optimizer):
            weights, slots = model.optimizer.stateless_apply(slots, gradients, weights)
        return [*weights, *others, *slots, *sums]

    return step


def test_step(model: keras.Model) -> Step:
    """Return ``f(state, x, y, sample_weight) -> state``, which only counts the batch into the metrics."""

    def step(state: State, x: Tensor, y: Tensor, sample_weight: Tensor | None) -> State:
        weights, others, slots, sums = _cut(model, state)
        loss, y_pred, _, sums = _loss(model, weights, others, sums, x, y, sample_weight, training=False)
        return [*weights, *others, *slots, *_count(model, sums, loss, x, y, y_pred, sample_weight)]

    return step


def results(model: keras.Model) -> Callable[[State], Tensor]:
    """Return ``f(metric sums) -> figures``: what the metrics amount to, in the order of ``metric_names``."""

    def read(sums: State) -> Tensor:
        with keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, sums, strict=True))):
            return torch.stack([keras.ops.cast(value, "float32") for value in model.get_metrics_result().values()])

    return read


def metric_names(model: keras.Model) -> list[str]:
    """Return the names of the figures as ``fit`` has them in its history: ``loss`` first."""
    return list(model.get_metrics_result())


def given_metrics(model: keras.Model) -> list[Any]:
    """Return the metrics as ``compile`` was given them: names, functions and objects."""
    return keras.tree.flatten(model._compile_metrics._user_metrics) if model._compile_metrics else []


@contextmanager
def _one_by_one(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Let the optimizer update weight by weight, by the formulas that all of Keras's backends share.

    Keras's torch optimizers update all weights in one call of an operator that cannot be mapped over a stack.
    """
    shared = keras.src.optimizers.base_optimizer.BaseOptimizer
    names = ("_backend_update_step", "_apply_weight_decay")
    for name in names:
        object.__setattr__(optimizer, name, MethodType(getattr(shared, name), optimizer))
    try:
        yield
    finally:
        for name in names:
            object.__delattr__(optimizer, name)


def _loss(
    model: keras.Model,
    weights: State,
    others: State,
    sums: State,
    x: Tensor,
    y: Tensor,
    sample_weight: Tensor | None,
    training: bool,
) -> tuple[Tensor, Tensor, State, State]:
    """Return the loss with all penalties, the predictions, and what the forward pass changed."""
    y_pred, others, penalties = model.stateless_call(weights, others, x, training=training, return_losses=True)
    model._losses_override = penalties  # those of the activities are known from the forward pass alone
    try:
        loss, (_, others, sums) = model.stateless_compute_loss(
            weights, others, sums, x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training
        )
    finally:
        model._losses_override = []
    return loss, y_pred, others, sums


def _count(
    model: keras.Model, sums: State, loss: Tensor, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None
) -> State:
    """Return the metric sums with a batch counted in; a batch's loss weighs as much as it has rows, as in ``fit``."""
    with keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, sums, strict=True))) as scope:
        model._loss_tracker.update_state(loss.detach(), sample_weight=len(x))
        model.compute_metrics(x, y, y_pred.detach(), sample_weight=sample_weight)
    return [scope.get_current_value(variable) for variable in model.metrics_variables]
