"""A Keras model with its train_step overridden, without the checks that Keras repeats every step."""

from collections.abc import Callable
from functools import partial
import inspect
from pathlib import Path
from typing import Any
import warnings

from k3torch import processes
from k3torch.training.asynchronous import asynchronous, device_of, inputs_of, unpacked
from k3torch.training.checkpoint import fit_with_checkpoints
from k3torch.training.distributed import prepare_call
from k3torch.training.keras_internals import Functional, functional_init_arguments
from k3torch.training.progress import RichProgress, displays
from k3torch.training.sampled_rows import verify_on_rows
from k3torch.training.saving import save_as
from k3torch.training.shared_verification import ProcessStep, changed_in_any, verified_choice
from k3torch.training.sparse_inputs import refuse_matrices
from k3torch.training.sparse_updates import DENSE_STEPS, is_sparse
from k3torch.training.step_callbacks import (
    AfterCallbacks,
    BeforeCallbacks,
    any_batch_hook,
    callbacks_of_predict,
    reader_within_epochs,
    reads_every_batch,
)
from k3torch.training.step_parts import Parts, settings_of
from k3torch.training.step_threads import threads_for, threads_of_sparse_step
from k3torch.training.verified_step import Kind, Logs
import keras
import torch


class FastStep(ProcessStep):
    """The two overridden steps; in the bases of your own class, put it before the Keras model class.

    The results are those of Keras's own steps up to float32 rounding. Three things make it fast: each part of a
    step leaves out the checks that Keras repeats every step (``k3torch.training.fast_step``); metrics become Python
    numbers once an epoch, unless a progress bar or a callback reads them after every batch; and batches are copied to
    the device asynchronously. ``compile(jit_compile=True)`` applies ``torch.compile`` to the optimizer and to the
    layers after the first.

    The fast step is compared with Keras's own on the first two training batches and the first test batch of each
    kind (``k3torch.training.verified_step``). A part that is not supported, or that differs, falls back to Keras, with
    one warning.

    Of several processes (``torch.distributed``) each trains on its part of a batch, and gradients and metrics are those
    of all samples: see ``k3torch.training.distributed``.
    """

    def train_step(self: Any, data: Any) -> Logs:
        """Train on one batch, ``(x, y)`` or ``(x, y, sample_weight)``, and return the metrics so far."""
        if self._parts is None:
            with asynchronous(device_of(self)):
                return super().train_step(data)  # type: ignore[misc,no-any-return]
        sparse = self._takes_sparse_step(data, self._parts)
        if sparse and self._verification.is_due("sparse train", data):
            if logs := self._verified_on_rows("sparse train", data, super().train_step, self._fast_train_step):  # type: ignore[misc]
                return logs  # type: ignore[no-any-return]
            sparse = False
        if not sparse and self._verification.is_due("train", data):
            self._catch_up()
            return self._verified("train", data, super().train_step, self._fast_train_step)  # type: ignore[misc,no-any-return]
        return self._captured_or(self._fast_train_step, "train", data)  # type: ignore[no-any-return]

    def test_step(self: Any, data: Any) -> Logs:
        """Evaluate one batch and return the metrics so far."""
        if self._parts is None:
            with asynchronous(device_of(self)):
                return super().test_step(data)  # type: ignore[misc,no-any-return]
        sparse = self._parts.sparse is not None and self._parts.sparse.suits(inputs_of(data))
        if sparse and self._verification.is_due("sparse test", data):
            if logs := self._verified_on_rows("sparse test", data, super().test_step, self._fast_test_step):  # type: ignore[misc]
                return logs  # type: ignore[no-any-return]
            sparse = False
        if not sparse and self._verification.is_due("test", data):
            return self._verified("test", data, super().test_step, self._fast_test_step)  # type: ignore[misc,no-any-return]
        return self._captured_or(self._fast_test_step, "test", data)  # type: ignore[no-any-return]

    def _captured_or(self: Any, step: Callable[[Any, Parts], Logs], kind: Kind, data: Any) -> Logs:
        """Take a verified step, by a CUDA graph where that is possible."""
        parts: Parts = self._parts
        if parts.captured is not None and parts.captured.take(kind, data, lambda batch: step(batch, parts)):
            return self._logs(parts)  # type: ignore[no-any-return]
        with asynchronous(parts.device):
            return step(data, parts)

    def _fast_train_step(self: Any, data: Any, parts: Parts) -> Logs:
        if self._takes_sparse_step(data, parts):
            with threads_of_sparse_step(self, data[0]):
                return self._step_with(parts.sparse, data, parts)  # type: ignore[no-any-return]
        if parts.sparse is not None:
            parts.sparse.catch_up()
        return self._step_with(parts, data, parts)  # type: ignore[no-any-return]

    def _step_with(self: Any, step: Any, data: Any, parts: Parts) -> Logs:
        """Train on a batch with the forward pass and the update of ``step``, and all else from ``parts``."""
        x, y, sample_weight = unpacked(data, parts.device)
        y_pred = step.forward(x, True)
        loss = parts.loss(y, y_pred, sample_weight)
        for parameter in parts.parameters:
            parameter.grad = None
        self.optimizer.scale_loss(loss).backward()
        with torch.no_grad():
            step.update_weights([variable.value.grad for variable in parts.variables], parts.variables)
            return self._track(parts, loss, x, y, y_pred, sample_weight)  # type: ignore[no-any-return]

    def _takes_sparse_step(self: Any, data: Any, parts: Parts) -> bool:
        """Return whether to train on a batch by a step on the rows of the first kernel that occur in it."""
        if parts.sparse is None and parts.dense_reason is None:
            return False
        reason, x = parts.dense_reason or self._dense_reason, inputs_of(data)
        if reason is None and parts.sparse is not None:
            return parts.sparse.suits(x)
        if reason and is_sparse(x):
            self._say([reason], DENSE_STEPS)
        return False

    def _catch_up(self: Any) -> None:
        """Bring all weights and optimizer variables up to date, before they are read."""
        if self._parts is not None and self._parts.sparse is not None:
            self._parts.sparse.catch_up()

    def _fast_test_step(self: Any, data: Any, parts: Parts) -> Logs:
        x, y, sample_weight = unpacked(data, parts.device)
        y_pred = parts.forward(x, False)
        loss = parts.loss(y, y_pred, sample_weight)
        return self._track(parts, loss, x, y, y_pred, sample_weight)  # type: ignore[no-any-return]

    def _verified(self: Any, kind: Kind, data: Any, keras_step: Callable[[Any], Logs], fast_step: Any) -> Logs:
        """Take the step as Keras does and with the parts, and fall back to Keras for those that differ."""
        steps = partial(keras_step, data), partial(fast_step, data)
        outcome = self._verification.run(self, kind, data, self._parts, *steps)
        self._parts = outcome.parts
        self._say(outcome.reasons)
        return outcome.logs  # type: ignore[no-any-return]

    def _verified_on_rows(self: Any, kind: Kind, data: Any, keras_step: Callable[[Any], Logs], fast_step: Any) -> Logs:
        """Take the fast step and compare it with Keras's on some rows; return nothing if they differ: none is taken."""
        self._catch_up()
        fast = partial(fast_step, data, self._parts)
        outcome = verify_on_rows(self, self._verification, kind, data, self._parts, keras_step, fast)
        self._parts = outcome.parts
        self._say(outcome.reasons)
        return outcome.logs

    def _track(self: Any, parts: Parts, loss: torch.Tensor, x: Any, y: Any, y_pred: Any, sample_weight: Any) -> Logs:
        samples = len(x) if isinstance(x, torch.Tensor) else len(keras.tree.flatten(x)[0])
        parts.add_to_loss(loss * samples, samples)
        parts.update_metrics(y, y_pred, sample_weight)
        return self._logs(parts)  # type: ignore[no-any-return]

    def _logs(self: Any, parts: Parts) -> Logs:
        # Keras looks at the names, and reads the metrics after the last batch.
        return self.get_metrics_result() if self._logs_are_read else dict.fromkeys(parts.log_names)

    def fit(self: Any, *args: Any, resume: str | Path | None = None, **kwargs: Any) -> keras.callbacks.History:
        """As ``keras.Model.fit``, except for ``resume`` and for ``verbose="auto"``, the default.

        ``resume`` is a folder of checkpoints: training goes on from the newest of them, bit for bit, and writes further
        ones; see ``k3torch.training.checkpoint.resume_fit``. Without checkpoints in the folder, training begins.

        "auto" shows one bar over all epochs on a terminal and in a notebook, and elsewhere prints Keras's line for each
        epoch (``verbose=2``). Inside of another bar of k3torch it shows nothing. 0, 1 and 2 are as in Keras; with 1
        Keras's bar reads the metrics after every batch, which takes time.
        """
        fit = partial(self._with_quiet_logs, "train", super().fit)  # type: ignore[misc]
        return fit_with_checkpoints(self, fit, resume, *args, **kwargs)

    def evaluate(self: Any, *args: Any, **kwargs: Any) -> Any:
        """As ``keras.Model.evaluate``; ``verbose="auto"`` shows Keras's bar on a terminal and in a notebook only."""
        return self._with_quiet_logs("test", super().evaluate, *args, **kwargs)  # type: ignore[misc]

    def predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        """As ``keras.Model.predict``; ``verbose="auto"`` shows Keras's bar on a terminal and in a notebook only."""
        self._catch_up()
        call = inspect.signature(super().predict).bind(*args, **kwargs)  # type: ignore[misc]
        refuse_matrices(call.arguments)
        call.arguments["verbose"] = verbose = displays("predict", call.arguments.get("verbose", "auto"), [])[0]
        call.arguments["callbacks"] = callbacks_of_predict(self, call.arguments.get("callbacks"), verbose)
        threads = threads_for(self, call.arguments["x"], call.arguments.get("batch_size"))
        with threads, asynchronous(device_of(self)):
            return super().predict(*call.args, **call.kwargs)  # type: ignore[misc]

    def _with_quiet_logs(self: Any, phase: str, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``method``, with metrics computed after every batch only if something reads them there."""
        call = inspect.signature(method).bind(*args, **kwargs)
        refuse_matrices(call.arguments)
        callbacks = call.arguments.get("callbacks")
        bars: list[RichProgress] = []
        self._catch_up()
        before = self._logs_are_read
        own_step = getattr(type(self), f"{phase}_step") is not getattr(FastStep, f"{phase}_step")
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            given = keras.tree.flatten(callbacks or [])
            call.arguments["verbose"], bars = displays(phase, call.arguments.get("verbose", "auto"), given)
            dense = "a train_step of its own" if own_step else reader_within_epochs(given)
            # without callbacks nothing reads weights before the end of the epoch
            before_callbacks = [BeforeCallbacks()] if given else []
            after = AfterCallbacks(any_batch_hook(phase, given), dense)
            call.arguments["callbacks"] = [*before_callbacks, *given, *bars, after]
        self._logs_are_read = own_step or reads_every_batch(phase, callbacks, call.arguments.get("verbose"))
        try:
            if processes.count() > 1:
                self._logs_are_read = prepare_call(self, phase, call.arguments)
            with threads_for(self, call.arguments.get("x"), call.arguments.get("batch_size")):
                return method(*call.args, **call.kwargs)
        finally:
            self._logs_are_read = before
            if phase == "train":
                self._dense_reason = ""
                self._catch_up()
            for bar in bars:
                bar.close()

    def make_train_function(self: Any, force: bool = False) -> Any:
        """As in Keras, which calls it before the first batch; chooses the parts of the step."""
        self._prepare_parts()
        return super().make_train_function(force)  # type: ignore[misc]

    def make_test_function(self: Any, force: bool = False) -> Any:
        """As in Keras, which calls it before the first batch; chooses the parts of the step."""
        self._prepare_parts()
        return super().make_test_function(force)  # type: ignore[misc]

    def _prepare_parts(self: Any) -> None:
        """Choose the parts again, to be verified again, if anything that the choice depends on has changed."""
        settings = settings_of(self)
        if not changed_in_any(settings != self._chosen_for):
            return
        self._catch_up()
        self._chosen_for = settings
        self._parts, self._verification, reasons = verified_choice(self)
        self._say(reasons)

    def _should_torch_compile(self: Any) -> bool:
        """Keep Keras from compiling the whole step: with ``jit_compile=True``, ``step_parts`` compiles two parts."""
        return self._parts is None and super()._should_torch_compile()  # type: ignore[misc]

    _parts: Parts | None = None
    _chosen_for: Any = None
    _logs_are_read = True
    # What keeps rows of the first kernel from lagging behind (training/sparse_updates.py); "" is that no fit runs.
    _dense_reason: str | None = ""

    def _say(self: Any, reasons: list[str], sentence: str = "falls back to Keras for {}") -> None:
        """Warn about each reason once in a model's life."""
        said = self.__dict__.setdefault("_said", [])
        if new := [reason for reason in reasons if reason not in said]:
            said.extend(new)
            warnings.warn(f"{type(self).__name__} {sentence.format(', '.join(new))}", stacklevel=5)


class FastModel(FastStep, keras.Model):  # type: ignore[misc]
    """``keras.Model`` with the steps of ``FastStep``: ``FastModel(inputs, outputs)``, or subclass it.

    Saving: ``FastModel(inputs, outputs)`` is saved as a plain Keras model, with its weights, compile settings and
    optimizer state. After ``import k3torch``, ``keras.saving.load_model`` returns a ``FastModel``. Without k3torch it
    returns a ``keras.Model``, on any backend, if all layers are Keras's own and none of them is a ``FastModel`` (Keras
    names the weights of inner models by their class). A subclass of ``FastModel`` is saved under its own name, as in
    Keras: register it with ``keras.saving.register_keras_serializable``.

    A model that was saved as ``keras.Model`` loads as one. To train it by the fast step, keeping the optimizer state::

        fast = k3torch.FastModel(loaded.inputs, loaded.outputs)  # the same layers
        fast.compile(loaded.optimizer, loss="mse")
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make a functional model of inputs and outputs, as ``keras.Model`` does."""
        # Keras's own __new__ would change the bases of FastModel, and so all of its subclasses.
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
