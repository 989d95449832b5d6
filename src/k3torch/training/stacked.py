"""Many Keras models of one shape, trained as one.

The models' weights, optimizer slots and metric sums are stacked, model by model along a new first dimension. One step
of all models is ``torch.vmap`` of one model's step, traced once into a graph that gathers its own batch by a step
counter and writes the new state over the old. So a step needs no Python but the call, and compiles into one piece.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from k3torch.training import compiled, pure
import keras
import numpy as np
from numpy.typing import NDArray
import torch

Tensor = torch.Tensor
Order = NDArray[np.int64]

# Steps from which compiling repays: it takes about ten seconds and saves half a millisecond a step.
WORTH_COMPILING = 20_000
# Validation rows of one model in one call; more would only take memory.
_ROWS_A_CALL = 4096


@dataclass(frozen=True)
class Rows:
    """One model's rows: x (rows, ...), y (rows, outputs), and sample_weight (rows,) or None."""

    x: NDArray[np.generic]
    y: NDArray[np.generic]
    sample_weight: NDArray[np.generic] | None = None

    def __len__(self) -> int:
        return len(self.y)


class Stack:
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
    """

    def __init__(
        self,
        models: Sequence[keras.Model],
        training: Sequence[Rows],
        validation: Sequence[Rows],
        batch_size: int,
        epochs: int,
        notice: Callable[[str], None] = print,
    ):
        self.models = list(models)
        self.batch_size = batch_size
        self.epochs = epochs
        self.notice = notice
        for model in self.models:
            prepare(model, training[0])
        self.names = pure.metric_names(self.models[0])

        groups = zip(*map(pure.variables, self.models), strict=True)
        self.state = [torch.stack([variable.value.detach() for variable in group]) for group in groups]
        self.device = self.state[0].device
        self._sums = self.state[len(self.state) - len(self.models[0].metrics_variables) :]
        self._zeros = [tensor.clone() for tensor in self._sums]
        self._lengths = [len(rows) for rows in training]
        self._data = _stacked(training, self.device)
        self._programs: dict[tuple[int, int, bool], _Program] = {}
        self._evaluations = _evaluations(self, validation)
        self._figures = torch.zeros(len(self.names), len(self.models), device=self.device)
        self._read = compiled.trace(_reader(self.models[0]), [*self._sums, self._figures])

    def train_epoch(self, orders: Sequence[Order]) -> NDArray[np.float32]:
        """Train each model on its rows in its order, and return the metrics: (metrics, models).

        Args:
            orders: for each model its row numbers, (rows,), in the order of training.
        """
        self._reset()
        for size in self._batch_sizes():
            batches = [_batches(order, self.batch_size, size) for order in orders]
            counts = [len(part) for part in batches]
            key = (size, max(counts), len(set(counts)) > 1)
            if key not in self._programs:
                self._programs[key] = _Program(self, *key)
            self._programs[key].run(batches, counts)
        return self._metrics()

    def evaluate(self) -> NDArray[np.float32]:
        """Return the metrics on the validation rows: (metrics, models)."""
        self._reset()
        with _one_thread():
            for evaluation in self._evaluations:
                evaluation()
        return self._metrics()

    def unstack(self) -> list[keras.Model]:
        """Write weights, optimizer slots and other state back into the models, and return them."""
        for index, model in enumerate(self.models):
            for variable, tensor in zip(pure.variables(model), self.state, strict=True):
                variable.assign(tensor[index])
            model.reset_metrics()
        return self.models

    def _batch_sizes(self) -> list[int]:
        """Return the full size, and those of last batches that are shorter."""
        full = {self.batch_size} if max(self._lengths) >= self.batch_size else set()
        return sorted(full | {n % self.batch_size for n in self._lengths} - {0}, reverse=True)

    def _reset(self) -> None:
        for tensor, zero in zip(self._sums, self._zeros, strict=True):
            tensor.copy_(zero)

    def _metrics(self) -> NDArray[np.float32]:
        self._read(*self._sums, self._figures)
        return self._figures.cpu().numpy().copy()


class _Program:
    """The step of a whole stack on batches of one size: a graph over tensors that stay where they are.

    Args:
        stack: whose state it changes.
        size: rows of a batch.
        longest: batches of an epoch, of the model that has most.
        masked: whether some models have fewer; their state then stays as it is in the steps they lack.
    """

    def __init__(self, stack: Stack, size: int, longest: int, masked: bool):
        models = len(stack.models)
        self._masked = masked
        self._models = models
        self._step = torch.vmap(
            pure.train_step(stack.models[0]),
            in_dims=(0, 0, 0, 0 if len(stack._data) == 3 else None),
            randomness="different",
        )
        self._parts = (len(stack.state), len(stack._data))
        self.order = torch.zeros(models, longest, size, dtype=torch.int64, device=stack.device)
        self.count = torch.zeros(models, dtype=torch.int64, device=stack.device)
        self.position = torch.zeros((), dtype=torch.int64, device=stack.device)
        self.inputs = [*stack.state, *stack._data, self.order, self.count, self.position]
        self._call = compiled.fastest(
            compiled.trace(self._all_models, self.inputs),
            self.inputs,
            worth_compiling=stack.epochs * longest >= WORTH_COMPILING,
            notice=stack.notice,
        )

    def run(self, batches: Sequence[Order], counts: Sequence[int]) -> None:
        """Do one step for each of the batches, (count, size) row numbers for each model."""
        for order, part in zip(self.order, batches, strict=True):
            order[: len(part)] = torch.from_numpy(part)
        self.count.copy_(torch.tensor(counts))
        self.position.zero_()
        with torch.no_grad(), _one_thread():
            for _ in range(max(counts)):
                self._call()

    def _all_models(self, *inputs: Tensor) -> None:
        states, data = self._parts
        state, rows = list(inputs[:states]), inputs[states : states + data]
        order, count, position = inputs[states + data :]
        picked = order.index_select(1, position.reshape(1)).squeeze(1)
        model = torch.arange(self._models, device=order.device)[:, None]
        x, y, *weights = (part[model, picked] for part in rows)
        fresh = self._step(state, x, y, weights[0] if weights else None)
        active = position < count
        for old, new in zip(state, fresh, strict=True):
            old.copy_(torch.where(active.reshape(-1, *[1] * (old.ndim - 1)), new, old) if self._masked else new)
        position.add_(1)


def prepare(model: keras.Model, rows: Rows) -> None:
    """Make the variables that a model gets only when it sees data: those of the optimizer and the metrics."""
    first = None if rows.sample_weight is None else rows.sample_weight[:1]
    model._symbolic_build(data_batch=(rows.x[:1], rows.y[:1], first))
    model.reset_metrics()


def _stacked(rows: Sequence[Rows], device: torch.device) -> list[Tensor]:
    """Return x, y and, where there are any, weights of all models: (models, most rows, ...), padded with zeros."""
    longest = max(map(len, rows))
    columns = [[part.x for part in rows], [part.y for part in rows]]
    weights = [part.sample_weight for part in rows if part.sample_weight is not None]
    stacked = []
    for column in [*columns, *([weights] if weights else [])]:
        padded = np.zeros((len(rows), longest, *column[0].shape[1:]), dtype=column[0].dtype)
        for target, part in zip(padded, column, strict=True):
            target[: len(part)] = part
        stacked.append(torch.from_numpy(padded).to(device))
    return stacked


def _batches(order: Order, batch_size: int, size: int) -> Order:
    """Return the batches of ``size`` rows that an epoch in this order has: the full ones, or the shorter last one."""
    full = len(order) // batch_size * batch_size
    if size == batch_size:
        return order[:full].reshape(-1, size)
    rest = order[full:]
    return rest[None] if len(rest) == size else rest[:0].reshape(0, size)


def _evaluations(stack: Stack, validation: Sequence[Rows]) -> list[Callable[[], None]]:
    """Return calls that count all validation rows into the metrics, models with equally many rows together."""
    step = torch.vmap(
        pure.test_step(stack.models[0]), in_dims=(0, 0, 0, 0 if validation[0].sample_weight is not None else None)
    )
    calls: list[Callable[[], None]] = []
    for length in sorted({len(rows) for rows in validation}):
        members = [index for index, rows in enumerate(validation) if len(rows) == length]
        data = _stacked([validation[index] for index in members], stack.device)
        for start in range(0, length, _ROWS_A_CALL):
            chunk = [part[:, start : start + _ROWS_A_CALL].contiguous() for part in data]
            calls.append(_evaluation(stack, step, members, chunk))
    return calls


def _evaluation(
    stack: Stack, step: Callable[..., list[Tensor]], members: list[int], data: list[Tensor]
) -> Callable[[], None]:
    everybody = len(members) == len(stack.models)
    first_sum = len(stack.state) - len(stack._sums)

    def count(*inputs: Tensor) -> None:
        state, (index, x, y, *weights) = inputs[: len(stack.state)], inputs[len(stack.state) :]
        mine = list(state) if everybody else [tensor.index_select(0, index) for tensor in state]
        fresh = step(mine, x, y, weights[0] if weights else None)
        for old, new in zip(state[first_sum:], fresh[first_sum:], strict=True):
            old.copy_(new if everybody else old.index_copy(0, index, new))

    inputs = [*stack.state, torch.tensor(members, device=stack.device), *data]
    graph = compiled.trace(count, inputs)
    return lambda: graph(*inputs)


def _reader(model: keras.Model) -> Callable[..., None]:
    """Return a function that turns metric sums (its first arguments) into figures (its last, written into)."""
    results = torch.vmap(pure.results(model), out_dims=1)

    def read(*inputs: Tensor) -> None:
        inputs[-1].copy_(results(list(inputs[:-1])))

    return read


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread, which is faster for so little work, and round numbers below 1e-38 to zero.

    The running average of a dead unit's gradient gets that small, and such numbers cost a hundred times more.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
