"""The choice of the parts of a step: those of ``fast_step`` where they support the model, else Keras's own."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from k3torch.files import private_compiler_cache
from k3torch.training import fast_step
from k3torch.training.captured_steps import CapturedSteps, captured_steps
from k3torch.training.keras_internals import MissingPart, private_attribute
from k3torch.training.model_state import layers_of
from k3torch.training.sparse_updates import SparseUpdates, sparse_updates
import keras
import torch

_METHODS = ("compute_loss", "compute_metrics", "train_step", "test_step", "call")  # which may be set on a model


@dataclass(frozen=True)
class Parts:
    """The four parts of a step, and what the step needs besides.

    Attributes:
        add_to_loss: adds the sum of a number of losses to the metric ``loss``.
        variables: the trainable ones, whose gradients ``update_weights`` takes.
        parameters: all torch parameters of the model, whose gradients are cleared before a step.
        device: of the variables.
        log_names: of the metrics.
        sparse: the forward pass and the update of steps on the rows that occur, where these are supported.
        dense_reason: why they are not, for a model whose first kernel is large enough for them.
        captured: the steps as CUDA graphs, where these are used.
    """

    forward: fast_step.Forward
    loss: fast_step.Loss
    update_metrics: fast_step.UpdateMetrics
    update_weights: fast_step.UpdateWeights
    add_to_loss: Callable[[torch.Tensor, int], None]
    variables: list[Any]
    parameters: list[torch.Tensor]
    device: torch.device
    log_names: tuple[str, ...]
    sparse: SparseUpdates | None = None
    dense_reason: str | None = None
    captured: CapturedSteps | None = None


@dataclass(frozen=True)
class Choice:
    """The parts of a model's step.

    Attributes:
        parts: the fastest parts that support the model, or None if the whole step falls back to Keras.
        keras_parts: Keras's own, to replace any of ``parts`` that differs; None if ``parts`` is.
        reasons: what falls back to Keras, in a few words each.
    """

    parts: Parts | None
    keras_parts: Parts | None
    reasons: list[str]


def choose_parts(model: keras.Model) -> Choice:
    """Choose the parts of the step of a compiled and built model."""
    overridden = [name for name in ("compute_loss", "compute_metrics") if _is_overridden(model, name)]
    if overridden or model.optimizer is None or not model.trainable_variables:
        return Choice(None, None, overridden)
    try:
        compiled_metrics = private_attribute(model, "_compile_metrics")
        keras_parts = Parts(
            forward=fast_step.keras_forward(model),
            loss=lambda y, y_pred, sample_weight: model.compute_loss(None, y, y_pred, sample_weight),
            update_metrics=compiled_metrics.update_state if compiled_metrics is not None else lambda *_: None,
            update_weights=model.optimizer.apply,
            add_to_loss=fast_step.mean_adder(private_attribute(model, "_loss_tracker")),
            variables=list(model.trainable_variables),
            parameters=list(model.parameters()),
            device=model.trainable_variables[0].value.device,
            log_names=tuple(model.get_metrics_result()),
            captured=captured_steps(model, list(model.parameters())),
        )
    except MissingPart as missing:
        return Choice(None, None, [f"its step ({missing})"])

    reasons: list[str] = []
    wrap = {}
    if model.jit_compile:
        private_compiler_cache()
        wrap = {"wrap": partial(torch.compile, dynamic=True)}

    def choose(name: str, build: Callable[..., Any], **wrap: Any) -> Any:
        """Return the fast part that ``build`` makes, or Keras's own, and then append the reason."""
        try:
            return build(model, **wrap)
        except fast_step.Unsupported as reason:
            reasons.append(str(reason))
        except (MissingPart, ImportError, AttributeError, TypeError) as change:  # a version of Keras to come
            reasons.append(f"its {build.__name__} ({change})")
        return getattr(keras_parts, name)

    parts = replace(
        keras_parts,
        forward=choose("forward", fast_step.forward, **wrap),
        loss=choose("loss", fast_step.loss),
        update_metrics=choose("update_metrics", fast_step.metrics),
        update_weights=choose("update_weights", fast_step.weights, **wrap),
    )
    if not reasons:
        parts = _with_sparse_updates(model, parts)
    return Choice(parts, keras_parts, reasons)


def _with_sparse_updates(model: keras.Model, parts: Parts) -> Parts:
    """Return the parts with sparse steps, or with the reason for dense ones."""
    try:
        return replace(parts, sparse=sparse_updates(model, parts.update_weights))
    except fast_step.Unsupported as reason:
        return replace(parts, dense_reason=str(reason))
    except (MissingPart, ImportError, AttributeError, TypeError) as change:  # a version of Keras to come
        return replace(parts, dense_reason=f"this version of Keras ({change})")


def settings_of(model: keras.Model) -> Any:
    """Return what the choice of the parts depends on.

    If the value is equal to an earlier one, the parts chosen and verified then are still valid. Numbers and strings
    are compared by value, all other objects by identity: replacing an object by an equal one counts as a change.
    """
    losses, metrics = (getattr(model, name, None) for name in ("_compile_loss", "_compile_metrics"))
    items = [model.optimizer, losses, metrics, *(layer for layer in layers_of(model) if layer is not model)]
    variables = [tuple(map(_Same, (v, v.value, v.regularizer, v.constraint))) for v in model.trainable_variables]
    methods = [_Same(vars(model).get(name)) for name in _METHODS]
    return (
        variables,
        methods,
        model.jit_compile,
        fast_step.hook_counts(model),
        {_Same(item): _settings(item) for item in items},
    )


class _Same:
    """An object that equals itself alone; kept alive, so that no other object gets its id."""

    def __init__(self, value: Any):
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)


def _settings(item: Any) -> tuple[Any, ...]:
    """Return the public attributes of an object, and the number of its torch hooks."""
    own = {
        name: value if isinstance(value, int | float | str | None) else _Same(value)
        for name, value in getattr(item, "__dict__", {}).items()
        if not name.startswith("_") and name != "training"
    }
    return own, fast_step.hook_counts(item)


def _is_overridden(model: keras.Model, method: str) -> bool:
    return method in vars(model) or getattr(type(model), method) is not getattr(keras.Model, method)
