"""Two ways to train the models of a cross-validation: as one stack, or with Keras's ``fit`` one after another."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from k3torch.data.loaders import BatchedTensors
from k3torch.training import compiled, pure
from k3torch.training.progress import EpochBar, RichProgress
from k3torch.training.stacked import Rows, Stack, prepare
from k3torch.training.step import FastModel
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
    training: Rows
    validation: Rows
    order: EpochOrder


def why_not_stacked(model: keras.Model, rows: Rows, batch_size: int) -> str | None:
    """Return in a few words why a stack would not give just what ``fit`` gives, or None where it does."""
    optimizer = model.optimizer
    reasons = {
        "the model has several inputs or outputs": len(model.inputs) != 1 or len(model.outputs) != 1,
        "the model has a train_step of its own": _overrides(model),
        f"{type(optimizer).__name__} is not exact in a stack": _unfit(optimizer),
        "the optimizer averages weights (use_ema)": optimizer.use_ema,
        "the optimizer accumulates gradients": bool(optimizer.gradient_accumulation_steps),
    }
    for reason, holds in reasons.items():
        if holds:
            return reason
    return _traced(model, rows, batch_size)


def _overrides(model: keras.Model) -> bool:
    kind, plain = type(model), keras.Model
    steps = {plain.train_step, FastModel.train_step}
    return kind.train_step not in steps or kind.compute_loss is not plain.compute_loss


def _unfit(optimizer: keras.Optimizer) -> bool:
    # Nadam's running product of momenta turns into NaN when it is stacked.
    refused = (keras.optimizers.Adafactor, keras.optimizers.Nadam, keras.optimizers.LossScaleOptimizer)
    return isinstance(optimizer, refused)


def _traced(model: keras.Model, rows: Rows, batch_size: int) -> str | None:
    """Try to map one step over a stack of two, without computing anything."""
    prepare(model, rows)
    data = [rows.x, rows.y] + ([] if rows.sample_weight is None else [rows.sample_weight])
    device = model.variables[0].value.device
    batch = [torch.from_numpy(np.stack([part[:batch_size]] * 2)).to(device) for part in data]
    state = [torch.stack([v.value.detach()] * 2) for v in pure.variables(model)]

    def both(*inputs: torch.Tensor) -> None:
        x, y, *weights = inputs[len(state) :]
        for step in (pure.train_step(model), pure.test_step(model)):
            mapped = torch.vmap(step, in_dims=(0, 0, 0, 0 if weights else None), randomness="different")
            mapped(list(inputs[: len(state)]), x, y, weights[0] if weights else None)

    try:
        compiled.trace(both, [*state, *batch])
    except Exception as error:  # any layer, loss or metric may refuse in a way of its own
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"its step cannot be mapped over models ({first_line[:120]})"
    return None


def stacked(jobs: Sequence[Job], batch_size: int, epochs: int, notice: Callable[[str], None]) -> list[Figures]:
    """Train all jobs at once; return for each its figures (2, metrics, epochs): of training, of validation."""
    together = max(1, STACK_BYTES // _bytes_of(jobs[0]))
    stacks = -(-len(jobs) // together)
    size = -(-len(jobs) // stacks)
    figures: list[Figures] = []
    with EpochBar("cross-validation", epochs * stacks) as bar:
        for start in range(0, len(jobs), size):
            figures += _one_stack(jobs[start : start + size], batch_size, epochs, notice, bar)
    return figures


def _one_stack(
    jobs: Sequence[Job], batch_size: int, epochs: int, notice: Callable[[str], None], bar: EpochBar
) -> list[Figures]:
    models, training = [job.model for job in jobs], [job.training for job in jobs]
    stack = Stack(models, training, [job.validation for job in jobs], batch_size, epochs, notice)
    table = np.zeros((len(jobs), 2, len(stack.names), epochs))
    for epoch in range(epochs):
        table[:, 0, :, epoch] = stack.train_epoch([job.order(epoch) for job in jobs]).T
        table[:, 1, :, epoch] = stack.evaluate().T
        score = min(1, len(stack.names) - 1)
        bar.advance({f"mean val_{stack.names[score]}": float(table[:, 1, score, epoch].mean())})
    stack.unstack()
    return list(table)


def _bytes_of(job: Job) -> int:
    """Return the memory that one model of a stack takes: its state, the step's new state, its rows."""
    prepare(job.model, job.training)
    state = sum(v.value.nbytes for v in pure.variables(job.model))
    rows = sum(part.x.nbytes + part.y.nbytes for part in (job.training, job.validation))
    return int(2 * state + rows)


def fit(jobs: Sequence[Job], batch_size: int, epochs: int, callbacks: Sequence[Any]) -> list[Figures]:
    """Train one job after another with ``fit``; return for each its figures (2, metrics, epochs), as ``stacked``.

    The epochs that a callback cuts off are NaN.
    """
    figures = []
    for number, job in enumerate(jobs, start=1):
        sampler = _Ordered(job.order)
        bar = RichProgress(f"model {number} of {len(jobs)}")
        try:
            history = job.model.fit(
                _loader(job.training, batch_size, sampler),
                validation_data=_loader(job.validation, 4096),
                epochs=epochs,
                callbacks=[*callbacks, sampler.follow, bar],
                shuffle=False,
                verbose=0,
            ).history
        finally:
            bar.close()
        names = pure.metric_names(job.model)
        table = np.full((2, len(names), epochs), np.nan)
        for i, name in enumerate(names):
            for j, prefix in enumerate(("", "val_")):
                values = history[prefix + name]
                table[j, i, : len(values)] = values
        figures.append(table)
    return figures


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


def _loader(rows: Rows, batch_size: int, sampler: Sampler[int] | None = None) -> DataLoader[Any]:
    parts = [rows.x, rows.y] + ([] if rows.sample_weight is None else [rows.sample_weight])
    dataset = BatchedTensors(*(torch.from_numpy(np.ascontiguousarray(part)) for part in parts))
    return DataLoader(
        dataset, batch_size, sampler=sampler, collate_fn=_as_it_is, generator=torch.Generator().manual_seed(0)
    )


def _as_it_is(batch: Any) -> Any:
    return batch
