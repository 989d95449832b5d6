"""A Keras model with its train_step overridden: all of Keras, without most of what a step costs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
import inspect
from typing import Any
import warnings

from k3torch.training import fast_step
from k3torch.training.saving import save_as
import keras
from keras.src.models.functional import Functional
from keras.src.models.model import functional_init_arguments
from keras.src.utils.python_utils import is_default
import torch

Logs = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """What a step is made of: each part the short one where that is exact, else Keras's own."""

    forward: fast_step.Forward
    loss: fast_step.Loss
    update_metrics: fast_step.UpdateMetrics
    update_weights: fast_step.UpdateWeights
    device: torch.device
    log_names: tuple[str, ...]


class FastStep:
    """The two overridden steps; name it before a Keras model class among the bases of your own.

    The numbers are those of Keras's own steps up to float32 rounding. Three things make it fast: each part of a
    step leaves out what Keras settles anew every time (``k3torch.training.fast_step``); metrics become Python numbers
    once an epoch, unless a progress bar or a callback reads them after every batch; and a batch moves to the device
    without being waited for. Where only Keras's own part is exact, that part is Keras's, and one warning says so.
    ``compile(jit_compile=True)`` puts ``torch.compile`` round the optimizer and the layers after the first.
    """

    def train_step(self: Any, data: Any) -> Logs:
        """Train on one batch, ``(x, y)`` or ``(x, y, sample_weight)``, and return the metrics so far."""
        parts = self._parts
        if parts is None:
            return super().train_step(data)  # type: ignore[misc,no-any-return]
        x, y, sample_weight = _unpack(data, parts.device)
        y_pred = parts.forward(x, True)
        loss = parts.loss(y, y_pred, sample_weight)
        self.zero_grad()
        self.optimizer.scale_loss(loss).backward()
        variables = self.trainable_variables
        with torch.no_grad():
            parts.update_weights([variable.value.grad for variable in variables], variables)
            return self._track(parts, loss, x, y, y_pred, sample_weight)  # type: ignore[no-any-return]

    def test_step(self: Any, data: Any) -> Logs:
        """Evaluate one batch and return the metrics so far."""
        parts = self._parts
        if parts is None:
            return super().test_step(data)  # type: ignore[misc,no-any-return]
        x, y, sample_weight = _unpack(data, parts.device)
        y_pred = parts.forward(x, False)
        loss = parts.loss(y, y_pred, sample_weight)
        return self._track(parts, loss, x, y, y_pred, sample_weight)  # type: ignore[no-any-return]

    def _track(self: Any, parts: Parts, loss: torch.Tensor, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Logs:
        rows = len(x) if isinstance(x, torch.Tensor) else len(keras.tree.flatten(x)[0])
        fast_step.add_to_mean(self._loss_tracker, loss * rows, rows)
        parts.update_metrics(y, y_pred, sample_weight)
        if self._logs_are_read:
            return self.get_metrics_result()  # type: ignore[no-any-return]
        return dict.fromkeys(parts.log_names)  # Keras looks at the names, and reads the metrics after the last batch

    def fit(self: Any, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """As ``keras.Model.fit``."""
        return self._with_quiet_logs("train", super().fit, *args, **kwargs)  # type: ignore[misc]

    def evaluate(self: Any, *args: Any, **kwargs: Any) -> Any:
        """As ``keras.Model.evaluate``."""
        return self._with_quiet_logs("test", super().evaluate, *args, **kwargs)  # type: ignore[misc]

    def _with_quiet_logs(self: Any, phase: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``method``, with metrics read at every batch only if somebody looks at them there."""
        call = inspect.signature(method).bind(*args, **kwargs)
        callbacks = call.arguments.get("callbacks")
        before = self._logs_are_read
        self._read_logs(_reads_every_batch(phase, callbacks, call.arguments.get("verbose", "auto")))
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            call.arguments["callbacks"] = [*keras.tree.flatten(callbacks or []), _InThisThread()]
        try:
            return method(*call.args, **call.kwargs)
        finally:
            self._read_logs(before)

    def _read_logs(self: Any, read: bool) -> None:
        self._logs_are_read = read

    def make_train_function(self: Any, force: bool = False) -> Any:
        """As in Keras, which calls it before the first batch; chooses the parts of the step."""
        if self.train_function is None or not self.jit_compile:  # what is compiled is kept
            self._parts = self._choose_parts()
        return super().make_train_function(force)  # type: ignore[misc]

    def make_test_function(self: Any, force: bool = False) -> Any:
        """As in Keras, which calls it before the first batch; chooses the parts of the step."""
        if self.test_function is None or self._parts is None:
            self._parts = self._choose_parts()
        return super().make_test_function(force)  # type: ignore[misc]

    def _should_torch_compile(self: Any) -> bool:
        """Keep Keras from compiling the whole step: ``jit_compile=True`` compiles the parts that a compiler takes."""
        return self._parts is None and super()._should_torch_compile()  # type: ignore[misc]

    _parts: Parts | None = None
    _logs_are_read = True

    def _choose_parts(self: Any) -> Parts | None:
        reasons: list[str] = []

        wrap = {"wrap": partial(torch.compile, dynamic=True)} if self.jit_compile else {}

        def choose(part: Callable[..., Any], keras_part: Any, **wrap: Any) -> Any:
            try:
                return part(self, **wrap)
            except fast_step.Unsupported as reason:
                reasons.append(str(reason))
                return keras_part

        overridden = [name for name in ("compute_loss", "compute_metrics") if _is_overridden(self, name)]
        if overridden or self.optimizer is None or not self.trainable_variables:
            self._say(overridden)
            return None
        parts = Parts(
            forward=choose(fast_step.forward, fast_step.keras_forward(self), **wrap),
            loss=choose(
                fast_step.loss, lambda y, y_pred, sample_weight: self.compute_loss(None, y, y_pred, sample_weight)
            ),
            update_metrics=choose(fast_step.metrics, self._compile_metrics and self._compile_metrics.update_state),
            update_weights=choose(fast_step.weights, self.optimizer.apply, **wrap),
            device=self.trainable_variables[0].value.device,
            log_names=tuple(self.get_metrics_result()),
        )
        self._say(reasons)
        return parts

    def _say(self: Any, reasons: list[str]) -> None:
        """Warn about each reason once in a model's life."""
        said = self.__dict__.setdefault("_said", [])
        if new := [reason for reason in reasons if reason not in said]:
            said.extend(new)
            warnings.warn(f"{type(self).__name__} takes Keras's own way for {', '.join(new)}", stacklevel=5)


class FastModel(FastStep, keras.Model):  # type: ignore[misc]
    """``keras.Model`` with the steps of ``FastStep``: ``FastModel(inputs, outputs)``, or subclass it.

    Saving: a model made of inputs and outputs is written as a plain Keras model, with its weights, compile settings
    and optimizer state. ``keras.saving.load_model`` returns a ``FastModel`` where k3torch has been imported, and a
    ``keras.Model`` elsewhere, on any backend, provided that the layers are Keras's own (and no ``FastModel`` among
    them: Keras names the weights of inner models by their class). A subclass is saved as itself, as in Keras: register
    it with ``keras.saving.register_keras_serializable``.

    A model that was saved as ``keras.Model`` loads as one. To train it by the fast step, keeping the optimizer state::

        fast = k3torch.FastModel(loaded.inputs, loaded.outputs)  # the same layers
        fast.compile(loaded.optimizer, loss="mse")
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a functional model of inputs and outputs, as ``keras.Model`` does."""
        # Left to itself, Keras would change the bases of FastModel, and with it all of its subclasses.
        functional = cls is FastModel and functional_init_arguments(args, kwargs)
        return super().__new__(_Functional if functional else cls, *args, **kwargs)

    def __init__(self, *args: Any, **kwargs: Any):
        if functional_init_arguments(args, kwargs) and not isinstance(self, _Functional):
            for kind in type(self).__mro__:
                if FastModel in kind.__bases__:
                    kind.__bases__ = tuple(_Functional if base is FastModel else base for base in kind.__bases__)
        super().__init__(*args, **kwargs)


class _Functional(FastModel, Functional):  # type: ignore[misc]
    """What ``FastModel(inputs, outputs)`` makes; it goes by the name that the user knows."""

    def __reduce__(self) -> tuple[Any, ...]:
        """As in Keras, through the public class: pickle finds classes by their names."""
        return FastModel._unpickle_model, super().__reduce__()[1]


class FastSequential(FastStep, keras.Sequential):  # type: ignore[misc]
    """``keras.Sequential`` with the steps of ``FastStep``; saved and loaded as ``FastModel`` is."""


_Functional.__name__ = _Functional.__qualname__ = "FastModel"
save_as(_Functional, "keras.models.Model")
save_as(FastSequential, "keras.models.Sequential")
keras.saving.get_custom_objects()["k3torch>FastFunctional"] = _Functional  # its name in earlier files


class _InThisThread(keras.callbacks.Callback):  # type: ignore[misc]
    """Makes Keras call callbacks here: the thread that it would use costs more, and fights the kernels for cores."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Do nothing, in a method that Keras sees is overridden."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Do nothing, in a method that Keras sees is overridden."""


def _is_overridden(model: keras.Model, method: str) -> bool:
    return getattr(type(model), method) is not getattr(keras.Model, method)


def _unpack(data: Any, device: torch.device) -> tuple[Any, Any, Any]:
    """Return x, y and sample_weight with all tensors on the device."""

    def move(value: Any) -> Any:
        if value is None:
            return None
        tensor = value if isinstance(value, torch.Tensor) else keras.ops.convert_to_tensor(value)
        return tensor if tensor.device == device else tensor.to(device, non_blocking=True)

    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor):
        return move(x), move(y), move(sample_weight)
    return keras.tree.map_structure(move, (x, y, sample_weight))  # type: ignore[no-any-return]


def _reads_every_batch(phase: str, callbacks: Any, verbose: Any) -> bool:
    """Tell whether somebody looks at the logs of single batches; ``phase`` is "train" or "test"."""
    if isinstance(callbacks, keras.callbacks.CallbackList):  # from inside fit, its progress bar included
        callbacks, verbose = [c for c in callbacks.callbacks if not isinstance(c, _InThisThread)], 0
    hooks = (f"on_{phase}_batch_end", *(["on_batch_end"] if phase == "train" else []))
    return verbose != 0 or any(
        not is_default(getattr(callback, hook)) for callback in keras.tree.flatten(callbacks or []) for hook in hooks
    )
