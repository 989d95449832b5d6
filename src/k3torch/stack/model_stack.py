"""Many Keras models of one shape, trained as one.

The models' weights, optimizer slots and metric sums are stacked, model by model along a new first dimension. Where
operators are called one by one, or recorded on an accelerator, a step is that of all models at once: ``torch.vmap`` of
one model's step. Where the step becomes a loop of machine code, that is made once, for a stack of one, and the models
have their epochs side by side, a thread for each core: a model's state then stays in its core's cache, and no model
waits for another.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from k3torch import runtime
from k3torch.stack import graphs, inductor_cpp, stateless
from k3torch.stack.batch_loop import Order, Samples, StackedSamples
from k3torch.stack.epoch_graphs import EpochGraphs
import keras
import numpy as np
from numpy.typing import NDArray
import torch

Figures = NDArray[np.float32]

# Steps from which compiling repays, which takes some seconds and saves one or two milliseconds a step; and steps from
# which looking for the compiled code of an earlier process does.
WORTH_COMPILING, WORTH_LOOKING = 5_000, 500
# Validation rows of one model in one call; more would only take memory.
_ROWS_A_CALL = 4096


class ModelStack:
    """Trains models of one architecture at once, each on rows of its own.

    Args:
        models: compiled alike, with the weights to begin from: read now, written by ``unstack``.
        training: each model's rows to learn from; their numbers may differ.
        validation: each model's rows to be measured on; their numbers may differ.
        batch_size: rows an update; a model's last batch of an epoch may be shorter.
        epochs: calls of ``train_epoch`` to expect, by which it decides whether compiling repays.
        notice: is told in one line when a step that is worth compiling cannot be.

    Attributes:
        names: of the metrics that ``train_epoch`` and ``evaluate`` return, ``"loss"`` first.

    Raises:
        graphs.UntraceableStep: if the step of such a model cannot be mapped over models.
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        training: Sequence[Samples],
        validation: Sequence[Samples],
        batch_size: int,
        epochs: int,
        notice: Callable[[str], None] = print,
    ):
        self.models = list(models)
        for model in self.models:
            prepare(model, training[0])
        self.names = stateless.metric_names(self.models[0])
        groups = zip(*map(stateless.variables, self.models), strict=True)
        self._state = [torch.stack([variable.value.detach() for variable in group]) for group in groups]
        sums = self._state[len(self._state) - len(self.models[0].metrics_variables) :]
        self._sums = [(tensor, tensor.clone()) for tensor in sums]  # with the value to begin an epoch with
        device = self._state[0].device
        self._figures = torch.zeros(len(self.models), len(self.names), device=device)
        self._tables = StackedSamples.of(training, device), StackedSamples.of(validation, device)
        self._batch_size = batch_size
        steps = epochs * (max(map(len, training)) // batch_size)
        self._parts = self._side_by_side(steps, notice) or [self._all_at_once()]
        self._helpers = min(torch.get_num_threads(), len(self._parts)) - 1  # threads beside this one
        self._threads = ThreadPoolExecutor(max(1, self._helpers), initializer=runtime.flush_denormals)

    def train_epoch(self, orders: Sequence[Order]) -> Figures:
        """Train each model on its rows in its order, and return the metrics: (metrics, models).

        Args:
            orders: for each model its row numbers, (rows,), in the order of training.
        """
        size = len(self.models) // len(self._parts)
        for number, part in enumerate(self._parts):  # before any thread starts: it draws random numbers
            part.load(orders[number * size : (number + 1) * size])
        return self._run(EpochGraphs.train)

    def evaluate(self) -> Figures:
        """Return the metrics on the validation rows: (metrics, models)."""
        return self._run(EpochGraphs.validate)

    def unstack(self) -> list[keras.Model]:
        """Write weights, optimizer slots and other state back into the models, and return them."""
        for index, model in enumerate(self.models):
            for variable, tensor in zip(stateless.variables(model), self._state, strict=True):
                variable.assign(tensor[index])
            model.reset_metrics()
        return self.models

    def _run(self, do: Callable[[EpochGraphs], None]) -> Figures:
        for tensor, beginning in self._sums:
            tensor.copy_(beginning)
        waiting = iter(self._parts)  # whichever thread is free takes the next

        def work() -> None:
            for part in waiting:
                do(part)

        with runtime.single_threaded():
            helpers = [self._threads.submit(work) for _ in range(self._helpers)]
            work()
            for helper in helpers:
                helper.result()
        return self._figures.T.cpu().numpy().copy()

    def _side_by_side(self, steps: int, notice: Callable[[str], None]) -> list[EpochGraphs]:
        """Return each model's epochs as machine code; none where that is not to be had, or not worth it."""
        if self._state[0].device.type != "cpu" or steps < WORTH_LOOKING:
            return []
        parts = [self._epochs(slice(i, i + 1), validation_batch=1) for i in range(len(self.models))]
        try:
            loops = inductor_cpp.loops(parts[0].graphs(), compile_missing=steps >= WORTH_COMPILING)
        except inductor_cpp.UnsupportedGraph as reason:
            notice(f"training uncompiled: its step is more than loops over numbers ({reason})")
            return []
        except inductor_cpp.CompilerUnavailable as error:
            notice(f"training uncompiled, some 100 times slower, since no C++ compiler works here ({error})")
            return []
        for part in parts:
            part.calls = [loop.bind(inputs) for loop, inputs in zip(loops, part.inputs, strict=False)]
        return parts if loops else []

    def _all_at_once(self) -> EpochGraphs:
        epochs = self._epochs(slice(None), validation_batch=_ROWS_A_CALL)
        epochs.calls = [graphs.repeated(graph, inputs) for graph, inputs in epochs.graphs()]
        return epochs

    def _epochs(self, members: slice, validation_batch: int) -> EpochGraphs:
        state = [tensor[members] for tensor in self._state]
        sizes = self._batch_size, validation_batch
        longest = self._tables[0].walks(sizes[0]), self._tables[1].walks(sizes[1])
        training, validation = (table.of_models(members) for table in self._tables)
        return EpochGraphs(self.models[0], state, self._figures[members], training, validation, sizes, longest)


def prepare(model: keras.Model, rows: Samples) -> None:
    """Make the variables that a model gets only when it sees data: those of the optimizer and the metrics."""
    first = None if rows.sample_weight is None else rows.sample_weight[:1]
    model._symbolic_build(data_batch=(rows.x[:1], rows.y[:1], first))
    model.reset_metrics()
