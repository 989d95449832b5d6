"""Trains the models of a cross-validation as one stack; ``fit_engine`` does it with Keras's ``fit``."""

from collections.abc import Sequence
import math
from typing import Any, NamedTuple

from k3torch.errors import InputError
from k3torch.stack import stateless
from k3torch.stack.compiled_models import StepGraphs
from k3torch.stack.model_stack import EpochResult, ModelStack
from k3torch.stack.reasons import UntraceableStep
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.fast_model import FastModel
from k3torch.training.keras_internals import MissingPart
from k3torch.training.python_state import reachable
from k3torch.validation.bag_samples import dense
from k3torch.validation.differences import difference_between_models
from k3torch.validation.jobs import Job
from k3torch.validation.result import score_index
from k3torch.validation.stopping import Stopping
import keras
import numpy as np
from numpy.typing import NDArray

MetricHistory = NDArray[np.float64]  # of one model, (2, metrics, epochs): training, validation


class Shared(NamedTuple):
    """How the jobs of a stack whose models differ in numbers share its graphs.

    Attributes:
        graphs: of each job.
        verified: whether these graphs were compared with Keras's own steps before.
    """

    graphs: Sequence[StepGraphs]
    verified: bool = False


# Largest stack, in bytes of state and samples; more models are trained in several stacks, one after another.
STACK_BYTES = 2 * 2**30


def why_not_stacked(models: Sequence[keras.Model]) -> str | None:
    """Return in a few words why the models cannot be trained as one stack, or None if nothing is known against it.

    These are the reasons that the comparison of a stack's first steps with Keras's own (``stack.verified_stack``)
    cannot detect.
    """
    model, optimizer = models[0], models[0].optimizer
    reasons = {
        # ``Samples`` has one array of inputs and one of targets.
        "the model has several inputs or outputs": any(
            len(getattr(model, ends, None) or [None]) != 1 for ends in ("inputs", "outputs")
        ),
        # The caller's methods may have effects besides their results: print, record, count.
        f"the model overrides {' and '.join(_overridden(model))}": _overridden(model),
        # Done at the end of an epoch, not in a step.
        "the optimizer averages weights (use_ema)": optimizer.use_ema,
        # Done after more steps than are compared.
        "the optimizer accumulates gradients": bool(optimizer.gradient_accumulation_steps),
        "the optimizer adapts the loss scale": isinstance(optimizer, keras.optimizers.LossScaleOptimizer),
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    if reason is not None:
        return reason
    differences = (difference_between_models(model, other) for other in models[1:])
    try:
        difference = next((found for found in differences if found), None)
    except MissingPart as missing:
        return str(missing)
    return difference and f"the models differ in more than their weights ({difference})"


def _overridden(model: keras.Model) -> list[str]:
    """Return the methods around a step that the model and its metrics do not have from Keras or from FastModel."""
    names = ("train_step", "test_step", "compute_loss", "compute_metrics", "fit", "evaluate", "reset_metrics")
    own = [n for n in names if getattr(type(model), n) not in (getattr(keras.Model, n), getattr(FastModel, n))]
    # A stack resets the sums of metrics itself.
    metrics = [item for item in reachable(model, through_functions=False) if isinstance(item, keras.Metric)]
    return own + [f"{m.name}.reset_state" for m in metrics if _is_own(type(m).reset_state)]


def _is_own(method: Any) -> bool:
    return not method.__module__.startswith("keras.")


def jobs_per_stack(jobs: Sequence[Job]) -> int:
    """Return how many jobs like the first, at most, are trained as one stack; more become several stacks."""
    return max(1, STACK_BYTES // _bytes_of(jobs[0]))


def stacked(
    jobs: Sequence[Job],
    batch_size: int,
    epochs: range,
    rules: Sequence[Stopping],
    bar: EpochBar,
    histories: list[MetricHistory],
    kept: list[int],
    required: bool = True,
    shared: Shared | None = None,
    last: bool = True,
) -> None:
    """Train all jobs at once, and append each one's metrics to ``histories``, the epoch of its weights to ``kept``.

    A history is NaN for the epochs that are not trained. ``bar``, which is open, goes on by the epochs of all stacks.

    Args:
        jobs: of models of one architecture.
        batch_size: samples in a batch.
        epochs: of each model, at most; from another than 0 on the models go on where they are.
        rules: for each job when it stops, or none.
        bar: for progress.
        histories: is extended.
        kept: is extended, also by the models of a stack that is interrupted.
        required: whether to train as a stack even where ``fit`` is faster.
        shared: for models that differ in numbers.
        last: whether the training ends with these epochs.

    Raises:
        reasons.UntraceableStep: if the step of such a model cannot be mapped over models, or, unless ``required``, if
            ``fit`` is faster; ``histories`` is then empty.
        reasons.NotCompiled: if the models differ in numbers and their step cannot be compiled.
    """
    stacks = math.ceil(len(jobs) / jobs_per_stack(jobs))
    size = math.ceil(len(jobs) / stacks)
    title, before = bar.title, bar.done
    bar.total = max(bar.total, before + len(epochs) * stacks)
    for number, start in enumerate(range(0, len(jobs), size)):
        if stacks > 1:
            bar.title, bar.done = f"stack {number + 1} of {stacks}", before + len(epochs) * number
        some = slice(start, start + size)
        graphs = None if shared is None else shared.graphs[some]
        stack = ModelStack(
            [job.model for job in jobs[some]], [dense(job.training) for job in jobs[some]],
            [dense(job.validation) for job in jobs[some]], batch_size, epochs.stop, bar.notice, bar.status, required,
            graphs, shared is not None and shared.verified,
        )  # fmt: skip
        _one_stack(stack, jobs[some], epochs, rules[some], bar, histories, kept, last)
    bar.title, bar.done = title, before + len(epochs) * stacks


def _one_stack(
    stack: ModelStack,
    jobs: Sequence[Job],
    epochs: range,
    rules: Sequence[Stopping],
    bar: EpochBar,
    histories: list[MetricHistory],
    kept: list[int],
    last: bool,
) -> None:
    for number, rule in enumerate(rules):
        rule.enter(stack, number)
    bar.status("training")
    table = np.full((len(jobs), 2, len(stack.names), epochs.stop), np.nan)
    histories += list(table)
    progress = _Progress(bar, stack.names, len(jobs), epochs)
    going = {number for number in range(len(jobs)) if not rules or not rules[number].stopped}
    progress.leave_out(len(jobs) - len(going))

    def report(done: EpochResult) -> bool:
        """Keep the metrics of an epoch; return whether any of its models is to be trained further."""
        values = np.stack([done.training, done.validation])  # (2, metrics, models)
        further = [keep(model, done.epoch, values[:, :, i]) for i, model in enumerate(done.models)]  # of all models
        return any(further)

    def keep(model: int, epoch: int, values: NDArray[Any]) -> bool:
        if rules and rules[model].stopped:
            return False
        table[model, :, :, epoch] = jobs[model].in_units(values)
        further = not rules or rules[model].after_epoch(epoch, stack.names, values)
        progress.add(model, epoch, table[model, 1, :, epoch], stopped=not further)
        return further

    try:
        stack.train(epochs, lambda model, epoch: jobs[model].order(epoch), report, going)
    finally:  # the models of an interrupted stack are trained as far as it came
        for rule in rules:
            rule.finish() if last else rule.leave()
        kept += [rule.kept for rule in rules] or [int(number) for number in progress.last_epochs]
        stack.unstack()


class _Progress:
    """Advances a bar when all models have completed an epoch, or have stopped before it."""

    def __init__(self, bar: EpochBar, names: Sequence[str], models: int, epochs: range):
        self._bar, self._score, self._first = bar, score_index(names), epochs.start
        self._label = f"mean val_{names[self._score]}"
        self._scores = np.full((models, len(epochs)), np.nan)  # of a model that has stopped: the last one
        self._waiting = np.full(len(epochs) + 1, models)  # for each epoch, the models that are not beyond it
        self._next = 0
        self.last_epochs = np.full(models, epochs.start - 1)

    def leave_out(self, models: int) -> None:
        """Wait for so many models less."""
        self._waiting[:-1] -= models

    def add(self, model: int, epoch: int, metrics: NDArray[np.float64], stopped: bool) -> None:
        """Take the validation metrics, (metrics,), of a model's epoch."""
        first = epoch - self._first
        span = slice(first, None if stopped else first + 1)
        self._scores[model, span] = metrics[self._score]
        self._waiting[:-1][span] -= 1
        self.last_epochs[model] = epoch
        while not self._waiting[self._next]:
            scores = self._scores[:, self._next]
            self._bar.advance({self._label: float(scores[self.last_epochs >= self._first].mean())})
            self._next += 1


def build(job: Job) -> None:
    """Create the variables that a model gets when it first sees data, where this version of Keras allows it.

    Raises:
        InputError: if the model cannot take these samples and targets, has no loss, or a metric with several values.
    """
    x, y, sample_weight = job.training.example()
    try:
        stateless.build(job.model, x, y, sample_weight)
    except UntraceableStep:
        return
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError, KeyError, AssertionError) as error:
        shapes = f"x of shape {(None, *x.shape[1:])} and y of shape {(None, *y.shape[1:])}"
        raise InputError(f"expected a model with a loss that takes {shapes}, got: {error}") from error
    if job.model.loss is None and "train_step" not in _overridden(job.model) and not _has_loss(job):
        raise InputError("expected build_model() to return a model with a loss, got none: pass loss to compile")
    for name, value in job.model.get_metrics_result().items():
        if np.ndim(value):
            raise InputError(
                f"expected metrics of a single value, got {name} with {np.size(value)}: set its average or "
                "class_aggregation"
            )


def _has_loss(job: Job) -> bool:
    """Return whether a model without a compiled loss has penalties, or a loss of its own, to minimise."""
    model, x, y = job.model, *map(keras.ops.convert_to_tensor, job.training.example()[:2])
    state = [(variable, variable.value) for variable in stateless.variables(model)]
    try:
        with keras.StatelessScope(state_mapping=state, collect_losses=True):
            model.compute_loss(x, y, model(x))
    except ValueError as error:
        return "No loss to compute" not in str(error)
    return True


def _bytes_of(job: Job) -> int:
    """Return the memory that one model of a stack takes: its state, the step's new state, its samples."""
    state = sum(v.value.nbytes for v in stateless.variables(job.model))
    samples = sum(part.nbytes for part in (job.training, job.validation))
    return int(2 * state + samples)
