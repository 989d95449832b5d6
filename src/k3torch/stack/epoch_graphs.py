"""The graphs of one epoch of stacked models: training batches, validation batches, reading the metrics."""

from collections.abc import Callable, Sequence

from k3torch.stack import graphs, stateless
from k3torch.stack.batch_loop import BatchLoop, Order, StackedSamples
from k3torch.stack.graphs import TracedGraph
import keras
import torch

Tensor = torch.Tensor
RunGraph = Callable[[int], None]


class EpochGraphs:
    """An epoch as a few graphs, and running it once the caller has turned the graphs into functions.

    Args:
        model: one of the models, for its step.
        state: the tensors of ``stateless.variables``, stacked: (models, ...).
        metric_values: (models, metrics), into which the metrics of the latest epoch are written.
        training: the training samples.
        validation: the validation samples.
        batch_size: samples in a batch, of training and of validation.
        batch_counts: of training and of validation: ``StackedSamples.batch_counts``, other models of the stack
            included.

    Attributes:
        training_loops, validation_loops: one for each batch size that occurs, the full one first.
        runs: for each of ``graphs``, a function that runs it a given number of times; the caller sets it.
    """

    def __init__(
        self,
        model: keras.Model,
        state: Sequence[Tensor],
        metric_values: Tensor,
        training: StackedSamples,
        validation: StackedSamples,
        batch_size: int,
        batch_counts: tuple[dict[int, int], dict[int, int]],
    ):
        first_sum = len(state) - len(model.metrics_variables)
        self.training_loops, self.validation_loops = (
            [
                BatchLoop(name, step, state, unchanged, samples, batch_size, size, count)
                for size, count in counts.items()
            ]
            for name, step, unchanged, samples, counts in (
                ("training", stateless.train_step(model), 0, training, batch_counts[0]),
                ("validation", stateless.test_step(model), first_sum, validation, batch_counts[1]),
            )
        )
        for loop in self.validation_loops:  # which keep the order that they are made with
            loop.draw_seed()
        self._read_metrics, self._read_inputs = _metric_reader(model), [*state[first_sum:], metric_values]
        self.runs: list[RunGraph] = []

    @property
    def inputs(self) -> list[list[Tensor]]:
        """The tensors of each graph."""
        return [loop.inputs for loop in [*self.training_loops, *self.validation_loops]] + [self._read_inputs]

    def graphs(self) -> list[TracedGraph]:
        """Trace the graphs: the training loops first, reading the metrics last.

        Raises:
            reasons.UntraceableStep: if the step of such a model cannot be mapped over models.
        """
        read = TracedGraph(graphs.trace(self._read_metrics, self._read_inputs), self._read_inputs, "reading metrics")
        return [*(loop.graph() for loop in [*self.training_loops, *self.validation_loops]), read]

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of each model's training samples."""
        for loop in self.training_loops:
            loop.load(orders)

    def train(self) -> None:
        """Train each model on its samples; the caller has reset the metric sums."""
        self._run(self.training_loops, self.runs)

    def validate(self) -> None:
        """Evaluate each model on its validation samples; the caller has reset the metric sums."""
        self._run(self.validation_loops, self.runs[len(self.training_loops) :])

    def _run(self, loops: Sequence[BatchLoop], runs: Sequence[RunGraph]) -> None:
        with torch.no_grad():
            for loop, run in zip(loops, runs, strict=False):
                run(loop.begin())
            self.runs[-1](1)


def _metric_reader(model: keras.Model) -> Callable[..., None]:
    """Return ``f(*metric_sums, metric_values)``, which writes the metrics' results into its last argument."""
    results = torch.vmap(stateless.results(model))

    def read(*inputs: Tensor) -> None:
        inputs[-1].copy_(results(list(inputs[:-1])))

    return read
