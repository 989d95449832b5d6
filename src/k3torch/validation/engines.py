"""Trains the models of a cross-validation as one stack; ``fit_engine`` does it with Keras's ``fit``."""

from collections.abc import Hashable, Sequence
import math
from typing import Any, NamedTuple

from k3torch.errors import InputError
from k3torch.stack import stateless
from k3torch.stack.model_stack import ModelStack
from k3torch.stack.reasons import UntraceableStep
from k3torch.stack.traced_steps import StepGraphs
from k3torch.training.checkpoint_state import model_values
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.fast_model import FastModel
from k3torch.training.keras_internals import MissingPart
from k3torch.training.python_state import is_own, reachable
from k3torch.validation.bag_samples import dense
from k3torch.validation.checkpoints import Current
from k3torch.validation.differences import difference_between_models
from k3torch.validation.jobs import Job
from k3torch.validation.stack_checkpoint import finished
from k3torch.validation.stack_training import MetricHistory, load_finished, one_stack
from k3torch.validation.stopping import Stopping
import keras
import numpy as np


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
    current: Current | None = None,
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
        current: what is stored of this training in checkpoints.

    Raises:
        reasons.UntraceableStep: if the step of such a model cannot be mapped over models, or, unless ``required``, if
            ``fit`` is faster; ``histories`` is then empty.
        reasons.NotCompiled: if the models differ in numbers and their step cannot be compiled.
    """
    stacks = math.ceil(len(jobs) / jobs_per_stack(jobs))
    size = math.ceil(len(jobs) / stacks)
    title, before = bar.title, bar.done
    bar.total = max(bar.total, before + len(epochs) * stacks)
    current = Current() if current is None else current
    for number, start in enumerate(range(0, len(jobs), size)):
        if stacks > 1:
            bar.title, bar.done = f"stack {number + 1} of {stacks}", before + len(epochs) * number
        some = slice(start, start + size)
        if load_finished(current, start, jobs[some], rules[some], histories, kept):
            continue
        graphs, verified = (None, False) if shared is None else (shared.graphs[some], shared.verified)
        kinds = None if verified else _kinds([job.model for job in jobs[some]], graphs)
        stack = ModelStack(
            [job.model for job in jobs[some]], [dense(job.training) for job in jobs[some]],
            [dense(job.validation) for job in jobs[some]], batch_size, epochs.stop, bar.notice, bar.status,
            required or current.engine is not None, graphs, verified, kinds, current.compiled,
        )  # fmt: skip
        current.compiled_as(stack.compiled)
        one_stack(stack, jobs[some], epochs, rules[some], bar, histories, kept, last, start, current)
        if current.is_stored and stacks > 1:
            for job in range(start, start + len(jobs[some])):
                values = model_values(jobs[job].model)
                current.jobs[job] = finished(values, histories[job], kept[job], rules[job] if rules else None)
    bar.title, bar.done = title, before + len(epochs) * stacks


def _kinds(models: Sequence[keras.Model], graphs: Sequence[StepGraphs] | None) -> list[Hashable]:
    """Return for each model a key that is equal for models that differ in nothing but their weights.

    Models without graphs have equal configurations (``why_not_stacked``), and so have those of a candidate, which share
    its graphs. For Keras's own objects that is enough. An object of the caller's may hold more than its configuration
    shows, so models have the same key only if they hold the same ones, such as a loss function.
    """
    own = [frozenset(id(item) for item in reachable(model) if is_own(item)) for model in models]
    return list(zip([None] * len(own) if graphs is None else map(id, graphs), own, strict=True))


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
