"""A step of one or more models, repeated over batches of rows: a graph over tensors that stay where they are.

The graph gathers its own batch by a step counter and writes the new state over the old. So a step needs no Python but
the call, and compiles into one piece.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from k3torch.stack import graphs, stateless
import numpy as np
from numpy.typing import NDArray
import torch

Tensor = torch.Tensor
Order = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """One model's rows: x (rows, ...), y (rows, outputs), and sample_weight (rows,) or None."""

    x: NDArray[np.generic]
    y: NDArray[np.generic]
    sample_weight: NDArray[np.generic] | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True)
class StackedSamples:
    """The rows of several models: each column (models, most rows, ...), padded with zeros, and the rows of each."""

    columns: list[Tensor]
    lengths: list[int]

    @classmethod
    def of(cls, models: Sequence[Samples], device: torch.device) -> "StackedSamples":
        """Stack x, y and, where there are any, weights."""
        lengths = list(map(len, models))
        columns = []
        for parts in zip(*((rows.x, rows.y, rows.sample_weight) for rows in models), strict=True):
            if parts[0] is None:
                continue
            padded = np.zeros((len(models), max(lengths), *parts[0].shape[1:]), dtype=parts[0].dtype)
            for target, part in zip(padded, parts, strict=True):
                target[: len(part)] = part
            columns.append(torch.from_numpy(padded).to(device))
        return cls(columns, lengths)

    def of_models(self, members: slice) -> "StackedSamples":
        """Return the same tensors, seen by some of the models."""
        return StackedSamples([column[members] for column in self.columns], self.lengths[members])

    def walks(self, batch_size: int) -> dict[int, int]:
        """Return the batches of the longest walk for each size of batches: the full one, and those that end a walk."""
        sizes = {batch_size, *(length % batch_size for length in self.lengths)} - {0}
        orders = [np.arange(length) for length in self.lengths]
        longest = {size: max(len(batches(order, batch_size, size)) for order in orders) for size in sizes}
        return {size: longest[size] for size in sorted(sizes, reverse=True) if longest[size]}


class BatchLoop:
    """A step of ``pure``, mapped over models and repeated over batches of one size.

    Args:
        step: of one model.
        state: its tensors, each (models, ...).
        kept: how many of them, from the first on, the step leaves as they are.
        table: the rows to walk through, of as many models.
        batch_size: rows of a batch, as asked for.
        size: rows of a batch in this walk: ``batch_size``, or fewer for the batch that ends an epoch.
        longest: batches of the longest walk, perhaps of other models.

    Attributes:
        inputs: all tensors of the graph; the last one counts steps from a random number, for ``native`` to draw from.
    """

    def __init__(
        self,
        step: stateless.Step,
        state: Sequence[Tensor],
        kept: int,
        table: StackedSamples,
        batch_size: int,
        size: int,
        longest: int,
    ):
        self._batch_size, self._size, self._kept = batch_size, size, kept
        self._models, device = len(table.lengths), table.columns[0].device
        # A model with fewer batches than another stays as it is in the steps that it lacks.
        self._masked = len({len(batches(np.arange(length), batch_size, size)) for length in table.lengths}) > 1
        weighted = len(table.columns) == 3
        self._step = torch.vmap(step, in_dims=(0, 0, 0, 0 if weighted else None), randomness="different")
        self._parts = (len(state), len(table.columns))
        self._order = torch.zeros(self._models, longest, size, dtype=torch.int64, device=device)
        self._count = torch.zeros(self._models, dtype=torch.int64, device=device)
        self._position = torch.zeros((), dtype=torch.int64, device=device)
        self._clock = torch.zeros((), dtype=torch.int64, device=device)
        self.inputs = [*state, *table.columns, self._order, self._count, self._position, self._clock]
        self._steps = 0

    def graph(self) -> torch.fx.GraphModule:
        """Return one step as a graph over ``inputs``."""
        return graphs.trace(self._all_models, self.inputs)

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order in which each model walks through its rows, and draw what its random numbers begin from."""
        parts = [batches(order, self._batch_size, self._size) for order in orders]
        for model, part in enumerate(parts):
            self._order[model, : len(part)].copy_(torch.from_numpy(part))
        counts = list(map(len, parts))
        if self._masked:
            self._count.copy_(torch.tensor(counts))
        self._steps = max(counts)
        self._clock.copy_(torch.randint(2**62, ()))

    def begin(self) -> int:
        """Go back to the first batch, and return how many steps the walk takes."""
        self._position.zero_()
        return self._steps

    def _all_models(self, *inputs: Tensor) -> None:
        states, columns = self._parts
        state, table = list(inputs[:states]), inputs[states : states + columns]
        order, count, position, clock = inputs[states + columns :]
        picked = order.index_select(1, position.reshape(1)).squeeze(1)
        model = torch.arange(self._models, device=order.device)[:, None]
        x, y, *weights = (column[model, picked] for column in table)
        fresh = self._step(state, x, y, weights[0] if weights else None)
        active = position < count
        for old, new in list(zip(state, fresh, strict=True))[self._kept :]:
            old.copy_(torch.where(active.reshape(-1, *[1] * (old.ndim - 1)), new, old) if self._masked else new)
        position.add_(1)
        clock.add_(1)


def batches(order: Order, batch_size: int, size: int) -> Order:
    """Return the batches of ``size`` rows that a walk in this order has: the full ones, or the shorter last one."""
    full = len(order) // batch_size * batch_size
    if size == batch_size:
        return order[:full].reshape(-1, size)
    rest = order[full:]
    return rest[None] if len(rest) == size else rest[:0].reshape(0, size)
