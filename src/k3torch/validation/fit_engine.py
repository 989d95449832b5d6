"""Trains the models of a cross-validation with Keras's ``fit``, one after another."""

from collections.abc import Iterator, Sequence
import math
from typing import Any

from k3torch.data.loaders import BatchedTensors, identity
from k3torch.stack import stateless
from k3torch.stack.batch_loop import Samples
from k3torch.training.epoch_bar import EpochBar
from k3torch.training.progress import RichProgress
from k3torch.validation.bag_samples import AnySamples
from k3torch.validation.checkpoints import Current
from k3torch.validation.fit_checkpoint import FitCheckpoint
from k3torch.validation.jobs import EpochOrder, Job, Order
from k3torch.validation.stack_training import MetricHistory
import keras
import numpy as np
from numpy.typing import NDArray
import torch
from torch.utils.data import DataLoader, Sampler


def fit(
    jobs: Sequence[Job],
    batch_size: int,
    epochs: range,
    callbacks: Sequence[Sequence[Any]],
    bar: EpochBar,
    histories: list[MetricHistory],
    current: Current | None = None,
) -> list[NDArray[np.float64]] | None:
    """Train one job after another with ``fit``, and append each one's metrics to ``histories``, as ``stacked`` does.

    ``callbacks`` has those of each job, ``current`` what is stored of the training in checkpoints.

    Returns the metrics, (metrics,), of each model on its validation samples if there are callbacks, which may have
    changed the weights since the last epoch: ``EarlyStopping(restore_best_weights=True)`` does.

    Epochs that a callback skips by stopping early are NaN; ``bar``, which is open, counts them as complete.
    """
    title, before = bar.title, bar.done
    bar.total = max(bar.total, before + len(epochs) * len(jobs))
    for number, (job, own) in enumerate(zip(jobs, callbacks, strict=True)):
        batches = _Batches(job.order, batch_size)
        bar.title, bar.done = f"model {number + 1} of {len(jobs)}", before + len(epochs) * number
        recorded = [*own, keras.callbacks.History()]  # Keras's own would act after the checkpoint
        checkpoint = FitCheckpoint(current or Current(), number, job.model, recorded, epochs.stop)
        try:
            job.model.fit(
                _loader(job.training, batches),
                validation_data=_in_order(job.validation, batch_size),
                initial_epoch=checkpoint.first_epoch(epochs.start),
                epochs=epochs.stop,
                callbacks=[*recorded, batches.follow, RichProgress(bar), checkpoint],
                shuffle=False,
                verbose=0,
            )
        finally:
            if isinstance(getattr(job.model, "history", None), keras.callbacks.History):  # not if it failed to start
                histories.append(_table(job, epochs.stop))
    bar.title, bar.done = title, before + len(epochs) * len(jobs)
    return [_evaluated(job, batch_size) for job in jobs] if any(callbacks) else None


def _evaluated(job: Job, batch_size: int) -> NDArray[np.float64]:
    found = job.model.evaluate(_in_order(job.validation, batch_size), return_dict=True, verbose=0)
    return job.in_units(np.array([found[name] for name in stateless.metric_names(job.model)]))


def _table(job: Job, epochs: int) -> MetricHistory:
    """Return the history of ``fit`` so far as (2, metrics, epochs)."""
    history, done = job.model.history.history, job.model.history.epoch
    names = stateless.metric_names(job.model)
    table = np.full((2, epochs, len(names)), np.nan)
    for i, name in enumerate(names):
        for j, prefix in enumerate(("", "val_")):
            values = history.get(prefix + name, [])
            table[j, done[: len(values)], i] = values
    return job.in_units(table).swapaxes(1, 2)


class _Batches(Sampler[Order]):
    """Yields the indices of each batch as an array, in the order of the epoch that ``fit`` is in."""

    def __init__(self, order: EpochOrder, batch_size: int):
        self.order, self.batch_size = order, batch_size
        self.epoch = 0
        self.follow = keras.callbacks.LambdaCallback(on_epoch_begin=self._begin)

    def _begin(self, epoch: int, _: Any) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[Order]:
        order = self.order(self.epoch)
        for start in range(0, len(order), self.batch_size):
            yield order[start : start + self.batch_size]

    def __len__(self) -> int:
        return math.ceil(len(self.order(0)) / self.batch_size)


def _in_order(samples: AnySamples, batch_size: int) -> DataLoader[Any]:
    return _loader(samples, _Batches(lambda _: np.arange(len(samples)), batch_size))


def _loader(samples: AnySamples, batches: _Batches) -> DataLoader[Any]:
    dataset: Any = samples
    if isinstance(samples, Samples):
        dataset = BatchedTensors(*(torch.from_numpy(np.ascontiguousarray(array)) for array in samples.arrays()))
    order: Any = batches
    return DataLoader(dataset, batch_sampler=order, collate_fn=identity, generator=torch.Generator().manual_seed(0))
