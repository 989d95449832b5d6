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

    def arrays(self) -> list[NDArray[np.generic]]:
        """Return x, y and, if there are any, the sample weights."""
        return [self.x, self.y] + ([] if self.sample_weight is None else [self.sample_weight])

    @property
    def nbytes(self) -> int:
        """The memory of x and y in bytes."""
        return self.x.nbytes + self.y.nbytes

    def example(self) -> tuple[NDArray[np.generic], NDArray[np.generic], NDArray[np.generic] | None]:
        """Return x, y and sample_weight or None of one sample, each with a first dimension of 1."""
        return self.x[:1], self.y[:1], None if self.sample_weight is None else self.sample_weight[:1]


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
        for of_models in zip(*(samples.arrays() for samples in models), strict=True):  # x of each model, then y
            padded = np.zeros((len(models), max(lengths), *of_models[0].shape[1:]), dtype=of_models[0].dtype)
            for target, array in zip(padded, of_models, strict=True):
                target[: len(array)] = array
            arrays.append(torch.from_numpy(padded).to(device))
        return cls(arrays, lengths)

    def of_models(self, members: slice) -> "StackedSamples":
        """Return views of the same tensors, for some of the models."""
        return StackedSamples([array[members] for array in self.arrays], self.lengths[members])

    def batch_counts(self, batch_size: int) -> dict[int, int]:
        """Return, for each size of batch that occurs, the largest number of such batches in an epoch of one model.

        The sizes are ``batch_size`` and those of the models' shorter last batches.
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
        unchanged: the number of leading tensors of ``state`` that the step does not change.
        samples: of all models.
        batch_size: samples in a batch, as the caller asked.
        size: samples in a batch of this loop: ``batch_size``, or fewer for the batch that ends an epoch.
        most_batches: the largest number of batches of this size that any model of the whole stack has in an epoch. It
            fixes the shape of the loop's inputs, so that a loop compiled for one model fits all of them.

    Attributes:
        inputs: all tensors of the graph. The last one is the seed of the step's random numbers in a compiled loop
            (``inductor_cpp``): it is drawn once an epoch, and each step adds one.
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
        # Models may have different numbers of batches: a step beyond a model's last batch leaves its state unchanged.
        self._masked = len({len(batches(order, batch_size, size)) for order in orders}) > 1
        weighted = len(samples.arrays) == 3
        # Regularizers add in place to a scalar, which vmap refuses for a scalar of each model.
        functional = torch.func.functionalize(step)
        self._step = torch.vmap(functional, in_dims=(0, 0, 0, 0 if weighted else None), randomness="different")
        self._state_count, self._array_count = len(state), len(samples.arrays)
        self._order = torch.zeros(self._models, most_batches, size, dtype=torch.int64, device=device)
        self._count = torch.zeros(self._models, dtype=torch.int64, device=device)
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._step_seed = torch.zeros((), dtype=torch.int64, device=device)
        self.inputs = [*state, *samples.arrays, self._order, self._count, self._position, self._step_seed]
        self._steps = 0
        self._set_order(orders)

    def graph(self) -> TracedGraph:
        """Return one step as a graph over ``inputs``."""
        return TracedGraph(graphs.trace(self._all_models, self.inputs), self.inputs, self._name)

    def batches_of(self, samples: Samples) -> Order:
        """Return the batches of this loop's size that a model has, in the samples' own order, (batches, size)."""
        return batches(np.arange(len(samples)), self._batch_size, self._size)

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of each model's samples for the next epoch, and draw the seed of its random numbers."""
        self._set_order(orders)
        self.draw_seed()

    def draw_seed(self) -> None:
        """Draw the seed of a compiled loop's random numbers from torch's generator."""
        self._step_seed.copy_(torch.randint(2**62, ()))

    def begin(self) -> int:
        """Go back to the first batch, and return the number of steps of an epoch."""
        self._position.zero_()
        return self._steps

    def _set_order(self, orders: Sequence[Order]) -> None:
        joined, counts = joined_batches(orders, self._batch_size, self._size, self._order.shape[1])
        self._order.copy_(joined)  # one copy, since each synchronises with an accelerator
        if self._masked:
            self._count.copy_(torch.tensor(counts))
        self._steps = max(counts)

    def _all_models(self, *inputs: Tensor) -> None:
        end_of_state, end_of_arrays = self._state_count, self._state_count + self._array_count
        state, samples = list(inputs[:end_of_state]), inputs[end_of_state:end_of_arrays]
        order, count, position, step_seed = inputs[end_of_arrays:]
        indices = order.index_select(1, position.reshape(1)).squeeze(1)
        model = torch.arange(self._models, device=order.device)[:, None]
        x, y, *weights = (array[model, indices] for array in samples)
        new_state = self._step(state, x, y, weights[0] if weights else None)
        active = position < count
        for old, new in list(zip(state, new_state, strict=True))[self._unchanged :]:
            old.copy_(torch.where(active.reshape(-1, *[1] * (old.ndim - 1)), new, old) if self._masked else new)
        position.add_(1)
        step_seed.add_(1)


def joined_batches(orders: Sequence[Order], batch_size: int, size: int, most: int) -> tuple[Tensor, list[int]]:
    """Return the batches of several models, (models, most, size), padded with zeros, and the number of each model."""
    of_models = [batches(order, batch_size, size) for order in orders]
    joined = np.zeros((len(of_models), most, size), np.int64)
    for model, own in enumerate(of_models):
        joined[model, : len(own)] = own
    return torch.from_numpy(joined), list(map(len, of_models))


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


def first_batches(samples: int, batch_size: int, count: int) -> list[Order]:
    """Return the indices of the first full batch, of the shorter last one, and of more full ones, up to ``count``."""
    order, rest = np.arange(samples), samples % batch_size
    full = list(batches(order, batch_size, batch_size))
    shorter = list(batches(order, batch_size, rest)) if rest else []
    return [*full[:1], *shorter, *full[1:]][:count]
