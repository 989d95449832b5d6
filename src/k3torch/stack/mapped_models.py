"""Models that are trained at once: one step of all, by ``torch.vmap`` of one model's step.

The models' weights, optimizer slots and metric sums are stacked along a new first dimension. The operators of the step
are called one by one, or captured once on an accelerator.
"""

from collections.abc import Callable, Sequence
import functools

from k3torch import runtime
from k3torch.stack import graphs, stateless
from k3torch.stack.batch_loop import BatchLoop, Order, Samples, StackedSamples
from k3torch.stack.compiled_check import disagreement
from k3torch.stack.graphs import TracedGraph
from k3torch.stack.model_group import EpochMetrics, Kind, StackedModels, StepResult
from k3torch.training.asynchronous import asynchronous
import keras
import numpy as np
import torch

Tensor = torch.Tensor


class MappedModels(StackedModels):
    """A group of all models of a stack.

    Args:
        models: with their initial weights: read now, written by ``write_back``.
        training: each model's training samples; their numbers may differ.
        validation: each model's validation samples; their numbers may differ.
        batch_size: samples in a batch, of training and of validation; a model's last batch may be shorter.
        threads: of each operator, on the CPU.
        notice: is called with one line if a step cannot be compiled or captured on CUDA.
        compiled: on CUDA, fuse the operators of a step into few kernels, which takes seconds.

    Raises:
        reasons.UntraceableStep: if the step of such a model cannot be mapped over models.
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        training: Sequence[Samples],
        validation: Sequence[Samples],
        batch_size: int,
        threads: int = 1,
        notice: Callable[[str], None] = print,
        compiled: bool = False,
    ):
        super().__init__(models)
        self._threads = threads
        self._first_sum = len(self._state) - len(self.models[0].metrics_variables)
        self._sums = self._state[self._first_sum :]
        self._initial_sums = [tensor.clone() for tensor in self._sums]
        device = self._state[0].device
        self._values = torch.zeros(len(self.models), len(stateless.metric_names(models[0])), device=device)
        self._samples: dict[Kind, Sequence[Samples]] = {"training": training, "validation": validation}
        self._loops: dict[Kind, list[BatchLoop]] = {
            kind: self._batch_loops(kind, StackedSamples.of(samples, device), batch_size)
            for kind, samples in self._samples.items()
        }
        for loop in self._loops["validation"]:  # which keep the order that they are made with
            loop.draw_seed()
        with asynchronous(device):  # constants become operators of the graphs
            self._graphs: dict[Kind, list[TracedGraph]] = {
                kind: [loop.graph() for loop in loops] for kind, loops in self._loops.items()
            }
            self._read = self._metric_reader()
        notice = functools.cache(notice)  # which says the same of each graph
        self._runs = {
            kind: [
                graphs.repeated(traced.graph, traced.inputs, notice, disagreement if compiled else None)
                for traced in of_kind
            ]
            for kind, of_kind in self._graphs.items()
        }

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of each model's training samples in the next epoch, and draw the random seeds."""
        for loop in self._loops["training"]:
            loop.load(orders)

    def batches(self, kind: Kind, member: int, count: int) -> list[list[Tensor]]:
        """Return the first batches of a model's samples, all of one size."""
        samples = self._samples[kind][member]
        indices = self._first_loop(kind, member)[0].batches_of(samples)[:count]
        return [
            [torch.from_numpy(np.ascontiguousarray(array[batch])) for array in samples.arrays()] for batch in indices
        ]

    def after_steps(self, kind: Kind, member: int, count: int) -> StepResult:
        """Return what the graph of a step leaves of a model after these batches; the state stays as it is."""
        loop, traced = self._first_loop(kind, member)
        inputs = [tensor.clone() for tensor in loop.inputs]
        values = torch.zeros_like(self._values)
        with torch.no_grad():
            for _ in self.batches(kind, member, count):
                traced.graph(*inputs)
            self._read.graph(*inputs[self._first_sum : len(self._state)], values)
        return StepResult([tensor[member] for tensor in inputs[: len(self._state)]], values[member].cpu())

    def _batch_loops(self, kind: Kind, samples: StackedSamples, batch_size: int) -> list[BatchLoop]:
        make = stateless.train_step if kind == "training" else stateless.test_step
        unchanged = 0 if kind == "training" else self._first_sum
        return [
            BatchLoop(kind, make(self.models[0]), self._state, unchanged, samples, batch_size, size, count)
            for size, count in samples.batch_counts(batch_size).items()
        ]

    def _first_loop(self, kind: Kind, member: int) -> tuple[BatchLoop, TracedGraph]:
        """Return the loop of the largest batches that a model has."""
        samples = self._samples[kind][member]
        pairs = zip(self._loops[kind], self._graphs[kind], strict=True)
        return next(pair for pair in pairs if len(pair[0].batches_of(samples)))

    def _metric_reader(self) -> TracedGraph:
        """Return the graph that writes the results of the metrics into its last input."""
        results = torch.vmap(stateless.results(self.models[0]))

        def read(*inputs: Tensor) -> None:
            inputs[-1].copy_(results(list(inputs[:-1])))

        inputs = [*self._sums, self._values]
        return TracedGraph(graphs.trace(read, inputs), inputs, "reading metrics")

    def _run(self, kind: Kind) -> EpochMetrics:
        for tensor, initial in zip(self._sums, self._initial_sums, strict=True):
            tensor.copy_(initial)
        with torch.no_grad(), runtime.threads(self._threads):
            for loop, run in zip(self._loops[kind], self._runs[kind], strict=True):
                run(loop.begin())
            self._read.graph(*self._read.inputs)
        return self._values.T.cpu().numpy().copy()
