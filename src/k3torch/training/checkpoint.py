"""Checkpoints of a run of ``fit``, from which it goes on as if it had not been interrupted: the same bits.

::

    model.fit(loader, epochs=50, resume="checkpoints")  # of a FastModel; run it again after an interruption

A checkpoint holds the model's variables and torch buffers, the optimizer's slots, the metrics' sums, the history, the
plain attributes of the callbacks (numbers, texts, arrays, and containers of these), the states of all random
generators, and the place in the epoch. The interrupted epoch goes on at its next batch: the generators are set to
their states at its beginning, so that the same order is drawn, and the batches that are done are passed over.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
import inspect
from pathlib import Path
from typing import Any

from k3torch import processes
from k3torch.errors import InputError, count_problem, refuse
from k3torch.training import checkpoint_state as state
from k3torch.training import shared_checkpoint as shared
from k3torch.training.checkpoint_file import CheckpointFolder, fitting
from k3torch.training.checkpoint_run import FORMAT, Settings, check_data, settings_of_run, stored_checkpoint
from k3torch.training.distributed import callbacks_of_process, own_seed, set_own_seed
import keras

_SECONDS = 60.0  # least time between two checkpoints within an epoch, for every="auto"
_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")


class ExactCheckpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes checkpoints from which ``fit`` goes on bit for bit; the last two are kept.

    It works in ``FastModel.fit``, and in ``resume_fit`` for any other Keras model. It acts after all other callbacks.
    Of several processes (``torch.distributed``), which all have it, the first one writes the state of all.

    Args:
        folder: of the checkpoints; made if missing.
        every: "auto": at the end of an epoch, and each minute within a long one, but no more often than writing the
            checkpoints takes 1% of the time; and at the end of the last epoch. "epoch": at the end of each epoch. A
            number of batches: after as many within an epoch, and at the end of each epoch.
        register: is called with the path of each checkpoint before it is written, or None.

    Raises:
        InputError: for any other ``every``, and a folder that is a file.
    """

    def __init__(self, folder: str | Path, every: str | int = "auto", register: Callable[[Path], object] | None = None):
        super().__init__()
        if every not in ("auto", "epoch"):
            refuse([count_problem("every as 'auto', 'epoch' or", every)])
        self.folder = CheckpointFolder(folder, register)
        self.every = every
        self._run: _Run | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Load the checkpoint to go on from, if there is one."""
        if self._run is None:
            raise InputError(
                "expected ExactCheckpoint in the fit of a FastModel, got it in another fit: "
                "call k3torch.training.checkpoint.resume_fit(model, folder, ...) instead of model.fit(...)"
            )
        self._run.begin()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Note the states of the random generators, from which the epoch draws its order."""
        if self._run is not None:
            self._run.begin_epoch(epoch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a checkpoint if one is due, and end the passing over of batches that are done."""
        if self._run is not None:
            self._run.end_batch(batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write a checkpoint if one is due."""
        if self._run is not None:
            self._run.end_epoch(epoch + 1)


class _Run:
    """One call of ``fit`` with a checkpoint.

    Args:
        checkpoint: the callback.
        model: compiled.
        arguments: of ``fit``, by name.
        callbacks: all others of the caller that this process calls, and Keras's History.
        settings: what has to be the same when the run is resumed.
        stored: the number and the content of the checkpoint to go on from, or None.
    """

    def __init__(
        self,
        checkpoint: ExactCheckpoint,
        model: keras.Model,
        arguments: Mapping[str, Any],
        callbacks: list[Any],
        settings: Settings,
        stored: tuple[int, dict[str, Any]] | None,
    ):
        self._checkpoint, self._model, self._callbacks, self._settings = checkpoint, model, callbacks, settings
        self._data = [arguments.get("x"), arguments.get("validation_data")]
        self._number = stored[0] if stored else 0
        self._stored = stored[1] if stored else None
        with fitting():
            self._own = self._stored["processes"][processes.rank()] if self._stored else {}
        self._to_skip = self._stored["batches"] if self._stored else 0
        self._epoch = 0
        self._epoch_start: Any = None
        self._undo: list[Callable[[], None]] = []

    @property
    def _where(self) -> Path:
        return self._checkpoint.folder.file(self._number)

    def begin(self) -> None:
        self._python = state.PythonValues(self._model)
        if self._stored:
            self._load(self._stored)
            self._logs = self._model.get_metrics_result()  # what Keras's bar shows while batches are passed over

    def begin_epoch(self, epoch: int) -> None:
        self._epoch = epoch
        if self._to_skip and self._stored:
            with fitting():
                state.set_random_values(self._own["epoch start"], self._data)
            self._pass_over_batches()
        self._epoch_start = state.random_values(self._data)

    def end_batch(self, done: int) -> None:
        """``done``: how many batches of the epoch are done."""
        if self._to_skip and self._stored:
            if done == self._to_skip:
                self._to_skip = 0
                self.put_back()
                self._load(self._stored)
            return
        every, last = self._checkpoint.every, done == self._checkpoint.params.get("steps")
        if every == "epoch" or last or self._model.stop_training:
            return
        due = shared.is_due(self._checkpoint.folder, _SECONDS, done) if every == "auto" else done % int(every) == 0
        if due:
            self.write(self._epoch, done)

    def end_epoch(self, done: int) -> None:
        """``done``: how many epochs are done."""
        last = done == self._checkpoint.params.get("epochs") or self._model.stop_training
        if last or self._checkpoint.every != "auto" or shared.is_due(self._checkpoint.folder):
            self.write(done, batches=0)

    def write(self, epoch: int, batches: int) -> None:
        """Write a checkpoint; ``epoch`` is the one to go on with, from 0, ``batches`` how many of it are done."""
        self._number += 1
        content = {
            "format": FORMAT,
            "settings": self._settings,
            "epoch": epoch,
            "batches": batches,
            "stopped": bool(self._model.stop_training),
            "model": state.model_values(self._model),
        }
        own = {
            "tensors": shared.own_tensors(self._model),
            "python": self._python.values(),
            "callbacks": state.callback_values(self._callbacks),
            "random": state.random_values(self._data),
            "epoch start": self._epoch_start if batches else None,
            "seed": own_seed(),
        }
        of_all = shared.of_all(own)
        if processes.is_main():
            self._checkpoint.folder.write(self._number, content | {"processes": of_all})

    @fitting()
    def _load(self, stored: dict[str, Any]) -> None:
        state.load_model_values(self._model, stored["model"], self._where)
        shared.load_own_tensors(self._model, self._own["tensors"])
        state.load_callback_values(self._callbacks, self._own["callbacks"])
        self._python.load(self._own["python"])
        state.set_random_values(self._own["random"], self._data)
        set_own_seed(self._own["seed"])

    def _pass_over_batches(self) -> None:
        """Have ``fit`` fetch the batches that are done, without a step and without the caller's callbacks."""
        self._replace(self._model, "train_function", lambda _: dict(self._logs))
        for each in self._callbacks:
            for hook in _BATCH_HOOKS:
                self._replace(each, hook, lambda *_, **__: None)

    def _replace(self, owner: Any, name: str, value: Any) -> None:
        if name in vars(owner):
            before = vars(owner)[name]
            self._undo.append(lambda: setattr(owner, name, before))
        else:
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, value)

    def put_back(self) -> None:
        """Put back what stands in for methods while batches are passed over."""
        while self._undo:
            self._undo.pop()()


def resume_fit(model: keras.Model, folder: str | Path | None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
    """As ``model.fit(*args, **kwargs)``, from the newest checkpoint in ``folder``; without one, from the beginning.

    After an interruption, build the same model and the same data and call it again: weights, history and everything
    else will be those of a run without interruption, bit for bit on the same machine and versions. Checkpoints are
    written as ``ExactCheckpoint(folder)`` does, unless ``callbacks`` has one that says when. ``x`` is a DataLoader or
    arrays. ``epochs`` may be larger than before.

    Args:
        model: any compiled Keras model.
        folder: of the checkpoints. None begins a new run, whose ``callbacks`` have an ``ExactCheckpoint``.
        args: of ``model.fit``.
        kwargs: of ``model.fit``.

    Returns:
        As ``fit``: the history of all epochs, those before the interruption included.

    Raises:
        InputError: for a checkpoint of another model, optimizer, data set or batch size, of other callbacks or
            versions, or of another number of processes; for data whose place in the epoch cannot be found again; for a
            folder that another run uses or that cannot be written to; if all checkpoints are damaged; and in several
            processes for a model that is no ``FastModel``.
    """
    if "resume" in inspect.signature(model.fit).parameters:
        return model.fit(*args, resume=folder, **kwargs)
    if processes.count() > 1:
        raise InputError(f"expected a FastModel for checkpoints of several processes, got {type(model).__name__}")
    return fit_with_checkpoints(model, model.fit, folder, *args, **kwargs)


def fit_with_checkpoints(
    model: keras.Model, fit: Callable[..., Any], resume: str | Path | None, *args: Any, **kwargs: Any
) -> keras.callbacks.History:
    """Call ``fit``, the method of ``model``, with the checkpoints that ``resume`` and the callbacks ask for.

    ``resume`` is None for a run from the beginning. For the other arguments, and the exceptions, see ``resume_fit``.
    """
    call = inspect.signature(keras.Model.fit).bind(model, *args, **kwargs)
    given = keras.tree.flatten(call.arguments.get("callbacks") or [])
    checkpoints = [each for each in given if isinstance(each, ExactCheckpoint)]
    if resume is None and not checkpoints:
        return fit(*args, **kwargs)
    check_data(call.arguments)
    checkpoint = _only_checkpoint(checkpoints, resume)
    others = [each for each in given if each is not checkpoint]
    settings = settings_of_run(model, call.arguments, others)
    if not any(isinstance(each, keras.callbacks.History) for each in others):
        others.append(keras.callbacks.History())  # Keras would append it after the checkpoint
    with ExitStack() as claim:

        def opened() -> tuple[int, dict[str, Any]] | None:  # of several processes the first one calls it
            claim.enter_context(checkpoint.folder.claimed())
            return stored_checkpoint(checkpoint.folder, resume, settings, int(call.arguments.get("epochs", 1)))

        stored = shared.of_first(opened)
        if stored is not None:
            stopped, epochs = stored[1]["stopped"], call.arguments.get("epochs", 1)
            call.arguments["initial_epoch"] = epochs if stopped else stored[1]["epoch"]
        call.arguments["callbacks"] = [*others, checkpoint]
        own = callbacks_of_process(others)
        checkpoint._run = run = _Run(checkpoint, model, call.arguments, own, settings, stored)
        loggers = [each for each in others if isinstance(each, keras.callbacks.CSVLogger)]
        append = [each.append for each in loggers]
        try:
            for each in loggers:
                each.append = each.append or stored is not None
            return fit(*call.args[1:], **call.kwargs)
        finally:
            run.put_back()
            checkpoint._run = None
            for each, before in zip(loggers, append, strict=True):
                each.append = before


def _only_checkpoint(checkpoints: list[ExactCheckpoint], resume: str | Path | None) -> ExactCheckpoint:
    if len(checkpoints) > 1:
        raise InputError(f"expected one ExactCheckpoint among the callbacks, got {len(checkpoints)}")
    if not checkpoints:
        assert resume is not None
        return ExactCheckpoint(resume)
    (checkpoint,) = checkpoints
    if resume is not None and CheckpointFolder(resume).path.resolve() != checkpoint.folder.path.resolve():
        raise InputError(
            f"expected resume and ExactCheckpoint with the same folder, got {resume} and {checkpoint.folder.path}"
        )
    return checkpoint
