"""Two ways to train the models of a cross-validation: as one stack, or with Keras's ``fit`` one after another."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
import json
import re
from typing import Any

from k3torch.data.loaders import BatchedTensors, identity
from k3torch.stack import stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.model_stack import ModelStack
from k3torch.training.fast_model import FastModel
from k3torch.training.progress import EpochBar, RichProgress
import keras
import numpy as np
from numpy.typing import NDArray
import torch
from torch.utils.data import DataLoader, Sampler

Figures = NDArray[np.float64]
Order = NDArray[np.int64]
EpochOrder = Callable[[int], Order]

# Largest stack, in bytes of state and rows; more models are trained in several stacks, one after another.
STACK_BYTES = 2 * 2**30


@dataclass(frozen=True)
class Job:
    """One model to train: its rows, and the order of the rows in each epoch."""

    model: keras.Model
    training: Samples
    validation: Samples
    order: EpochOrder


def why_not_stacked(models: Sequence[keras.Model]) -> str | None:
    """Return in a few words why a stack would not give just what ``fit`` gives, or None where it does."""
    model = models[0]
    optimizer = model.optimizer
    reasons = {
        "the model is no Sequential or functional one": not hasattr(model, "inputs"),
        "the model has several inputs or outputs": any(
            len(getattr(model, ends, [None])) != 1 for ends in ("inputs", "outputs")
        ),
        "the model has a step, loss or metrics of its own": _overrides(model),
        f"{type(optimizer).__name__} is not exact in a stack": _unfit(optimizer),
        "the optimizer averages weights (use_ema)": optimizer.use_ema,
        "the optimizer accumulates gradients": bool(optimizer.gradient_accumulation_steps),
        "the optimizer scales the loss (loss_scale_factor)": optimizer.loss_scale_factor is not None,
    }
    reason = next((reason for reason, holds in reasons.items() if holds), None)
    if reason is None and len(set(map(_plan, models))) > 1:
        reason = "the models differ in more than their weights"
    return reason


def _plan(model: keras.Model) -> str:
    """Return all that makes the model but its weights and the names and seeds that Keras makes up."""
    parts = (model.get_config(), model.optimizer.get_config(), model.get_compile_config())
    text = json.dumps(parts, default=str, sort_keys=True)
    for number, layer in enumerate(model.layers):
        text = text.replace(f'"{layer.name}"', f'"layer {number}"')
    text = re.sub(r'("name": "[^"]*?)_\d+"', r'\1"', text)  # the second AUC of a program is auc_1
    return re.sub(r'"seed": -?\d+', '"seed": 0', text)


def _overrides(model: keras.Model) -> bool:
    names = ("train_step", "test_step", "compute_loss", "compute_metrics")
    return any(getattr(type(model), n) not in (getattr(keras.Model, n), getattr(FastModel, n)) for n in names)


def _unfit(optimizer: keras.Optimizer) -> bool:
    # Nadam's running product of momenta turns into NaN when it is stacked.
    refused = (keras.optimizers.Adafactor, keras.optimizers.Nadam, keras.optimizers.LossScaleOptimizer)
    return isinstance(optimizer, refused)


def stacked(
    jobs: Sequence[Job], batch_size: int, epochs: int, notice: Callable[[str], None], figures: list[Figures]
) -> None:
    """Train all jobs at once, and append to ``figures`` those of each.

    They are of shape (2, metrics, epochs), of training and of validation; NaN as long as an epoch is not done.

    Raises:
        graphs.UntraceableStep: if the step of such a model cannot be mapped over models; ``figures`` is then empty.
    """
    together = max(1, STACK_BYTES // _bytes_of(jobs[0]))
    stacks = -(-len(jobs) // together)
    size = -(-len(jobs) // stacks)
    with EpochBar("cross-validation", epochs * stacks) as bar:
        for start in range(0, len(jobs), size):
            _one_stack(jobs[start : start + size], batch_size, epochs, notice, figures, bar)


def _one_stack(
    jobs: Sequence[Job],
    batch_size: int,
    epochs: int,
    notice: Callable[[str], None],
    figures: list[Figures],
    bar: EpochBar,
) -> None:
    models, training = [job.model for job in jobs], [job.training for job in jobs]
    stack = ModelStack(models, training, [job.validation for job in jobs], batch_size, epochs, notice)
    table = np.full((len(jobs), 2, len(stack.names), epochs), np.nan)
    figures += list(table)
    score = min(1, len(stack.names) - 1)
    for epoch in range(epochs):
        table[:, 0, :, epoch] = stack.train_epoch([job.order(epoch) for job in jobs]).T
        table[:, 1, :, epoch] = stack.evaluate().T
        bar.advance({f"mean val_{stack.names[score]}": float(table[:, 1, score, epoch].mean())})
    stack.unstack()


def _bytes_of(job: Job) -> int:
    """Return the memory that one model of a stack takes: its state, the step's new state, its rows."""
    stateless.build(job.model, job.training.x, job.training.y, job.training.sample_weight)
    state = sum(v.value.nbytes for v in stateless.variables(job.model))
    rows = sum(part.x.nbytes + part.y.nbytes for part in (job.training, job.validation))
    return int(2 * state + rows)


def fit(jobs: Sequence[Job], batch_size: int, epochs: int, callbacks: Sequence[Any], figures: list[Figures]) -> None:
    """Train one job after another with ``fit``, and append to ``figures`` those of each, as ``stacked`` does.

    The epochs that a callback cuts off are NaN.
    """
    for number, job in enumerate(jobs, start=1):
        sampler = _Ordered(job.order)
        bar = RichProgress(f"model {number} of {len(jobs)}")
        try:
            job.model.fit(
                _loader(job.training, batch_size, sampler),
                validation_data=_loader(job.validation, 4096),
                epochs=epochs,
                callbacks=[*callbacks, sampler.follow, bar],
                shuffle=False,
                verbose=0,
            )
        finally:
            bar.close()
            if isinstance(getattr(job.model, "history", None), keras.callbacks.History):  # not if it failed to start
                figures.append(_table(job.model, epochs))


def _table(model: keras.Model, epochs: int) -> Figures:
    """Return what ``fit`` has noted so far as (2, metrics, epochs)."""
    history, names = model.history.history, stateless.metric_names(model)
    table = np.full((2, len(names), epochs), np.nan)
    for i, name in enumerate(names):
        for j, prefix in enumerate(("", "val_")):
            values = history.get(prefix + name, [])
            table[j, i, : len(values)] = values
    return table


class _Ordered(Sampler[int]):
    """Yields the rows in the order of the epoch that ``fit`` is in."""

    def __init__(self, order: EpochOrder):
        self.order = order
        self.epoch = 0
        self.follow = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)

    def _begin(self, epoch: int, _: Any) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        yield from self.order(self.epoch).tolist()

    def __len__(self) -> int:
        return len(self.order(0))


def _loader(rows: Samples, batch_size: int, sampler: Sampler[int] | None = None) -> DataLoader[Any]:
    parts = [rows.x, rows.y] + ([] if rows.sample_weight is None else [rows.sample_weight])
    dataset = BatchedTensors(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
    return DataLoader(
        dataset, batch_size, sampler=sampler, collate_fn=identity, generator=torch.Generator().manual_seed(0)
    )
