"""A model that is trained by compiled C++ loops over its own samples; models like it use the same loops."""

from collections.abc import Iterable, Sequence, Sized
import ctypes

from k3torch.stack import stateless
from k3torch.stack.batch_loop import Order, Samples, first_batches
from k3torch.stack.compiled_loops import BoundLoop, CompiledLoop
from k3torch.stack.model_group import EpochMetrics, Kind, StepResult
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.step_graphs import Example
from k3torch.stack.traced_steps import StepGraphs
import keras
import numpy as np
import torch

Tensor = torch.Tensor


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


def batch_sizes(samples: int, batch_size: int) -> tuple[int, ...]:
    """Return the numbers of samples in the batches of an epoch, each once."""
    full, rest = samples // batch_size, samples % batch_size
    return (batch_size,) * (full > 0) + (rest,) * (rest > 0)


def sizes_of_batches(parts: Iterable[Sized], batch_size: int) -> set[int]:
    """Return the numbers of samples in a batch that occur in any of these."""
    return {size for part in parts for size in batch_sizes(len(part), batch_size)}


def _tensors(samples: Samples) -> list[Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in samples.arrays()]
