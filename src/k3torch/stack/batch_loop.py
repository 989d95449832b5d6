"""A step of one or more models, repeated over batches of samples, as a graph over tensors that keep their addresses.

The graph gathers its own batch by a step counter and overwrites the old state with the new. So a step needs no Python
but the call, and the whole step compiles into one C++ loop.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from k3torch.stack import graphs, stateless
from k3torch.stack.graphs import TracedGraph
import numpy as np
from numpy.typing import NDArray
import torch

Tensor = torch.Tensor
Order = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """One model's samples: x (samples, ...), y (samples, outputs), and sample_weight (samples,) or None."""

    x: NDArray[np.generic]
    y: NDArray[np.generic]
    sample_weight: NDArray[np.generic] | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class StackedSamples:
    """The samples of several models.

    Attributes:
        arrays: x, y and, if there are any, sample weights; each (models, most samples of a model, ...), padded with
            zeros.
        lengths: the number of samples of each model.
    """

    arrays: list[Tensor]
    lengths: list[int]

    @classmethod
    def of(cls, models: Sequence[Samples], device: torch.device) -> "StackedSamples":
        """Stack the samples of all models, on ``device``."""
        lengths = list(map(len, models))
        arrays = []
        for parts in zip(*((samples.x, samples.y, samples.sample_weight) for samples in models), strict=True):
            if parts[0] is None:
                continue
            padded = np.zeros((len(models), max(lengths), *parts[0].shape[1:]), dtype=parts[0].dtype)
            for target, part in zip(padded, parts, strict=True):
                target[: len(part)] = part
            arrays.append(torch.from_numpy(padded).to(device))
        return cls(arrays, lengths)

    def of_models(self, members: slice) -> "StackedSamples":
        """Return views of the same tensors, for some of the models."""
        return StackedSamples([array[members] for array in self.arrays], self.lengths[members])

    def batch_counts(self, batch_size: int) -> dict[int, int]:
        """Return the largest number of batches in an epoch of any model, for each batch size that occurs.

        Beside ``batch_size`` itself, the sizes of the shorter last batches occur.
        """
        sizes = {batch_size, *(length % batch_size for length in self.lengths)} - {0}
        orders = [np.arange(length) for length in self.lengths]
        most = {size: max(len(batches(order, batch_size, size)) for order in orders) for size in sizes}
        return {size: most[size] for size in sorted(sizes, reverse=True) if most[size]}


class BatchLoop:
    """A step of ``stateless``, mapped over models and repeated over batches of one size.

    Args:
        name: for messages.
        step: of one model.
        state: its tensors, each (models, ...).
        unchanged: how many of them, from the first on, the step does not change.
        samples: of all models.
        batch_size: samples in a batch, as the caller asked.
        size: samples in a batch of this loop: ``batch_size``, or fewer for the batch that ends an epoch.
        most_batches: the largest number of batches of this size in an epoch, other models of the stack included.

    Attributes:
        inputs: all tensors of the graph. The last one counts steps from a random number: ``inductor_cpp`` draws random
            numbers from it.
    """

    def __init__(
        self,
        name: str,
        step: stateless.Step,
        state: Sequence[Tensor],
        unchanged: int,
        samples: StackedSamples,
        batch_size: int,
        size: int,
        most_batches: int,
    ):
        self._name = f"{name}, batches of {size}"
        self._batch_size, self._size, self._unchanged = batch_size, size, unchanged
        self._models, device = len(samples.lengths), samples.arrays[0].device
        orders = [np.arange(length) for length in samples.lengths]
        # A model with fewer batches than another keeps its state in the steps that it lacks.
        self._masked = len({len(batches(order, batch_size, size)) for order in orders}) > 1
        weighted = len(samples.arrays) == 3
        # Regularizers add in place to a scalar, which vmap refuses for a scalar of each model.
        functional = torch.func.functionalize(step)
        self._step = torch.vmap(functional, in_dims=(0, 0, 0, 0 if weighted else None), randomness="different")
        self._parts = (len(state), len(samples.arrays))
        self._order = torch.zeros(self._models, most_batches, size, dtype=torch.int64, device=device)
        self._count = torch.zeros(self._models, dtype=torch.int64, device=device)
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._clock = torch.zeros((), dtype=torch.int64, device=device)
        self.inputs = [*state, *samples.arrays, self._order, self._count, self._position, self._clock]
        self._steps = 0
        self._set_order(orders)

    def graph(self) -> TracedGraph:
        """Return one step as a graph over ``inputs``."""
        return TracedGraph(graphs.trace(self._all_models, self.inputs), self.inputs, self._name)

    def batches_of(self, samples: Samples) -> Order:
        """Return the batches of this loop's size that a model has, in the samples' own order, (batches, size)."""
        return batches(np.arange(len(samples)), self._batch_size, self._size)

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of each model's samples, and draw the seed of the epoch's random numbers."""
        self._set_order(orders)
        self.draw_seed()

    def draw_seed(self) -> None:
        """Draw the number from which a compiled loop draws its random numbers."""
        self._clock.copy_(torch.randint(2**62, ()))

    def begin(self) -> int:
        """Go back to the first batch, and return the number of steps of an epoch."""
        self._position.zero_()
        return self._steps

    def _set_order(self, orders: Sequence[Order]) -> None:
        parts = [batches(order, self._batch_size, self._size) for order in orders]
        for model, part in enumerate(parts):
            self._order[model, : len(part)].copy_(torch.from_numpy(part.copy()))
        counts = list(map(len, parts))
        if self._masked:
            self._count.copy_(torch.tensor(counts))
        self._steps = max(counts)

    def _all_models(self, *inputs: Tensor) -> None:
        states, arrays = self._parts
        state, samples = list(inputs[:states]), inputs[states : states + arrays]
        order, count, position, clock = inputs[states + arrays :]
        indices = order.index_select(1, position.reshape(1)).squeeze(1)
        model = torch.arange(self._models, device=order.device)[:, None]
        x, y, *weights = (array[model, indices] for array in samples)
        new_state = self._step(state, x, y, weights[0] if weights else None)
        active = position < count
        for old, new in list(zip(state, new_state, strict=True))[self._unchanged :]:
            old.copy_(torch.where(active.reshape(-1, *[1] * (old.ndim - 1)), new, old) if self._masked else new)
        position.add_(1)
        clock.add_(1)


def batches(order: Order, batch_size: int, size: int) -> Order:
    """Return the batches of ``size`` samples in an epoch of this order: the full ones, or the shorter last one.

    Returns:
        Indices of samples, (batches, size).
    """
    full = len(order) // batch_size * batch_size
    if size == batch_size:
        return order[:full].reshape(-1, size)
    rest = order[full:]
    return rest[None] if len(rest) == size else rest[:0].reshape(0, size)
