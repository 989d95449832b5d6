"""The steps of a model as graphs: traced for one size of batches, recorded for others, joined for any size."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from k3torch.stack import stateless
from k3torch.stack.batch_loop import Samples
from k3torch.stack.lifted_numbers import signature
from k3torch.stack.model_group import Kind
from k3torch.stack.recorded_step import Record, Variant, variant
from k3torch.stack.step_graphs import StepGraph, join_graphs, record_at, sizes_to_trace, trace_at
from k3torch.training.model_state import State
import keras
import numpy as np
import torch

Tensor = torch.Tensor

READING = "reading metrics"
LARGE = 1_000_000  # numbers in a state with which it takes longer to compute a step than to trace it


class TracedSteps:
    """The steps of one model for single sizes of batches, traced or recorded: training, validation, reading metrics.

    Args:
        model: for its steps.
        samples: for the shapes and dtypes of a batch.
    """

    def __init__(self, model: keras.Model, samples: Samples):
        self.model = model
        self.state = [variable.value.detach() for variable in stateless.variables(model)]
        first = [torch.from_numpy(np.ascontiguousarray(array[:1])) for array in samples.arrays()]
        self.rows = [row.to(self.state[0].device) for row in first]
        self.first_sum = len(self.state) - len(model.metrics_variables)
        self.names = stateless.metric_names(model)
        self._traced: dict[int, dict[str, torch.fx.GraphModule]] = {}
        self._recorded: dict[int, dict[str, Record]] = {}

    def at(self, size: int) -> dict[str, torch.fx.GraphModule]:
        """Return the graphs for batches of ``size``, traced when they are first asked for; the model stays as it is.

        Raises:
            reasons.UntraceableStep: if the steps of such a model cannot be traced.
        """
        if size not in self._traced:
            self._traced[size] = self._each(size, trace_at)
        return self._traced[size]

    def of_sizes(self, name: str, sizes: Sequence[int]) -> list[torch.fx.GraphModule | Variant]:
        """Return the graph of a step for each of these sizes of batches: only the first is traced if that will do.

        Raises:
            reasons.UntraceableStep: as ``at``.
        """
        first, *others = sizes
        graph = self.at(first)[name]
        record = self._records(first).get(name) if others else None
        found: list[torch.fx.GraphModule | Variant] = [graph]
        for size in others:
            other, of_size = self._records(size).get(name), None
            if record is not None and other is not None and record.structure() == other.structure():
                of_size = variant(graph, record, other)
            found.append(of_size or self.at(size)[name])
        return found

    def signature(self, size: int) -> str:
        """Return a text that is equal for models whose steps differ in nothing but numbers.

        Raises:
            reasons.UntraceableStep: as ``at``.
        """
        return self._with_names(signature(graph) for graph in self.at(size).values())

    def quick_signature(self, size: int) -> str:
        """Return a text that is equal only for models with the same ``signature``, but may be of one model alone."""
        records = self._records(size)
        recorded = self._with_names(record.signature() for record in records.values())
        return recorded if records else str(id(self))

    def variant_of(self, first: "TracedSteps", name: str, size: int) -> torch.fx.GraphModule | Variant:
        """Return a graph of this model, which has the same signature as ``first``."""
        mine, record = self._records(size).get(name), first._records(size).get(name)
        found = None
        if mine is not None and record is not None and mine.signature() == record.signature():
            found = variant(first.at(size)[name], record, mine)
        return found or self.at(size)[name]

    def _records(self, size: int) -> dict[str, Record]:
        """Return the records of the steps, or none where recording takes longer than tracing, or fails."""
        if size not in self._recorded:
            self._recorded[size] = {}
            if self.state[0].device.type == "cpu" and sum(tensor.numel() for tensor in self.state) < LARGE:
                with suppress(Exception):  # of any kind: then tracing says why
                    self._recorded[size] = self._each(size, record_at)
        return self._recorded[size]

    def _with_names(self, signatures: Iterable[str]) -> str:
        return "\n".join([repr(self.names), str(self.first_sum), *signatures])

    def _each(self, size: int, make: Callable[..., Any]) -> dict[str, Any]:
        with restored(self.model):
            return {
                "training": make(size, _on_batch(stateless.train_step(self.model)), self.state, self.rows),
                "validation": make(size, _on_batch(stateless.test_step(self.model)), self.state, self.rows),
                READING: make(1, self._read(), self.sums(), []),
            }

    def sums(self) -> list[Tensor]:
        """Return the sums of the metrics, and a tensor for their results, (metrics,)."""
        return [*self.state[self.first_sum :], torch.zeros(len(self.names))]

    def _read(self) -> Callable[[list[Tensor], list[Tensor]], list[Tensor]]:
        read = stateless.results(self.model)
        return lambda old, _: [*old[:-1], read(old[:-1])]


class StepGraphs:
    """The graphs of a model's steps: training, validation, and reading the metrics; other models share them.

    Args:
        model: for its steps.
        samples: for the shapes and dtypes of a batch.
        sizes: the numbers of samples in a batch that occur.

    Attributes:
        steps: of training and validation.
        read: the step that reads the metrics.
        first_sum: the number of the first sum of a metric among the tensors of the state.

    Raises:
        reasons.UntraceableStep: if the steps of such a model cannot be traced.
        reasons.UnsupportedGraph: if a step cannot be written for batches of any size.
    """

    steps: dict[Kind, StepGraph]
    read: StepGraph
    first_sum: int

    def __init__(self, model: keras.Model, samples: Samples, sizes: Iterable[int]):
        own = self.of([TracedSteps(model, samples)], sizes)[0]
        self.steps, self.read, self.first_sum = own.steps, own.read, own.first_sum

    @classmethod
    def of(cls, traced: Sequence[TracedSteps], sizes: Iterable[int]) -> "list[StepGraphs]":
        """Return the graphs of models of one signature: they are the same graphs, with other constants.

        Raises:
            reasons.UntraceableStep: as above.
            reasons.UnsupportedGraph: as above, and for a number that differs between the models and depends on the
                size of a batch too.
        """
        first, *others = traced
        used = sizes_to_trace(sizes)

        def joined(name: str, traced_for: Sequence[int], state: int, rows: list[Tensor]) -> list[StepGraph]:
            variants = [other.variant_of(first, name, used[0]) for other in others]
            return join_graphs(first.of_sizes(name, traced_for), traced_for, variants, state, rows, name)

        kinds: tuple[Kind, ...] = ("training", "validation")
        steps = {kind: joined(kind, used, len(first.state), first.rows) for kind in kinds}
        read = joined(READING, used[:1], len(first.sums()), [])
        found = [cls.__new__(cls) for _ in traced]
        for number, graphs in enumerate(found):
            graphs.steps = {kind: of_models[number] for kind, of_models in steps.items()}
            graphs.read, graphs.first_sum = read[number], first.first_sum
        return found


def _on_batch(step: stateless.Step) -> stateless.BatchStep:
    def on_batch(state: list[Tensor], batch: list[Tensor]) -> list[Tensor]:
        x, y, *weights = batch
        return step(state, x, y, weights[0] if weights else None)

    return on_batch


@contextmanager
def restored(model: keras.Model) -> Iterator[None]:
    """Put back the state of a model after a block that traces or records its step, which calls layers and metrics."""
    before = State(model)
    try:
        yield
    finally:
        before.restore()
