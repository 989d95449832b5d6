"""Many Keras models of one architecture, trained as one.

The models' weights, optimizer slots and metric sums are stacked along a new first dimension. Where operators are
called one by one, or captured on an accelerator, one step trains all models at once: ``torch.vmap`` of one model's
step. Where the step becomes a compiled C++ loop, it is compiled once, for a stack of one model, and the models run
their epochs in parallel, one thread for each core: a model's state then stays in its core's cache, and threads
need no synchronisation.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from k3torch import runtime
from k3torch.stack import compiled_loops, graphs, stateless, verified_stack
from k3torch.stack.batch_loop import Order, Samples, StackedSamples
from k3torch.stack.epoch_graphs import EpochGraphs, RunGraph
from k3torch.stack.graphs import TracedGraph
from k3torch.stack.reasons import DifferentStep, NotCompiled
from k3torch.training.model_state import State
import keras
import numpy as np
from numpy.typing import NDArray
import torch

EpochMetrics = NDArray[np.float32]

# Compiling takes some seconds and saves one or two milliseconds a step: it pays for this many steps.
WORTH_COMPILING = 5_000
# For this many steps it pays to look in the cache for a library that an earlier process has compiled.
WORTH_LOOKING = 500


class ModelStack:
    """Trains models of one architecture at once, each on its own samples.

    Args:
        models: compiled alike, with their initial weights: read now, written by ``unstack``.
        training: each model's training samples; their numbers may differ.
        validation: each model's validation samples; their numbers may differ.
        batch_size: samples in a batch, of training and of validation; a model's last batch may be shorter.
        epochs: calls of ``train_epoch`` to expect; with the samples they decide whether compiling pays.
        notice: is called with one line when a step that is worth compiling cannot be compiled.
        status: is called with what is being done until the stack can train, in a few words.

    Attributes:
        names: of the metrics that ``train_epoch`` and ``evaluate`` return, ``"loss"`` first.

    Raises:
        reasons.UntraceableStep: if the step of such a model cannot be mapped over models.
        reasons.DifferentStep: if that gives other numbers than Keras's own step.
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        training: Sequence[Samples],
        validation: Sequence[Samples],
        batch_size: int,
        epochs: int,
        notice: Callable[[str], None] = print,
        status: Callable[[str], None] = lambda _: None,
    ):
        self.models = list(models)
        for model in self.models:
            stateless.build(model, training[0].x, training[0].y, training[0].sample_weight)
        before = State(self.models[0])
        try:
            self._build(training, validation, batch_size, epochs, notice, status)
        finally:
            before.restore()
        self._helpers = min(torch.get_num_threads(), len(self._epoch_graphs)) - 1  # threads beside the caller's
        self._threads = ThreadPoolExecutor(max(1, self._helpers), initializer=runtime.flush_denormals)

    def _build(
        self,
        training: Sequence[Samples],
        validation: Sequence[Samples],
        batch_size: int,
        epochs: int,
        notice: Callable[[str], None],
        status: Callable[[str], None],
    ) -> None:
        """Stack the state, trace the step, compare it with Keras's own, and compile it where that pays."""
        self.names = stateless.metric_names(self.models[0])
        groups = zip(*map(stateless.variables, self.models), strict=True)
        self._state = [torch.stack([variable.value.detach() for variable in group]) for group in groups]
        sums = self._state[len(self._state) - len(self.models[0].metrics_variables) :]
        self._sums = [(tensor, tensor.clone()) for tensor in sums]  # with the values at the start of an epoch
        device = self._state[0].device
        self._metric_values = torch.zeros(len(self.models), len(self.names), device=device)
        self._samples = StackedSamples.of(training, device), StackedSamples.of(validation, device)
        self._batch_size = batch_size
        steps = epochs * (max(map(len, training)) // batch_size)
        compilable = device.type == "cpu" and steps >= WORTH_LOOKING
        members = [slice(i, i + 1) for i in range(len(self.models))] if compilable else [slice(None)]
        self._epoch_graphs = [self._graphs_of(chosen) for chosen in members]
        status("checking the step against Keras")
        traced = self._trace(self._epoch_graphs[0])
        if difference := verified_stack.difference_from_keras(
            self.models, self._epoch_graphs, traced, training, validation
        ):
            raise DifferentStep(f"its step differs from Keras's own: {difference}")
        if compilable:
            status("compiling")
        if not compilable:
            self._epoch_graphs[0].runs = _uncompiled(traced)
        elif not self._compile(traced, steps >= WORTH_COMPILING, notice):
            self._epoch_graphs = [self._graphs_of(slice(None))]
            self._epoch_graphs[0].runs = _uncompiled(self._trace(self._epoch_graphs[0]))

    def train_epoch(self, orders: Sequence[Order]) -> EpochMetrics:
        """Train each model on its samples in its order, and return the metrics, (metrics, models).

        Args:
            orders: for each model the indices of its samples, (samples,), in the order of training.
        """
        size = len(self.models) // len(self._epoch_graphs)
        for number, each in enumerate(self._epoch_graphs):  # before any thread starts: it draws random numbers
            each.load(orders[number * size : (number + 1) * size])
        return self._run(EpochGraphs.train)

    def evaluate(self) -> EpochMetrics:
        """Return the metrics on the validation samples, (metrics, models)."""
        return self._run(EpochGraphs.validate)

    def unstack(self) -> list[keras.Model]:
        """Write weights, optimizer slots and other state back into the models, and return them."""
        for index, model in enumerate(self.models):
            for variable, tensor in zip(stateless.variables(model), self._state, strict=True):
                variable.assign(tensor[index])
            model.reset_metrics()
        return self.models

    def _run(self, run_epoch: Callable[[EpochGraphs], None]) -> EpochMetrics:
        for tensor, initial in self._sums:
            tensor.copy_(initial)
        remaining = iter(self._epoch_graphs)  # whichever thread is free takes the next

        def work() -> None:
            for each in remaining:
                run_epoch(each)

        with runtime.single_threaded():
            helpers = [self._threads.submit(work) for _ in range(self._helpers)]
            work()
            for helper in helpers:
                helper.result()
        return self._metric_values.T.cpu().numpy().copy()

    def _trace(self, epoch_graphs: EpochGraphs) -> list[TracedGraph]:
        """Trace the graphs, which calls layers, losses and metrics, and put back the state that these changed."""
        before = State(self.models[0])
        try:
            return epoch_graphs.graphs()
        finally:
            before.restore()

    def _compile(self, traced: list[TracedGraph], compile_missing: bool, notice: Callable[[str], None]) -> bool:
        """Have each model's epochs run by compiled C++ loops; return whether there are such loops."""
        try:
            loops = compiled_loops.compile_loops(traced, compile_missing)
        except NotCompiled as reason:
            notice(f"training uncompiled: {reason}")
            return False
        if loops is None:
            return False
        for each in self._epoch_graphs:
            each.runs = [loop.bind(inputs) for loop, inputs in zip(loops, each.inputs, strict=True)]
        return True

    def _graphs_of(self, members: slice) -> EpochGraphs:
        state = [tensor[members] for tensor in self._state]
        counts = self._samples[0].batch_counts(self._batch_size), self._samples[1].batch_counts(self._batch_size)
        training, validation = (samples.of_models(members) for samples in self._samples)
        return EpochGraphs(
            self.models[0], state, self._metric_values[members], training, validation, self._batch_size, counts
        )


def _uncompiled(traced: Sequence[TracedGraph]) -> list[RunGraph]:
    return [graphs.repeated(one.graph, one.inputs) for one in traced]
