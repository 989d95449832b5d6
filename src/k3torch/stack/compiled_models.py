"""A model that is trained by compiled C++ loops over its own samples; models like it use the same loops."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager, suppress
import ctypes
from typing import Any

from k3torch.stack import stateless
from k3torch.stack.batch_loop import Order, Samples, first_batches
from k3torch.stack.compiled_loops import BoundLoop, CompiledLoop
from k3torch.stack.lifted_numbers import signature
from k3torch.stack.model_group import EpochMetrics, Kind, StepResult
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.recorded_step import Record, Variant, variant
from k3torch.stack.step_graphs import Example, StepGraph, join_graphs, record_at, sizes_to_trace, trace_at
from k3torch.training.model_state import State
import keras
import numpy as np
import torch

Tensor = torch.Tensor

READING = "reading metrics"
LARGE = 1_000_000  # numbers in a state with which it takes longer to compute a step than to trace it


class TracedSteps:
    """The steps of one model, traced for single sizes of batches: training, validation, and reading the metrics.

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
        self._records: dict[str, Record] = {}

    def at(self, size: int) -> dict[str, torch.fx.GraphModule]:
        """Return the graphs for batches of ``size``, traced when they are first asked for; the model stays as it is.

        Raises:
            reasons.UntraceableStep: if the steps of such a model cannot be traced.
        """
        if size not in self._traced:
            self._traced[size] = self._each(size, trace_at)
        return self._traced[size]

    def signature(self, size: int) -> str:
        """Return a text that is equal for models whose steps differ in nothing but numbers.

        Raises:
            reasons.UntraceableStep: as ``at``.
        """
        return self._with_names(signature(graph) for graph in self.at(size).values())

    def quick_signature(self, size: int) -> str:
        """Return a text that is equal only for models with the same ``signature``, but may be of one model alone."""
        if self.state[0].device.type == "cpu" and sum(tensor.numel() for tensor in self.state) < LARGE:
            with suppress(Exception):  # of any kind: then tracing says why
                self._records = self._each(size, record_at)
        recorded = self._with_names(record.signature() for record in self._records.values())
        return recorded if self._records else str(id(self))

    def variant_of(self, first: "TracedSteps", name: str, size: int) -> torch.fx.GraphModule | Variant:
        """Return a graph of this model, which has the same signature as ``first``."""
        mine, record = self._records.get(name), first._records.get(name)
        found = None
        if mine is not None and record is not None and mine.signature() == record.signature():
            found = variant(first.at(size)[name], record, mine)
        return found or self.at(size)[name]

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

        def joined(name: str, sizes: Sequence[int], state: int, rows: list[Tensor]) -> list[StepGraph]:
            variants = [other.variant_of(first, name, used[0]) for other in others]
            return join_graphs([first.at(size)[name] for size in sizes], sizes, variants, state, rows, name)

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


class CompiledModel:
    """One model's state and samples, on the CPU wherever the model is, and the loops that change them.

    Args:
        model: with its initial weights: read now, written by ``write_back``.
        graphs: of this model or of one like it.
        training, validation: the samples.
        batch_size: samples in a batch, of training and of validation; the last one may be shorter.
    """

    stacked = False

    def __init__(self, model: keras.Model, graphs: StepGraphs, training: Samples, validation: Samples, batch_size: int):
        self.models, self._graphs, self._batch_size = [model], graphs, batch_size
        values = [variable.value.detach() for variable in stateless.variables(model)]
        self._state = [value.to("cpu", copy=True).contiguous() for value in values]
        self._sums = self._state[graphs.first_sum :]
        # A microsecond each is much for an epoch of twenty: bytes are copied faster than tensors.
        self._initial_sums = [(tensor.data_ptr(), tensor.numpy().tobytes()) for tensor in self._sums]
        self._values = torch.zeros(len(stateless.metric_names(model)))
        self._values_array = self._values[:, None].numpy()
        self._arrays: dict[Kind, list[Tensor]] = {
            "training": _tensors(training),
            "validation": _tensors(validation),
        }
        self._seed = torch.zeros((), dtype=torch.int64)
        # Of its own, since models begin their epochs in an order that no seed determines.
        self.generator = np.random.default_rng(int(torch.randint(2**62, ())))
        self._order: Tensor | None = None
        self._loops: dict[Kind, BoundLoop] = {}
        self._read: BoundLoop | None = None

    def examples(self) -> list[Example]:
        """Return what the loops are compiled and checked for: training, validation, reading the metrics."""
        steps = [
            Example(step, self._state, self._arrays[kind], batch_sizes(len(self._arrays[kind][0]), self._batch_size))
            for kind, step in self._graphs.steps.items()
        ]
        return [*steps, Example(self._graphs.read, [*self._sums, self._values], [], (1,))]

    def bind(self, loops: Sequence[CompiledLoop]) -> None:
        """Use these loops, compiled from the steps of ``examples``, from now on.

        Raises:
            reasons.UnsupportedGraph: if they are not for the sizes of this model's batches.
        """
        training, validation, read = loops
        for loop, arrays in zip((training, validation), self._arrays.values(), strict=True):
            for size in batch_sizes(len(arrays[0]), self._batch_size):
                if not loop.valid(size):
                    raise UnsupportedGraph(f"the compiled step is not for batches of {size} samples")
        steps = self._graphs.steps
        self._loops = {
            kind: loop.bind(self._state, self._arrays[kind], self._seed, steps[kind].constants)
            for kind, loop in zip(steps, (training, validation), strict=True)
        }
        seed = torch.zeros((), dtype=torch.int64)
        self._read = read.bind([*self._sums, self._values], [], seed, self._graphs.read.constants)

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of the training samples, and draw the seed of the random numbers of the next epoch."""
        self._order = torch.from_numpy(np.ascontiguousarray(orders[0], dtype=np.int64))
        self._seed.fill_(int(self.generator.integers(2**62)))

    def train(self) -> EpochMetrics:
        """Train on all samples in the order that was set; return the metrics, (metrics, 1)."""
        return self._run("training", self._order)

    def validate(self) -> EpochMetrics:
        """Evaluate on the validation samples; return the metrics, (metrics, 1)."""
        return self._run("validation", None)

    def write_back(self) -> None:
        """Write weights, optimizer slots and other state into the model."""
        stateless.assign(self.models[0], self._state)

    def state(self, member: int) -> list[Tensor]:
        """Return the model's tensors, in the order of ``stateless.variables``."""
        return self._state

    def batches(self, kind: Kind, member: int, count: int) -> list[list[Tensor]]:
        """Return the first full batch, the shorter last one, and more full ones, up to ``count`` batches."""
        arrays = self._arrays[kind]
        chosen = first_batches(len(arrays[0]), self._batch_size, count)
        return [[array[torch.from_numpy(batch)] for array in arrays] for batch in chosen]

    def after_steps(self, kind: Kind, member: int, count: int) -> StepResult:
        """Return what the graph of a step leaves after ``count`` of these batches; the state stays as it is."""
        state = [tensor.clone() for tensor in self._state]
        step, read = self._graphs.steps[kind], self._graphs.read
        values, seed = self._values.clone(), torch.zeros((), dtype=torch.int64)
        with torch.no_grad():
            for batch in self.batches(kind, member, count):
                step.graph(*step.inputs(state, batch, len(batch[0]), seed))
            read.graph(*read.inputs([*state[self._graphs.first_sum :], values], [], 1, seed))
        return StepResult(state, values)

    def _run(self, kind: Kind, order: Tensor | None) -> EpochMetrics:
        for address, initial in self._initial_sums:
            ctypes.memmove(address, initial, len(initial))
        self._loops[kind].epoch(self._batch_size, len(self._arrays[kind][0]), order)
        assert self._read is not None
        self._read(1, 1)
        return self._values_array.copy()


@contextmanager
def restored(model: keras.Model) -> Iterator[None]:
    """Put back the state of a model after a block that traces its step, which calls layers, losses and metrics."""
    before = State(model)
    try:
        yield
    finally:
        before.restore()


def batch_sizes(samples: int, batch_size: int) -> tuple[int, ...]:
    """Return the numbers of samples in the batches of an epoch, each once."""
    full, rest = samples // batch_size, samples % batch_size
    return (batch_size,) * (full > 0) + (rest,) * (rest > 0)


def sizes_of_batches(parts: Iterable[Sized], batch_size: int) -> set[int]:
    """Return the numbers of samples in a batch that occur in any of these."""
    return {size for part in parts for size in batch_sizes(len(part), batch_size)}


def _tensors(samples: Samples) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in samples.arrays()]
