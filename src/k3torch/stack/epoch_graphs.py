"""The graphs of one epoch of stacked models: training batches, validation batches, reading the metrics."""

from collections.abc import Callable, Sequence

from k3torch.stack import graphs, stateless
from k3torch.stack.batch_loop import BatchLoop, Order, StackedSamples
import keras
import numpy as np
import torch

Tensor = torch.Tensor
Graph = tuple[torch.fx.GraphModule, list[Tensor]]
Call = Callable[[int], None]


class EpochGraphs:
    """EpochGraphs as a few graphs, which somebody else makes into functions.

    Args:
        model: one of the models, for its step.
        state: the tensors of ``stateless.variables``, stacked: (models, ...).
        figures: (models, metrics), where the metrics of the latest epoch are written.
        training: the rows to learn from.
        validation: the rows to be measured on.
        sizes: batch sizes of training and of validation.
        longest: of both, for each size of batches the most batches, perhaps of other models.

    Attributes:
        calls: for each of ``graphs``, once it is known, a function that runs it so many times.
    """

    def __init__(
        self,
        model: keras.Model,
        state: Sequence[Tensor],
        figures: Tensor,
        training: StackedSamples,
        validation: StackedSamples,
        sizes: tuple[int, int],
        longest: tuple[dict[int, int], dict[int, int]],
    ):
        kept = len(state) - len(model.metrics_variables)
        self.training_walks, self._validation_walks = (
            [BatchLoop(step, state, first, table, batch, size, count) for size, count in counts.items()]
            for step, first, table, batch, counts in (
                (stateless.train_step(model), 0, training, sizes[0], longest[0]),
                (stateless.test_step(model), kept, validation, sizes[1], longest[1]),
            )
        )
        for walk in self._validation_walks:
            walk.load([np.arange(length) for length in validation.lengths])
        self._reading = (_reader(model), [*state[kept:], figures])
        self.calls: list[Call] = []

    @property
    def inputs(self) -> list[list[Tensor]]:
        """The tensors of each graph."""
        return [walk.inputs for walk in [*self.training_walks, *self._validation_walks]] + [self._reading[1]]

    def graphs(self) -> list[Graph]:
        """Trace them: the training walks first, the reading of the metrics last."""
        walks = [walk.graph() for walk in [*self.training_walks, *self._validation_walks]]
        return list(zip([*walks, graphs.trace(*self._reading)], self.inputs, strict=True))

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order in which each model walks through its training rows."""
        for walk in self.training_walks:
            walk.load(orders)

    def train(self) -> None:
        """Train each model on its rows; its metric sums stand where an epoch begins."""
        self._go(self.training_walks, self.calls)

    def validate(self) -> None:
        """Measure each model on its validation rows; its metric sums stand where an epoch begins."""
        self._go(self._validation_walks, self.calls[len(self.training_walks) :])

    def _go(self, walks: Sequence[BatchLoop], calls: Sequence[Call]) -> None:
        with torch.no_grad():
            for walk, call in zip(walks, calls, strict=False):
                call(walk.begin())
            self.calls[-1](1)


def _reader(model: keras.Model) -> Callable[..., None]:
    """Return a function that turns metric sums (its first arguments) into figures (its last, written into)."""
    results = torch.vmap(stateless.results(model))

    def read(*inputs: Tensor) -> None:
        inputs[-1].copy_(results(list(inputs[:-1])))

    return read
