"""The parts of Keras's train step without the checks that Keras repeats every step.

Each function below inspects a compiled model once and returns one part of its step as a plain function over torch
tensors. The functions leave out argument binding, dtype and mask handling and name scopes, and compute the same
values from the same variables. Where a part of Keras's step does more for the model at hand, ``Unsupported`` is raised
with the reason, and Keras's own part is used.
"""

from collections.abc import Callable, Sequence
import inspect
from itertools import pairwise
from typing import Any

from k3torch.data.loaders import identity
from k3torch.models.layers import SparseDense, bag_matmul
from k3torch.training.fused_losses import fused_loss, fused_metric, is_fusable
from k3torch.training.fused_optimizers import fused_update, keras_update
from k3torch.training.keras_internals import (
    AUTOCAST_SCOPE,
    Functional,
    private_attribute,
    private_import,
    private_method,
)
import keras
import torch

Tensor = torch.Tensor
Forward = Callable[[Any, bool], Tensor]
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
UpdateMetrics = Callable[[Tensor, Tensor, Tensor | None], None]
Wrap = Callable[[Any], Any]
UpdateWeights = Callable[[Sequence[Tensor | None], Sequence[Any]], None]

# Layers whose call() takes one tensor and computes everything; for them the rest of __call__ is only checks.
PLAIN_LAYERS = (
    keras.layers.Dense, SparseDense, keras.layers.Dropout, keras.layers.Activation, keras.layers.Flatten,
    keras.layers.Normalization, keras.layers.Rescaling,
)  # fmt: skip

# The torch functions that Keras's activations end up calling; other activations are called as they are.
TORCH_ACTIVATIONS = {
    keras.activations.relu: torch.relu,
    keras.activations.sigmoid: torch.sigmoid,
    keras.activations.tanh: torch.tanh,
    keras.activations.linear: lambda x: x,
}


class Unsupported(Exception):  # noqa: N818  (a reason, not an error)
    """The step needs Keras's own part; the message says for what."""


def forward(model: keras.Model, wrap: Wrap = identity) -> Forward:
    """Return ``f(x, training)`` for a model that is a chain of ``PLAIN_LAYERS``.

    Args:
        model: built.
        wrap: is called once with the function of all layers but the first, and returns what replaces it.

    Raises:
        Unsupported: for another model.
    """
    layers = _chain(model)
    for layer in layers:
        if reason := _needs_its_call(layer):
            raise Unsupported(f"the forward pass of layer {layer.name!r} ({reason})")
    if len({layer.compute_dtype for layer in layers}) > 1:
        raise Unsupported("the forward pass of layers of several dtypes")
    name = layers[0].compute_dtype
    dtype, mixed = getattr(torch, name), name != layers[0].variable_dtype
    shape = tuple(model.inputs[0].shape[1:])
    first, *rest = [_layer_function(layer, mixed) for layer in layers]
    by_keras = keras_forward(model)

    def after_first(x: Tensor, training: bool) -> Tensor:
        for function in rest:
            x = function(x, training)
        return x

    after_first = wrap(after_first)

    def run(x: Any, training: bool) -> Tensor:
        if not isinstance(x, Tensor) or x.shape[1:] != shape:
            return by_keras(x, training)  # which adapts the shape or says what is wrong
        return after_first(first(x.to(dtype), training), training)

    if not mixed:
        return run
    autocast = private_import(AUTOCAST_SCOPE)

    def run_mixed(x: Any, training: bool) -> Tensor:
        with autocast(name):
            return run(x, training)

    return run_mixed


def keras_forward(model: keras.Model) -> Forward:
    """Return ``f(x, training)`` for any model, through Keras's ``__call__``."""
    if "training" in inspect.signature(model.call).parameters:
        return lambda x, training: model(x, training=training)
    return lambda x, _: model(x)


def _needs_its_call(layer: keras.Layer) -> str | None:
    """Return what ``layer.__call__`` computes beyond ``layer.call``, or None if that is nothing."""
    if type(layer) not in PLAIN_LAYERS:
        return type(layer).__name__
    if layer.activity_regularizer is not None:
        return "activity regularizer"
    if getattr(layer, "lora_enabled", False) or layer.quantization_mode:
        return "LoRA or quantization"
    if any(hook_counts(layer)):
        return "torch hooks"
    if {"call", "__call__"} & set(vars(layer)):
        return "its own call"
    return None


def hook_counts(item: Any) -> tuple[int, ...]:
    """Return the number of torch hooks of each kind on a module; zeros for anything else."""
    names = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return tuple(len(getattr(item, name, ())) for name in names)


def _layers(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def _chain(model: keras.Model) -> list[keras.Layer]:
    """Return the layers, where each takes the output of the one before it and nothing else."""
    layers = _layers(model)
    if any(hook_counts(model)) or "call" in vars(model):
        raise Unsupported("the forward pass of a model with torch hooks or a call of its own")
    if isinstance(model, keras.Sequential) and type(model).call is keras.Sequential.call and layers:
        return layers
    try:
        ends = [(model.inputs, layers[0].input), (model.outputs, layers[-1].output)]
        linked = all(a.output is b.input for a, b in pairwise(layers))
        linked = linked and all(len(tensors) == 1 and tensors[0] is tensor for tensors, tensor in ends)
    except (AttributeError, ValueError, TypeError, IndexError):  # no graph, or a layer used in several places
        linked = False
    if not linked or type(model).call not in (keras.Sequential.call, Functional.call):
        raise Unsupported("the forward pass of a model that is not a chain of layers")
    return layers


def _layer_function(layer: keras.Layer, mixed: bool) -> Forward:
    """Return ``f(x, training)``, which computes what ``layer.call`` does.

    Args:
        layer: of ``PLAIN_LAYERS``.
        mixed: whether the values of its variables are to be converted, and so read, at each call.
    """
    if isinstance(layer, keras.layers.Dropout):
        return lambda x, training: layer.call(x, training=training)
    if not isinstance(layer, keras.layers.Dense):
        return lambda x, _: layer.call(x)
    kernel, bias = _value(layer.kernel, mixed), _value(layer.bias, mixed) if layer.bias is not None else None
    activation = TORCH_ACTIVATIONS.get(layer.activation, layer.activation)

    def dense(x: Tensor, _: bool) -> Tensor:
        product = bag_matmul(x, kernel()) if x.layout == torch.sparse_csr else torch.matmul(x, kernel())
        return activation(product if bias is None else product + bias())  # type: ignore[no-any-return]

    return dense


def _value(variable: Any, mixed: bool) -> Callable[[], Tensor]:
    """Return a function that returns the variable's value; without conversion it is always the same tensor."""
    if mixed:
        return lambda: variable.value
    tensor: Tensor = variable.value
    return lambda: tensor


def loss(model: keras.Model) -> Loss:
    """Return ``f(y, y_pred, sample_weight)``: the value of one Keras loss over one output, plus all penalties.

    Raises:
        Unsupported: for several losses, or a weighted one.
    """
    compiled = private_attribute(model, "_compile_loss")
    entries = private_attribute(compiled, "_flat_losses") or [] if compiled is not None else []
    if len(entries) != 1 or entries[0].path or entries[0].loss_weights is not None:
        raise Unsupported("a loss that is not one unweighted loss over one output")
    keras_loss = entries[0].loss
    dtype, fused = getattr(torch, keras_loss.dtype), fused_loss(keras_loss)
    # Penalties on weights exist before the first step, those on outputs and those of add_loss only after it.
    own_call = type(model).call not in (keras.Sequential.call, Functional.call)
    penalised = bool(model.losses) or own_call or any(_needs_its_call(layer) for layer in _layers(model))

    def value(y: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> Tensor:
        if fused and sample_weight is None and is_fusable(y, y_pred):
            total = fused(y, y_pred.to(dtype))
        else:
            total = keras_loss(y, y_pred, sample_weight)
        return total + sum(term.sum() for term in model.losses) if penalised else total

    return value


def metrics(model: keras.Model) -> UpdateMetrics:
    """Return ``f(y, y_pred, sample_weight)``, which updates the compiled metrics' own variables."""
    compiled = private_attribute(model, "_compile_metrics")
    if compiled is None:
        return lambda *_: None
    updates = [_metric(metric) for metric in _metrics_of(private_attribute(compiled, "_flat_metrics"))]
    weighted = _metrics_of(private_attribute(compiled, "_flat_weighted_metrics"))

    def update(y: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> None:
        for update_one in updates:
            update_one(y, y_pred)
        for metric in weighted:
            metric.update_state(y, y_pred, sample_weight)

    return update


def _metrics_of(entries: Sequence[Any]) -> list[keras.Metric]:
    return [metric for entry in entries if entry for metric in entry.metrics]


def _metric(metric: keras.Metric) -> Callable[[Tensor, Tensor], None]:
    """Return the update of one metric; means of a function are added to their two variables directly."""
    if type(metric).update_state is not keras.metrics.MeanMetricWrapper.update_state:
        return metric.update_state  # type: ignore[no-any-return]

    fused, add = fused_metric(metric), mean_adder(metric)

    def update(y: Tensor, y_pred: Tensor) -> None:
        if fused and is_fusable(y, y_pred):
            add(fused(y, y_pred), len(y))
        else:
            metric.update_state(y, y_pred)

    return update


def mean_adder(mean: keras.metrics.Mean) -> Callable[[Tensor, int], None]:
    """Return ``f(sum, count)``, which adds ``count`` values to a Keras Mean, without synchronising with its device."""
    total, counted = mean.total.value, mean.count.value

    def add(value: Tensor, count: int) -> None:
        total.add_(value.detach())
        counted.add_(count)

    return add


def weights(model: keras.Model, wrap: Wrap | None = None) -> UpdateWeights:
    """Return ``f(gradients, variables)``, one step of the model's optimizer on its own variables.

    Args:
        model: compiled; its optimizer is built.
        wrap: is called once with Keras's own update, and returns what replaces it; without it the update is
            ``fused_update``'s.

    Raises:
        Unsupported: for settings of the optimizer that only Keras's own ``apply`` handles.
    """
    optimizer = model.optimizer
    if reasons := _needs_apply(optimizer, model.trainable_variables):
        raise Unsupported(" and ".join(reasons))

    constrained = [v for v in model.trainable_variables if v.constraint is not None]
    step = fused_update(optimizer) if wrap is None else wrap(keras_update(optimizer))
    decay = private_method(optimizer, "_apply_weight_decay", "variables")

    def update(gradients: Sequence[Tensor | None], variables: Sequence[Any]) -> None:
        if any(gradient is None for gradient in gradients):
            optimizer.apply(gradients, variables)  # leaves those out, and warns
            return
        decay(variables)
        step(gradients, variables)  # type: ignore[arg-type]
        for variable in constrained:
            variable.assign(variable.constraint(variable))
        optimizer.iterations.value.add_(1)

    return update


def _needs_apply(optimizer: keras.optimizers.Optimizer, variables: Sequence[Any]) -> list[str]:
    """Return the settings that only ``optimizer.apply`` handles."""
    settings = {
        "loss scaling": isinstance(optimizer, keras.optimizers.LossScaleOptimizer),
        "clipped gradients": any((optimizer.clipnorm, optimizer.clipvalue, optimizer.global_clipnorm)),
        "gradient accumulation": optimizer.gradient_accumulation_steps,
        "averaged weights (use_ema)": optimizer.use_ema,
        "loss_scale_factor": optimizer.loss_scale_factor is not None,
        "overwrite_with_gradient": any(getattr(v, "overwrite_with_gradient", False) for v in variables),
        "an overridden optimizer.apply": type(optimizer).apply is not keras.optimizers.Optimizer.apply,
    }
    return [name for name, needed in settings.items() if needed]
