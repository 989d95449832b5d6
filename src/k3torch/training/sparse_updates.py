"""Training steps that read and update only the rows of the first kernel whose words occur in the batch.

The gradient of ``bags @ kernel`` is zero in the row of each word that does not occur. Keras's optimizers go through all
rows all the same. Here backpropagation ends at the product. From its gradient, (samples, units), the update computes
that of each row that occurs. What steps with gradient zero do to the other rows is made up for later:

==================================  ====================================================================
``SGD``                             nothing
``Adagrad``                         nothing: the sum of squares and the weight stay as they are
``RMSprop``, no momentum            ``velocity = rho * velocity``; the weight stays, as epsilon is not zero
``SGD`` with momentum               ``velocity = momentum * velocity; weight += velocity``, or with Nesterov
                                    ``weight += momentum * velocity``
==================================  ====================================================================

None of them depends on the learning rate, so schedules need nothing more. A counter for each row says how many steps it
has taken. A row takes the steps that it lags behind before it is read or updated: one after another, not by a power of
``rho`` or a geometric series, so that weights and velocities have the bits of a row that has not lagged, whenever it
catches up. Adam moves weights whose gradient is zero by a rate that differs in each step, and stays dense.

All rows catch up before weights or optimizer variables are read: at the end of an epoch, before validation,
prediction, a checkpoint, a dense step, another choice of the step's parts, and when ``fit`` ends, by an exception too.
Outside of ``fit``, and with callbacks that may read weights within an epoch, steps are dense.
"""

from collections.abc import Sequence
from typing import Any

from k3torch import kernels, sparse_kernels
from k3torch.kernels import Kernels, SortedWords, are_plain
from k3torch.sparse_kernels import ADAGRAD, MOMENTUM, NESTEROV, RMSPROP, SGD, SparseKernels, Table
from k3torch.training import fast_step
from k3torch.training.fast_step import Unsupported, UpdateWeights
from k3torch.training.keras_internals import private_attribute, private_method
from k3torch.training.python_state import is_own, reachable
from k3torch.training.sparse_inputs import check_bags
import keras
import torch

# Sparse steps are faster for a kernel of more than WEIGHTS weights, whose updates take most of a dense step, with at
# least WORDS_PER_VALUE words for each value of the batch. Steps with gradient zero, which depend on one another, are
# faster in rows of UNITS weights or more. Measured with 15,000 bags of 212 words, RMSprop and 16 units, seconds of
# processor time an epoch, dense and sparse, in batches of 512: 100,000 words 0.14 and 0.06, 300,000 words 0.6 and 0.07,
# a million 0.9 and 0.12 (0.08 since words are sorted; the others were not measured again). Of 30,000 words in batches
# of 32: 0.25 and 0.32. One unit, a million words: 0.03 and 0.10.
WEIGHTS, WORDS_PER_VALUE, UNITS = 2**20, 0.5, 4
# What a model says if it takes other steps, with the reason.
DENSE_STEPS = (
    "updates all weights of its first layer at each step, because of {}: SGD, Adagrad and RMSprop without momentum can "
    "update those of the words that occur alone"
)


def sparse_updates(model: keras.Model, update_weights: UpdateWeights) -> "SparseUpdates | None":
    """Return sparse steps for a compiled and built model, or None if its first layer has too few weights for them.

    Args:
        model: whose forward pass, loss and update ``fast_step`` supports.
        update_weights: of ``fast_step``.

    Raises:
        Unsupported: if the model needs dense steps; the message says for what.
    """
    layer = next((each for each in model.layers if not isinstance(each, keras.layers.InputLayer)), None)
    if not isinstance(layer, keras.layers.Dense) or not layer.kernel.trainable:
        return None
    kernel = layer.kernel.value
    if kernel.numel() <= WEIGHTS or kernel.device.type != "cpu":  # the other checks take longer
        return None
    bags, compiled = kernels.load(), sparse_kernels.load()
    if bags is None or compiled is None:
        return None
    if reason := _dense_reason(model, layer):
        raise Unsupported(reason)
    slots = _slots(model.optimizer, layer.kernel)
    if not are_plain(kernel, kernel if slots is None else slots):
        return None
    if _number(model.optimizer) != SGD and slots is None:
        raise Unsupported("an optimizer that was built for other settings")
    if kernel.shape[1] < UNITS and _number(model.optimizer) not in (SGD, ADAGRAD):
        return None
    return SparseUpdates(model, layer.kernel, bags, compiled, update_weights)


def _dense_reason(model: keras.Model, layer: keras.layers.Dense) -> str | None:
    """Return for what the model needs steps of all rows, or None."""
    optimizer = model.optimizer
    holders = [v for each in model.layers for v in each.variables if v is layer.kernel]
    reasons = {
        _optimizer_reason(optimizer): _optimizer_reason(optimizer) is not None,
        "weight decay": bool(optimizer.weight_decay),
        "a penalty or a constraint on the kernel": bool(layer.kernel.regularizer or layer.kernel.constraint),
        "a kernel that two layers share": len(holders) > 1,
        "jit_compile=True": bool(model.jit_compile),
        f"{layer.compute_dtype} inputs": not layer.compute_dtype == layer.variable_dtype == "float32",
        "code of the caller in the loss, the metrics or the optimizer": any(
            is_own(item) for item in reachable(model, through_functions=False) if item is not model
        ),
    }
    return next((reason for reason, found in reasons.items() if found), None)


def _optimizer_reason(optimizer: Any) -> str | None:
    name = type(optimizer).__name__
    if name == "SGD" and isinstance(optimizer, keras.optimizers.SGD):
        return None
    if name == "Adagrad" and isinstance(optimizer, keras.optimizers.Adagrad):
        return None if optimizer.epsilon > 0 else "Adagrad with epsilon=0"
    if name == "RMSprop" and isinstance(optimizer, keras.optimizers.RMSprop):
        if optimizer.momentum or optimizer.centered:
            return "RMSprop with momentum or centered"
        return None if optimizer.epsilon > 0 else "RMSprop with epsilon=0"
    return name


def is_sparse(x: Any) -> bool:
    """Return whether ``x`` is a batch of bags with so few words of the vocabulary that a sparse step is faster."""
    return (
        isinstance(x, torch.Tensor)
        and x.layout == torch.sparse_csr
        and x.dtype is torch.float32
        and x.col_indices().dtype is x.crow_indices().dtype is torch.int32
        and x.device.type == "cpu"
        and len(x.col_indices()) * WORDS_PER_VALUE <= x.shape[1]
    )


class SparseUpdates:
    """The forward pass and the update of steps on the rows that occur, for one choice of a step's parts.

    Args:
        model: compiled and built.
        kernel: the variable of the first layer, (words, units).
        bags: the compiled loops over bags.
        updates: those over rows of the kernel.
        update_weights: of all variables, or of some.
    """

    def __init__(
        self, model: keras.Model, kernel: Any, bags: Kernels, updates: SparseKernels, update_weights: UpdateWeights
    ):
        self.forward = fast_step.forward(model, multiply=self._multiply)
        self._kernel, self._bags, self._kernels, self._optimizer = kernel, bags, updates, model.optimizer
        self._number = _number(model.optimizer)
        self._update_others = update_weights
        weights = kernel.value
        done = torch.zeros(len(weights), dtype=torch.int32)
        self._table = Table(weights, _slots(model.optimizer, kernel), done)
        self._words = SortedWords()  # of the last batch
        self._product: torch.Tensor | None = None  # of the last batch and the kernel

    def suits(self, x: Any) -> bool:
        """Return whether a sparse step on the inputs ``x`` is possible and faster than a dense one."""
        return is_sparse(x) and x.shape[1] == len(self._table.weights)

    def _multiply(self, x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
        """Return ``x @ kernel``, from whose gradient the update computes that of the rows that occur."""
        offsets, ids, values = (each.contiguous() for each in (x.crow_indices(), x.col_indices(), x.values()))
        if not self._bags.sort_words(offsets, ids, values, x.shape, self._words):
            check_bags(x)  # which says what is wrong
        if self._number in (MOMENTUM, NESTEROV):
            self.catch_up(self._words.rows)
        self._product = self._bags.multiply(self._words, self._table.weights, len(x)).requires_grad_()
        return self._product

    def update_weights(self, gradients: Sequence[torch.Tensor | None], variables: Sequence[Any]) -> None:
        """Take one step of the optimizer after a backward pass; the kernel's entry in ``gradients`` is not read."""
        self._update(self._words, self._last_gradient(), gradients, variables)

    def update_rows(
        self, rows: torch.Tensor, gradients: Sequence[torch.Tensor | None], variables: Sequence[Any]
    ) -> None:
        """Take one step with given gradients, of which the kernel's is that of ``rows``, (rows, units)."""
        (gradient,) = (g for g, v in zip(gradients, variables, strict=True) if v is self._kernel and g is not None)
        nonzero = gradient.any(1).nonzero()[:, 0]
        self._update(SortedWords.of_rows(rows[nonzero]), gradient[nonzero], gradients, variables)

    def _update(
        self, words: SortedWords, gradient: torch.Tensor, gradients: Sequence[Any], variables: Sequence[Any]
    ) -> None:
        self._kernels.update_rows(self._table, *self._rule(), words, gradient.contiguous())
        others = [(g, v) for g, v in zip(gradients, variables, strict=True) if v is not self._kernel]
        if others:
            self._update_others(*zip(*others, strict=True))
        else:
            self._optimizer.iterations.value.add_(1)

    def catch_up(self, rows: torch.Tensor | None = None) -> None:
        """Let all rows, or some, take the steps that they lag behind."""
        if self._table.base < self._table.now and self._number not in (SGD, ADAGRAD):
            self._kernels.catch_up(self._table, *self._rule(), rows)
        if rows is None:
            self._table.base = self._table.now

    def tensors(self) -> list[torch.Tensor]:
        """Return the kernel, and the optimizer's variable of it if it has one."""
        slots = self._table.slots
        return [self._table.weights, *([] if slots is None else [slots])]

    def last_rows(self) -> torch.Tensor:
        """Return the rows of the last batch, int32; none before the first."""
        return self._words.rows

    def gradient_of(self, rows: torch.Tensor) -> torch.Tensor | None:
        """Return the last gradient of rows, (rows, units), among which are all of the last batch; None before it."""
        if self._product is None:
            return None
        gradient, (ids, bags, bits) = self._last_gradient(), self._words.words.T
        found = torch.zeros(len(rows), gradient.shape[1])
        parts = gradient[bags].mul_(bits.contiguous().view(torch.float32)[:, None])
        return found.index_add_(0, torch.searchsorted(rows, ids.contiguous()), parts)

    def count_steps(self, rows: torch.Tensor, steps: int) -> None:
        """Count so many steps since all rows last caught up, which these rows have done and the others have not."""
        self._table.now = self._table.base + steps
        self._table.done[rows] = self._table.now

    def _last_gradient(self) -> torch.Tensor:
        """Return the gradient of the last product, (bags, units)."""
        assert self._product is not None
        gradient = self._product.grad
        return torch.zeros_like(self._product) if gradient is None else gradient

    def _rule(self) -> tuple[int, tuple[float, ...]]:
        """Return the number of the optimizer in ``sparse_kernels`` and its settings of now."""
        optimizer, rate = self._optimizer, float(self._optimizer.learning_rate)
        if self._number == RMSPROP:
            return RMSPROP, (rate, optimizer.rho, 1 - optimizer.rho, optimizer.epsilon)
        if self._number == ADAGRAD:
            return ADAGRAD, (rate, optimizer.epsilon)
        return self._number, (rate, optimizer.momentum)


def _number(optimizer: Any) -> int:
    """Return the number of a supported optimizer in ``sparse_kernels``."""
    if isinstance(optimizer, keras.optimizers.SGD):
        return SGD if optimizer.momentum == 0 else NESTEROV if optimizer.nesterov else MOMENTUM
    return RMSPROP if isinstance(optimizer, keras.optimizers.RMSprop) else ADAGRAD


def _slots(optimizer: Any, kernel: Any) -> torch.Tensor | None:
    """Return the optimizer's variable of the kernel."""
    names = {"RMSprop": "_velocities", "Adagrad": "_accumulators", "SGD": "momentums"}
    index = private_method(optimizer, "_get_variable_index", "variable")
    slots = private_attribute(optimizer, names[type(optimizer).__name__])
    return slots[index(kernel)].value if len(slots) else None
