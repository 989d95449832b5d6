"""Small models that are trained on a GPU by one kernel for all steps of an epoch, one multiprocessor for each model."""

from collections.abc import Sequence

from k3torch.stack.batch_loop import Order, Samples, StackedSamples, first_batches, joined_batches
from k3torch.stack.model_group import EpochMetrics, Kind, StackedModels, StepResult
from k3torch.stack.traced_steps import READING, TracedSteps, restored
from k3torch.stack.triton_loops import TritonLoop
import keras
import numpy as np
import torch

Tensor = torch.Tensor


class TritonModels(StackedModels):
    """A group of all models of a stack.

    Args:
        models: with their initial weights: read now, written by ``write_back``.
        training: each model's training samples; their numbers may differ.
        validation: each model's validation samples; their numbers may differ.
        batch_size: samples in a batch, of training and of validation; a model's last batch may be shorter.

    Raises:
        reasons.UntraceableStep: if the step of such a model cannot be traced.
        reasons.NotCompiled: if it cannot be written as a kernel.
    """

    def __init__(
        self, models: Sequence[keras.Model], training: Sequence[Samples], validation: Sequence[Samples], batch_size: int
    ):
        super().__init__(models)
        self._batch_size = batch_size
        self._device = self._state[0].device
        with restored(self.models[0]):
            traced = TracedSteps(self.models[0], training[0])
        self._first_sum = traced.first_sum
        self._initial_sums = [tensor.clone() for tensor in self._state[self._first_sum :]]
        self._values = torch.zeros(len(self.models), len(traced.names), device=self._device)
        self._samples: dict[Kind, Sequence[Samples]] = {"training": training, "validation": validation}
        self._stacked = {kind: StackedSamples.of(samples, self._device) for kind, samples in self._samples.items()}
        self._loops: dict[tuple[Kind, int], TritonLoop] = {
            (kind, size): TritonLoop(traced.at(size)[kind], len(self._state), self._device)
            for kind, samples in self._stacked.items()
            for size in samples.batch_counts(batch_size)
        }
        self._read = TritonLoop(traced.at(batch_size)[READING], len(self._initial_sums) + 1, self._device)
        self._once = torch.ones(len(self.models), dtype=torch.int64, device=self._device)
        self._orders: dict[Kind, list[tuple[int, Tensor, Tensor]]] = {
            kind: self._batches(kind, [np.arange(len(part)) for part in samples])
            for kind, samples in self._samples.items()
        }

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of each model's training samples in the next epoch."""
        self._orders["training"] = self._batches("training", orders)

    def batches(self, kind: Kind, member: int, count: int) -> list[list[Tensor]]:
        """Return the first full batch, the shorter last one, and more full ones, up to ``count`` batches."""
        samples = self._samples[kind][member]
        arrays = [torch.from_numpy(np.ascontiguousarray(array)) for array in samples.arrays()]
        return [[array[batch] for array in arrays] for batch in first_batches(len(samples), self._batch_size, count)]

    def after_steps(self, kind: Kind, member: int, count: int) -> StepResult:
        """Return what the kernels leave of a model after these batches; the state stays as it is."""
        state = [tensor.clone() for tensor in self._state]
        values, arrays = torch.zeros_like(self._values), self._stacked[kind].arrays
        for batch in first_batches(len(self._samples[kind][member]), self._batch_size, count):
            order = torch.from_numpy(np.tile(batch, (len(self.models), 1, 1))).to(self._device)
            counts = torch.zeros_like(self._once)
            counts[member] = 1
            self._loops[kind, len(batch)].run(state, arrays, order, counts)
        self._read.run([*state[self._first_sum :], values], [], self._once[:, None, None], self._once)
        return StepResult([tensor[member].cpu() for tensor in state], values[member].cpu())

    def _batches(self, kind: Kind, orders: Sequence[Order]) -> list[tuple[int, Tensor, Tensor]]:
        """Return for each size of batch the numbers of the samples, (models, batches, size), and of the batches."""
        found = []
        for size, most in self._stacked[kind].batch_counts(self._batch_size).items():
            joined, counts = joined_batches(orders, self._batch_size, size, most)
            found.append((size, joined.to(self._device), torch.tensor(counts, device=self._device)))
        return found

    def _run(self, kind: Kind) -> EpochMetrics:
        sums = self._state[self._first_sum :]
        for tensor, initial in zip(sums, self._initial_sums, strict=True):
            tensor.copy_(initial)
        for size, order, counts in self._orders[kind]:
            self._loops[kind, size].run(self._state, self._stacked[kind].arrays, order, counts)
        self._read.run([*sums, self._values], [], self._once[:, None, None], self._once)
        return self._values.T.cpu().numpy().copy()
