"""A model that is trained by compiled C++ loops over its own samples; models like it use the same loops."""

from collections.abc import Iterable, Sequence

from k3torch.stack import stateless
from k3torch.stack.batch_loop import Order, Samples
from k3torch.stack.compiled_loops import BoundLoop, CompiledLoop
from k3torch.stack.model_group import EpochMetrics, Kind, StepResult
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.step_graphs import Example, sizes_to_trace, trace_step
import keras
import numpy as np
import torch

Tensor = torch.Tensor


class StepGraphs:
    """The graphs of a model's steps: training, validation, and reading the metrics; other models share them.

    Args:
        model: for its steps.
        samples: for the shapes and dtypes of a batch.
        sizes: the numbers of samples in a batch that occur.

    Raises:
        reasons.UntraceableStep: if the steps of such a model cannot be traced.
        reasons.UnsupportedGraph: if a step cannot be written for batches of any size.
    """

    def __init__(self, model: keras.Model, samples: Samples, sizes: Iterable[int]):
        state = [variable.value.detach() for variable in stateless.variables(model)]
        rows = [torch.from_numpy(np.ascontiguousarray(array[:1])).to(state[0].device) for array in samples.arrays()]
        self.first_sum = len(state) - len(model.metrics_variables)
        traced = sizes_to_trace(sizes)
        steps: dict[Kind, stateless.Step] = {
            "training": stateless.train_step(model),
            "validation": stateless.test_step(model),
        }
        self.steps = {kind: trace_step(_on_batch(step), state, rows, traced, kind) for kind, step in steps.items()}
        read, names = stateless.results(model), stateless.metric_names(model)
        sums = [*state[self.first_sum :], torch.zeros(len(names))]
        self.read = trace_step(lambda old, _: [*old[:-1], read(old[:-1])], sums, [], (1,), "reading metrics")


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
        self._initial_sums = [tensor.clone() for tensor in self._sums]
        self._values = torch.zeros(len(stateless.metric_names(model)))
        self._arrays: dict[Kind, list[Tensor]] = {
            "training": _tensors(training),
            "validation": _tensors(validation),
        }
        self._seed = torch.zeros((), dtype=torch.int64)
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
        self._loops = {
            "training": training.bind(self._state, self._arrays["training"], self._seed),
            "validation": validation.bind(self._state, self._arrays["validation"], self._seed),
        }
        self._read = read.bind([*self._sums, self._values], [], torch.zeros((), dtype=torch.int64))

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of the training samples, and draw the seed of the random numbers of the next epoch."""
        self._order = torch.from_numpy(np.ascontiguousarray(orders[0], dtype=np.int64))
        self._seed.copy_(torch.randint(2**62, ()))

    def train(self) -> EpochMetrics:
        """Train on all samples in the order that was set; return the metrics, (metrics, 1)."""
        return self._run("training", self._order)

    def validate(self) -> EpochMetrics:
        """Evaluate on the validation samples; return the metrics, (metrics, 1)."""
        return self._run("validation", None)

    def write_back(self) -> None:
        """Write weights, optimizer slots and other state into the model."""
        stateless.assign(self.models[0], self._state)

    def batches(self, kind: Kind, member: int, count: int) -> list[list[Tensor]]:
        """Return the first full batch, the shorter last one, and more full ones, up to ``count`` batches."""
        arrays, size = self._arrays[kind], self._batch_size
        samples = len(arrays[0])
        full = [slice(start, start + size) for start in range(0, samples - size + 1, size)]
        rest = [slice(samples // size * size, samples)] if samples % size else []
        return [[array[part] for array in arrays] for part in [*full[:1], *rest, *full[1:]][:count]]

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
        for tensor, initial in zip(self._sums, self._initial_sums, strict=True):
            tensor.copy_(initial)
        self._loops[kind].epoch(self._batch_size, len(self._arrays[kind][0]), order)
        assert self._read is not None
        self._read(1, 1)
        return self._values[:, None].numpy().copy()


def batch_sizes(samples: int, batch_size: int) -> tuple[int, ...]:
    """Return the numbers of samples in the batches of an epoch, each once."""
    full, rest = samples // batch_size, samples % batch_size
    return (batch_size,) * (full > 0) + (rest,) * (rest > 0)


def _tensors(samples: Samples) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in samples.arrays()]
