"""Access to the parts of Keras that its public interface does not include.

They are those of Keras 3.15 and are listed in ``PRIVATE_PARTS``. Where one is missing, the functions below raise
``MissingPart``; what needs the part then falls back to Keras's own step. No other file imports ``keras.src``. Other
files read private attributes of Keras objects through the functions below, or by ``getattr`` with a default
(``_compile_loss`` in ``step_parts.py``, ``_keras_mask`` in ``fused_losses.py``, four in ``scaling_layers.py``,
``_direction`` in ``metric_units.py``).

Written, not read: ``stateless.py`` sets ``_losses_override`` and replaces two methods of optimizers after it has looked
them up here, and ``FastModel`` overrides ``_should_torch_compile``. Layers and models are also torch modules, of which
``fast_step.py``, ``step_parts.py`` and ``model_state.py`` read the hooks, parameters and buffers as torch keeps them.
"""

from collections.abc import Callable
import inspect
import pkgutil
from typing import Any

import keras

# The imports, as "module:name".
AUTOCAST_SCOPE = "keras.src.backend.common.variables:AutocastScope"
API_REGISTRY = "keras.src.api_export:register_internal_serializable"
GLOBAL_STATE = "keras.src.backend.common:global_state"
BASE_OPTIMIZER = "keras.src.optimizers.base_optimizer:BaseOptimizer"
# The attributes: of models, of what compile() makes of losses and metrics, of losses and metrics, of optimizers.
PRIVATE_PARTS = (
    AUTOCAST_SCOPE,
    API_REGISTRY,
    BASE_OPTIMIZER,
    GLOBAL_STATE,
    "_compile_loss",
    "_compile_metrics",
    "_loss_tracker",
    "_losses_override",
    "_symbolic_build",
    "_flat_losses",
    "_flat_metrics",
    "_flat_weighted_metrics",
    "_user_metrics",
    "_fn",
    "_fn_kwargs",
    "_apply_weight_decay",
    "_backend_update_step",
    "_get_variable_index",
    "_momentums",
    "_velocities",
    "_velocity_hats",
    "_accumulators",
    "momentums",
)


# Keras exports the class of functional models under no name. Explicit names leave Keras's counters as they are.
_input = keras.Input((1,), name="input")
Functional: Any = type(keras.Model(_input, _input, name="functional"))


class MissingPart(Exception):  # noqa: N818  (a reason, not an error)
    """Keras lacks a private part that this package uses; the message names it."""


def private_import(path: str) -> Any:
    """Return the object at ``path``, one of ``PRIVATE_PARTS``.

    Raises:
        MissingPart: if this version of Keras does not have it.
    """
    _check_listed(path)
    try:
        return pkgutil.resolve_name(path)
    except (ImportError, AttributeError) as error:
        raise MissingPart(f"Keras {keras.__version__} has no {path.replace(':', '.')}") from error


def private_attribute(owner: Any, name: str) -> Any:
    """Return ``owner.name``; ``name`` is one of ``PRIVATE_PARTS``.

    Raises:
        MissingPart: if ``owner`` does not have it.
    """
    _check_listed(name)
    try:
        return getattr(owner, name)
    except AttributeError as error:
        kind = owner if isinstance(owner, type) else type(owner)
        raise MissingPart(f"Keras {keras.__version__} has no {kind.__name__}.{name}") from error


def private_method(owner: Any, name: str, *args: str, **kwargs: str) -> Callable[..., Any]:
    """Return the method ``owner.name``, after checking that it can be called with such arguments.

    Args:
        owner: a Keras object.
        name: one of ``PRIVATE_PARTS``.
        args: stands for the positional arguments of later calls; only their number counts.
        kwargs: stands for the keyword arguments of later calls; only their names count.

    Raises:
        MissingPart: if ``owner`` does not have it, or it takes other arguments.
    """
    method = private_attribute(owner, name)
    try:
        inspect.signature(method).bind(*args, **kwargs)
    except TypeError as error:
        kind = type(owner).__name__
        raise MissingPart(f"Keras {keras.__version__} has another {kind}.{name} ({error})") from error
    return method  # type: ignore[no-any-return]


def _check_listed(name: str) -> None:
    if name not in PRIVATE_PARTS:
        raise KeyError(f"expected a name of PRIVATE_PARTS, got {name!r}: add it there")


def functional_init_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Return whether a model that is called with these arguments is a functional one, of inputs and outputs."""
    return len(args) == 2 or (len(args) == 1 and "outputs" in kwargs) or {"inputs", "outputs"} <= set(kwargs)


def is_default(hook: Callable[..., Any]) -> bool:
    """Return whether a method of a callback is the one of ``keras.callbacks.Callback``, which does nothing."""
    function = getattr(hook, "__func__", hook)
    return function is getattr(keras.callbacks.Callback, getattr(function, "__name__", ""), None)
