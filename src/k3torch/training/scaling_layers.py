"""Adds the scaling of features and targets to a trained model as layers; it then takes samples in their own units."""

from typing import Any

from k3torch.data.scaling import Standardizer
from k3torch.training.fast_model import FastModel, FastSequential, FastStep
from k3torch.training.keras_internals import Functional
import keras
import numpy as np

_FUNCTIONAL_INITS = {keras.Model.__init__, Functional.__init__, FastModel.__init__}
_SEQUENTIAL_INITS = {keras.Sequential.__init__, FastSequential.__init__}


def with_scaling_layers(
    model: keras.Model, *, features: Standardizer | None = None, targets: Standardizer | None = None
) -> keras.Model:
    """Return a model of the same layers that scales its inputs, and its outputs back.

    Args:
        model: compiled and trained on scaled samples; afterwards, use only the returned model.
        features: makes the first layer a ``keras.layers.Normalization`` with this mean and variance.
        targets: makes the last layer a ``keras.layers.Rescaling``, which multiplies by the deviation of the targets
            and adds their mean.

    Returns:
        A compiled model with the optimizer of ``model`` and its state. It is of the class of ``model`` if that is
        built from layers or from inputs and outputs as in Keras; otherwise it is a ``keras.Sequential`` that contains
        ``model``. Without ``features`` and ``targets``, ``model`` itself.
    """
    if features is None and targets is None:
        return model
    first = [] if features is None else [normalization_layer(features)]
    last = [] if targets is None else [_rescaling_layer(targets)]
    shape, name = model.inputs[0].shape if getattr(model, "inputs", None) else _input_shape(model, features), model.name
    whole = _extended(model, keras.Input(batch_shape=shape), first, last, name)
    whole.compile(**_compile_arguments(model))
    return whole


def normalization_layer(scaling: Standardizer) -> keras.layers.Normalization:
    """Return an adapted layer with the mean and variance of ``scaling``; it computes in float32 in any precision."""
    layer = keras.layers.Normalization(axis=tuple(range(1, scaling.mean.ndim + 1)), dtype="float32")
    layer.build((None, *scaling.mean.shape))
    layer.set_weights([scaling.mean, scaling.std**2, np.array(0)])  # 0: Keras's count, which it no longer uses
    layer.finalize_state()
    return layer


def _rescaling_layer(scaling: Standardizer) -> keras.layers.Rescaling:
    return keras.layers.Rescaling(*(_plain(part) for part in (scaling.std, scaling.mean)), dtype="float32")


def _plain(values: Any) -> Any:
    """Return a float if there is one value, else nested lists: model files hold them as JSON."""
    return float(values.item()) if values.size == 1 else values.tolist()


def _input_shape(model: keras.Model, features: Standardizer | None) -> tuple[int | None, ...]:
    if features is not None:
        return (None, *features.mean.shape)
    return tuple(model.get_build_config()["input_shape"])


def _extended(
    model: keras.Model, inputs: Any, first: list[keras.Layer], last: list[keras.Layer], name: str
) -> keras.Model:
    """Return ``inputs``, the layers ``first``, those of ``model``, and ``last`` as one model."""
    kind = type(model)
    if isinstance(model, keras.Sequential) and kind.__init__ in _SEQUENTIAL_INITS:
        layers = model.layers
        _forget_calls(layers)
        return kind([inputs, *first, *layers, *last], name=name)
    apply_layers = getattr(model, "_run_through_graph", None)  # as model.call, without converting the inputs again
    if isinstance(model, Functional) and kind.__init__ in _FUNCTIONAL_INITS and apply_layers is not None:
        _forget_calls(model.layers)
        outputs = apply_layers(_chain(inputs, first))
        return kind(inputs, _chain(keras.tree.flatten(outputs)[0], last), name=name)
    sequential = FastSequential if isinstance(model, FastStep) else keras.Sequential
    return sequential([inputs, *first, model, *last])


def _chain(tensor: Any, layers: list[keras.Layer]) -> Any:
    for layer in layers:
        tensor = layer(tensor)
    return tensor


def _forget_calls(layers: list[keras.Layer]) -> None:
    """Remove the calls that built the first model, or ``layer.output`` would be a tensor of that model."""
    for layer in layers:
        for calls in ("_inbound_nodes", "_outbound_nodes"):
            getattr(layer, calls, []).clear()


def _compile_arguments(model: keras.Model) -> dict[str, Any]:
    """Return the arguments of ``compile``; without Keras's record of them, those that a model file would have."""
    record = getattr(getattr(model, "_compile_config", None), "config", None)
    given = keras.saving.deserialize_keras_object(model.get_compile_config()) if record is None else record
    return {**given, "optimizer": model.optimizer}
