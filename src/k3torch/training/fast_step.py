"""The parts of Keras's train step without what Keras settles anew at every step.

Each function below looks once at a compiled model and returns a part of the step as a plain function over torch
tensors, or raises ``Unsupported`` with the reason where only Keras's own part gives Keras's numbers. What is left out
is argument binding, dtype and mask bookkeeping and name scopes; what computes is the same Keras code on the same
variables, so the numbers are the same.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from k3torch.data.loaders import identity
from k3torch.models.layers import SparseDense, bag_matmul
from k3torch.training.fused_losses import fits, loss_formula, metric_formula
from k3torch.training.fused_optimizers import keras_update, short_update
import keras
from keras.src.backend.common.variables import AutocastScope
from keras.src.backend.torch.core import to_torch_dtype
from keras.src.losses.loss import reduce_weighted_values
from keras.src.metrics.reduction_metrics import MeanMetricWrapper
from keras.src.models.functional import Functional
import torch

Tensor = torch.Tensor
Forward = Callable[[Any, bool], Tensor]
Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
UpdateMetrics = Callable[[Tensor, Tensor, Tensor | None], None]
Wrap = Callable[[Any], Any]
UpdateWeights = Callable[[Sequence[Tensor | None], Sequence[Any]], None]

# Layers whose call() takes one tensor and does all of the work; the rest of __call__ is bookkeeping for them.
PLAIN_LAYERS = (keras.layers.Dense, SparseDense, keras.layers.Dropout, keras.layers.Activation, keras.layers.Flatten)

# What Keras itself calls in the end, as far as the activation goes; others run as Keras wrote them.
TORCH_ACTIVATIONS = {
    keras.activations.relu: torch.relu,
    keras.activations.sigmoid: torch.sigmoid,
    keras.activations.tanh: torch.tanh,
    keras.activations.linear: lambda x: x,
}


class Unsupported(Exception):  # noqa: N818  (a reason, not an error)
    """Keras's own part is needed; the message says for what."""


def forward(model: keras.Model, wrap: Wrap = identity) -> Forward:
    """Return ``f(x, training)`` for a model that is a chain of ``PLAIN_LAYERS``.

    ``wrap`` goes round all layers but the first.
    """
    layers = _chain(model)
    for layer in layers:
        if reason := _needs_its_wrapper(layer):
            raise Unsupported(f"the forward pass of layer {layer.name!r} ({reason})")
    if len({layer.compute_dtype for layer in layers}) > 1:
        raise Unsupported("the forward pass of layers of several dtypes")
    name = layers[0].compute_dtype
    dtype, mixed = to_torch_dtype(name), name != layers[0].variable_dtype
    shape = tuple(model.inputs[0].shape[1:])
    first, *rest = [_call(layer) for layer in layers]

    def after_first(x: Tensor, training: bool) -> Tensor:
        for call in rest:
            x = call(x, training)
        return x

    after_first = wrap(after_first)

    def run(x: Any, training: bool) -> Tensor:
        if not isinstance(x, Tensor) or x.shape[1:] != shape:
            return keras_forward(model)(x, training)  # which mends the shape or says what is wrong
        return after_first(first(x.to(dtype), training), training)

    def run_mixed(x: Any, training: bool) -> Tensor:
        with AutocastScope(name):
            return run(x, training)

    return run_mixed if mixed else run


def keras_forward(model: keras.Model) -> Forward:
    """Return ``f(x, training)`` for any model."""
    if model._call_has_training_arg:
        return lambda x, training: model(x, training=training)
    return lambda x, _: model(x)


def _needs_its_wrapper(layer: keras.Layer) -> str | None:
    """Return what ``layer.__call__`` does beyond ``layer.call``, if anything."""
    if type(layer) not in PLAIN_LAYERS:
        return type(layer).__name__
    if layer.activity_regularizer is not None:
        return "activity regularizer"
    if getattr(layer, "lora_enabled", False) or layer.quantization_mode:
        return "LoRA or quantization"
    if layer._forward_hooks or layer._forward_pre_hooks:
        return "torch hooks"
    return None


def _inner(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def _chain(model: keras.Model) -> list[keras.Layer]:
    """Return the layers, where each takes the output of the one before it and nothing else."""
    layers = _inner(model)
    try:
        ends = [(model.inputs, layers[0].input), (model.outputs, layers[-1].output)]
        linked = all(a.output is b.input for a, b in pairwise(layers))
        linked = linked and all(len(tensors) == 1 and tensors[0] is tensor for tensors, tensor in ends)
    except (AttributeError, ValueError, TypeError, IndexError):  # no graph, or a layer used in several places
        linked = False
    if not linked or type(model).call not in (keras.Sequential.call, Functional.call):
        raise Unsupported("the forward pass of a model that is not a chain of layers")
    return layers


def _call(layer: keras.Layer) -> Forward:
    """Return the layer's work as ``f(x, training)``."""
    if isinstance(layer, keras.layers.Dropout):
        return lambda x, training: layer.call(x, training=training)
    if not isinstance(layer, keras.layers.Dense):
        return lambda x, _: layer.call(x)
    kernel, bias = layer.kernel, layer.bias
    activation = TORCH_ACTIVATIONS.get(layer.activation, layer.activation)

    def dense(x: Tensor, _: bool) -> Tensor:
        product = bag_matmul(x, kernel.value) if x.layout == torch.sparse_csr else torch.matmul(x, kernel.value)
        return activation(product if bias is None else product + bias.value)  # type: ignore[no-any-return]

    return dense


def loss(model: keras.Model) -> Loss:
    """Return ``f(y, y_pred, sample_weight)``: the mean of one Keras loss over one output, plus all penalties."""
    compiled = getattr(model._compile_loss, "_flat_losses", None) or []
    if len(compiled) != 1 or compiled[0].path or compiled[0].loss_weights is not None:
        raise Unsupported("a loss that is not one unweighted loss over one output")
    chosen = compiled[0].loss
    if type(chosen).__call__ is not keras.losses.Loss.__call__ or chosen.reduction != "sum_over_batch_size":
        raise Unsupported(f"the loss {chosen.name!r}")
    dtype = to_torch_dtype(chosen.dtype)
    formula = loss_formula(chosen)
    # Penalties on weights are there before the first step, those on outputs and of one's own only after it.
    penalised = bool(model.losses) or any(_needs_its_wrapper(layer) for layer in _inner(model))

    def mean_loss(y: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> Tensor:
        y_pred = y_pred.to(dtype)
        if formula and sample_weight is None and fits(y, y_pred):
            total = formula(y, y_pred)
        else:
            values = chosen.call(y.to(dtype), y_pred)
            total = reduce_weighted_values(values, sample_weight, reduction=chosen.reduction, dtype=chosen.dtype)
        return total + sum(term.sum() for term in model.losses) if penalised else total

    return mean_loss


def metrics(model: keras.Model) -> UpdateMetrics:
    """Return ``f(y, y_pred, sample_weight)``, which updates the compiled metrics' own variables."""
    compiled = model._compile_metrics
    if compiled is None:
        return lambda *_: None
    if len(model.outputs) != 1:
        raise Unsupported("metrics of several outputs")
    updates = [_metric(metric) for metric in _listed(compiled._flat_metrics)]
    weighted = _listed(compiled._flat_weighted_metrics)

    def update(y: Tensor, y_pred: Tensor, sample_weight: Tensor | None) -> None:
        for update_one in updates:
            update_one(y, y_pred)
        for metric in weighted:
            metric.update_state(y, y_pred, sample_weight)

    return update


def _listed(compiled: Sequence[Any]) -> list[keras.Metric]:
    return [metric for entry in compiled if entry for metric in entry.metrics]


def _metric(metric: keras.Metric) -> Callable[[Tensor, Tensor], None]:
    """Return the update of one metric; means of a function go straight to their two variables."""
    if type(metric).update_state is not MeanMetricWrapper.update_state:
        return metric.update_state  # type: ignore[no-any-return]

    formula = metric_formula(metric)

    def update(y: Tensor, y_pred: Tensor) -> None:
        if formula and fits(y, y_pred):
            add_to_mean(metric, formula(y, y_pred), len(y))
        else:
            metric.update_state(y, y_pred)

    return update


def add_to_mean(mean: keras.metrics.Mean, total: Tensor, count: int) -> None:
    """Add the sum of ``count`` values to a Keras Mean, on its device and without waiting for it."""
    mean.total.value.add_(total.detach())
    mean.count.value.add_(count)


def weights(model: keras.Model, wrap: Wrap | None = None) -> UpdateWeights:
    """Return ``f(gradients, variables)``, one step of the model's optimizer on its own state.

    With ``wrap``, Keras's own formulas go through it; without, ``short_update``'s.
    """
    optimizer = model.optimizer
    asked = {
        "loss scaling": isinstance(optimizer, keras.optimizers.LossScaleOptimizer),
        "clipped gradients": any((optimizer.clipnorm, optimizer.clipvalue, optimizer.global_clipnorm)),
        "gradient accumulation": optimizer.gradient_accumulation_steps,
        "averaged weights (use_ema)": optimizer.use_ema,
        "loss_scale_factor": optimizer.loss_scale_factor is not None,
        "overwrite_with_gradient": any(getattr(v, "overwrite_with_gradient", 0) for v in model.trainable_variables),
        "an overridden optimizer.apply": type(optimizer).apply is not keras.optimizers.Optimizer.apply,
    }
    if reasons := [name for name, needed in asked.items() if needed]:
        raise Unsupported(" and ".join(reasons))

    constrained = [v for v in model.trainable_variables if v.constraint is not None]
    step = short_update(optimizer) if wrap is None else wrap(keras_update(optimizer))

    def update(gradients: Sequence[Tensor | None], variables: Sequence[Any]) -> None:
        if any(gradient is None for gradient in gradients):
            optimizer.apply(gradients, variables)  # leaves those out, and warns
            return
        optimizer._apply_weight_decay(variables)
        step(gradients, variables)  # type: ignore[arg-type]
        for variable in constrained:
            variable.assign(variable.constraint(variable))
        optimizer._iterations.value.add_(1)

    return update
