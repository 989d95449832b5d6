"""A Keras model's train and test step as functions without side effects.

``fit`` keeps weights, optimizer slots and metric sums in variables and changes them in place. The functions here take
all of that as a list of tensors and return the new list, through Keras's own ``stateless_*`` methods; so they can be
differentiated, mapped over a stack of models and compiled. (``torch.func.functional_call`` is no alternative: Keras
layers read their own variables and ignore the weights that it passes.)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
import inspect
from types import MethodType
from typing import Any

from k3torch.stack.reasons import UntraceableStep
from k3torch.training.keras_internals import (
    BASE_OPTIMIZER,
    MissingPart,
    private_attribute,
    private_import,
    private_method,
)
import keras
import torch

Tensor = torch.Tensor
State = list[Tensor]
Step = Callable[[State, Tensor, Tensor, Tensor | None], State]
BatchStep = Callable[[State, list[Tensor]], State]


def build(model: keras.Model, x: Any, y: Any, sample_weight: Any = None) -> None:
    """Create the variables that a model gets when it first sees data: those of the optimizer and the metrics.

    Args:
        model: compiled.
        x: samples, (samples, ...); only the shape and dtype count.
        y: targets, (samples, outputs).
        sample_weight: (samples,) or None.

    Raises:
        UntraceableStep: if this version of Keras lacks the method for it.
    """
    try:
        symbolic_build = private_method(model, "_symbolic_build", data_batch="")
    except MissingPart as missing:
        raise UntraceableStep(str(missing)) from missing
    symbolic_build(data_batch=(x[:1], y[:1], None if sample_weight is None else sample_weight[:1]))
    model.reset_metrics()


def variables(model: keras.Model) -> list[keras.Variable]:
    """Return all that a step changes: weights, other state, optimizer slots, metric sums, in this order."""
    return [
        *model.trainable_variables,
        *model.non_trainable_variables,
        *model.optimizer.variables,
        *model.metrics_variables,
    ]


def assign(model: keras.Model, state: Sequence[Tensor]) -> None:
    """Write a state into the model, and reset its metrics."""
    for variable, tensor in zip(variables(model), state, strict=True):
        variable.assign(tensor)
    model.reset_metrics()


def _split(model: keras.Model, state: Sequence[Tensor]) -> list[State]:
    """Split a state list into the four parts that ``variables`` joins."""
    parts, start = [], 0
    for group in (model.trainable_variables, model.non_trainable_variables, model.optimizer.variables):
        parts.append(list(state[start : start + len(group)]))
        start += len(group)
    return [*parts, list(state[start:])]


def train_step(model: keras.Model) -> Step:
    """Return ``f(state, x, y, sample_weight) -> state``: one update, with this batch added to the metrics."""

    def step(state: State, x: Tensor, y: Tensor, sample_weight: Tensor | None) -> State:
        weights, others, slots, sums = _split(model, state)

        def loss_of(weights: State) -> tuple[Tensor, tuple[Tensor, Tensor, State, State]]:
            loss, y_pred, new_others, new_sums = _loss(model, weights, others, sums, x, y, sample_weight, training=True)
            return loss, (loss, y_pred, new_others, new_sums)

        gradients, (loss, y_pred, others, sums) = torch.func.grad(loss_of, has_aux=True)(weights)
        sums = _updated_metrics(model, sums, loss, x, y, y_pred, sample_weight)
        with _updates_weight_by_weight(model.optimizer):
            weights, slots = model.optimizer.stateless_apply(slots, gradients, weights)
        return [*weights, *others, *slots, *sums]

    return step


def test_step(model: keras.Model) -> Step:
    """Return ``f(state, x, y, sample_weight) -> state``, which only adds the batch to the metrics."""

    def step(state: State, x: Tensor, y: Tensor, sample_weight: Tensor | None) -> State:
        weights, others, slots, sums = _split(model, state)
        loss, y_pred, _, sums = _loss(model, weights, others, sums, x, y, sample_weight, training=False)
        return [*weights, *others, *slots, *_updated_metrics(model, sums, loss, x, y, y_pred, sample_weight)]

    return step


def results(model: keras.Model) -> Callable[[State], Tensor]:
    """Return ``f(metric_sums)``: the metrics' results, float32, (metrics,), in the order of ``metric_names``."""

    def read(sums: State) -> Tensor:
        with keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, sums, strict=True))):
            return torch.stack([keras.ops.cast(value, "float32") for value in model.get_metrics_result().values()])

    return read


def metric_names(model: keras.Model) -> list[str]:
    """Return the names of the metrics as in ``fit``'s history: ``loss`` first."""
    return list(model.get_metrics_result())


def compiled_metrics(model: keras.Model) -> list[Any]:
    """Return the metrics as ``compile`` was given them: names, functions and objects.

    Raises:
        MissingPart: if this version of Keras keeps them elsewhere.
    """
    compiled = private_attribute(model, "_compile_metrics")
    return keras.tree.flatten(private_attribute(compiled, "_user_metrics")) if compiled else []


def given_metrics(model: keras.Model) -> list[Any]:
    """Return what ``compiled_metrics`` does, or copies of the objects and no functions where Keras has changed."""
    try:
        return compiled_metrics(model)
    except MissingPart:
        entries = model.get_compile_config().get("metrics")
        objects = [e for e in entries or () if isinstance(e, str) or e.get("class_name") not in ("function", None)]
        return [keras.saving.deserialize_keras_object(entry) for entry in objects]


@contextmanager
def _updates_weight_by_weight(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Let the optimizer update weight by weight, by the formulas that all of Keras's backends share.

    Keras's torch optimizers update all weights by operators over lists, which cannot be mapped over a stack.
    """
    methods = {name: _shared_method(type(optimizer), name) for name in ("_backend_update_step", "_apply_weight_decay")}
    for name, method in methods.items():
        object.__setattr__(optimizer, name, MethodType(method, optimizer))
    try:
        yield
    finally:
        for name in methods:
            object.__delattr__(optimizer, name)


def _shared_method(kind: type[keras.optimizers.Optimizer], name: str) -> Any:
    """Return the method that a class of optimizers would inherit if Keras had no torch versions of optimizers."""
    private_attribute(private_import(BASE_OPTIMIZER), name)
    return next(
        vars(base)[name]
        for base in kind.__mro__
        if name in vars(base) and not base.__module__.startswith("keras.src.backend.torch")
    )


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
    """Return the loss with all penalties, the predictions, and the state that the forward pass changed."""
    private_attribute(model, "_losses_override")  # written below: a name that Keras does not read would be ignored
    mode = {"training": training} if "training" in inspect.signature(model.call).parameters else {}
    y_pred, others, penalties = model.stateless_call(weights, others, x, return_losses=True, **mode)
    model._losses_override = penalties  # activity penalties are known only from the forward pass
    try:
        loss, (_, others, sums) = model.stateless_compute_loss(
            weights, others, sums, x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training
        )
    finally:
        model._losses_override = []
    return loss, y_pred, others, sums


def _updated_metrics(
    model: keras.Model, sums: State, loss: Tensor, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Tensor | None
) -> State:
    """Return the metric sums with a batch added; a batch's loss is weighted by its number of samples, as in ``fit``."""
    loss_tracker = private_attribute(model, "_loss_tracker")
    with keras.StatelessScope(state_mapping=list(zip(model.metrics_variables, sums, strict=True))) as scope:
        loss_tracker.update_state(loss.detach(), sample_weight=len(x))
        model.compute_metrics(x, y, y_pred.detach(), sample_weight=sample_weight)
    return [scope.get_current_value(variable) for variable in model.metrics_variables]
