"""Updates of single rows of a weight, compiled from ``sparse_kernels.cpp`` at first use.

They trust their arguments: the caller checks dtypes, shapes and indices.
"""

from collections.abc import Sequence
import ctypes
from dataclasses import dataclass
import functools
from pathlib import Path
from typing import Any

from k3torch import cpp_library
import numpy as np
import torch

Tensor = torch.Tensor
SGD, MOMENTUM, NESTEROV, RMSPROP, ADAGRAD = range(5)  # the numbers of the optimizers in sparse_kernels.cpp


@functools.cache
def load() -> "SparseKernels | None":
    """Return the kernels, or None where they cannot be compiled or do not give the results of NumPy."""
    library = cpp_library.load(Path(__file__).with_name("sparse_kernels.cpp"))
    kernels = SparseKernels(library) if library is not None else None
    return kernels if kernels is not None and _agree(kernels) else None


@dataclass
class Table:
    """A weight whose rows lag behind, and one optimizer variable of the same shape.

    Attributes:
        weights: float32, (words, units), contiguous, on the CPU.
        slots: alike, or None for an optimizer without a variable.
        done: int32, (words,): the steps that a row has taken, where that is more than ``base``.
        base: the steps that all rows have taken.
        now: the steps that an up-to-date row has taken.
    """

    weights: Tensor
    slots: Tensor | None
    done: Tensor
    base: int = 0
    now: int = 0

    @property
    def _pointers(self) -> tuple[int | None, ...]:
        return self.done.data_ptr(), None if self.slots is None else self.slots.data_ptr(), self.weights.data_ptr()


class SparseKernels:
    """The functions of the library."""

    def __init__(self, library: ctypes.CDLL):
        size, whole, pointer = ctypes.c_int64, ctypes.c_int32, ctypes.c_void_p

        function = functools.partial(cpp_library.function, library)
        self._distinct_ids = function("distinct_ids", size, size, *[pointer] * 5, returns=size)
        self._read_rows = function("read_rows", whole, pointer, size, size, pointer, whole, whole, *[pointer] * 4)
        self._update_rows = function("update_rows", whole, pointer, size, size, pointer, whole, whole, *[pointer] * 4)
        self._catch_up = function("catch_up", whole, pointer, size, size, pointer, whole, whole, *[pointer] * 3)

    def distinct_ids(self, ids: Tensor, words: int) -> tuple[Tensor, Tensor] | None:
        """Return the distinct ids in ascending order and the place of each id among them, or None for an unknown id.

        Args:
            ids: int32, contiguous, on the CPU; from 0 to ``words - 1``.
            words: number of rows of the weight.
        """
        marks, ranks = np.zeros(words // 64 + 1, np.uint64), np.empty(words // 64 + 1, np.int32)
        rows, places = torch.empty(min(len(ids), words), dtype=torch.int32), torch.empty_like(ids)
        scratch = marks.ctypes.data, ranks.ctypes.data
        count = self._distinct_ids(len(ids), words, ids.data_ptr(), *scratch, rows.data_ptr(), places.data_ptr())
        return None if count < 0 else (rows[:count], places)

    def read_rows(self, table: Table, optimizer: int, settings: Sequence[float], rows: Tensor) -> Tensor:
        """Return rows of the weights, (rows, units), after the steps that they lag behind."""
        units = table.weights.shape[1]
        found = torch.empty(len(rows), units)
        self._read_rows(
            optimizer, _floats(settings), len(rows), units, rows.data_ptr(), table.base, table.now, *table._pointers,
            found.data_ptr(),
        )  # fmt: skip
        return found

    def update_rows(
        self, table: Table, optimizer: int, settings: Sequence[float], rows: Tensor, gradients: Tensor
    ) -> None:
        """Take one step: of these rows with their gradients, (rows, units), and later of the others with none."""
        units = table.weights.shape[1]
        self._update_rows(
            optimizer, _floats(settings), len(rows), units, rows.data_ptr(), table.base, table.now, *table._pointers,
            gradients.data_ptr(),
        )  # fmt: skip
        table.now += 1

    def catch_up(self, table: Table, optimizer: int, settings: Sequence[float], rows: Tensor | None = None) -> None:
        """Take the steps that any row lags behind, or that some rows do."""
        count, units = table.weights.shape
        numbers = None if rows is None else rows.data_ptr()
        self._catch_up(
            optimizer, _floats(settings), count if rows is None else len(rows), units, numbers, table.base, table.now,
            *table._pointers,
        )  # fmt: skip
        if rows is None:
            table.base = table.now


def _floats(settings: Sequence[float]) -> Any:
    return (ctypes.c_float * 4)(*settings)


def _agree(kernels: SparseKernels) -> bool:
    """Return whether the kernels give the results of NumPy on a small example, for each optimizer."""
    random = np.random.default_rng(0)
    words, units, rate, decay, epsilon = 70, 19, 0.1, 0.9, 1e-3
    dense = [random.normal(size=(words, units)) * (random.random((words, 1)) < 0.3) for _ in range(4)]
    settings = {
        SGD: (rate,), MOMENTUM: (rate, decay), NESTEROV: (rate, decay), RMSPROP: (rate, decay, 1 - decay, epsilon),
        ADAGRAD: (rate, epsilon),
    }  # fmt: skip
    for optimizer, numbers in settings.items():
        weights, slots = random.normal(size=(words, units)), random.random((words, units))
        tensors = torch.from_numpy(weights).float(), torch.from_numpy(slots).float()
        table = Table(*tensors, torch.zeros(words, dtype=torch.int32))
        for gradient in dense:
            ids = np.flatnonzero(gradient.any(1))[::-1].astype(np.int32)
            found = kernels.distinct_ids(torch.from_numpy(ids.copy()), words)
            if found is None or not np.array_equal(found[0].numpy()[found[1].numpy()], ids):
                return False
            read = kernels.read_rows(table, optimizer, numbers, found[0]).numpy()
            if not np.allclose(read, weights[found[0].numpy()], rtol=1e-4, atol=1e-5):
                return False
            kernels.update_rows(table, optimizer, numbers, found[0], torch.from_numpy(gradient).float()[found[0]])
            weights, slots = _step(optimizer, rate, decay, epsilon, gradient, slots, weights)
        kernels.catch_up(table, optimizer, numbers)
        if not all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(tensors, (weights, slots), strict=True)):
            return False
    return True


def _step(optimizer: int, rate: float, decay: float, epsilon: float, g: Any, slot: Any, weight: Any) -> tuple[Any, Any]:
    if optimizer == SGD:
        return weight - rate * g, slot
    if optimizer in (MOMENTUM, NESTEROV):
        slot = decay * slot - rate * g
        return weight + (slot if optimizer == MOMENTUM else decay * slot - rate * g), slot
    slot = decay * slot + (1 - decay) * g**2 if optimizer == RMSPROP else slot + g**2
    return weight - rate * g / np.sqrt(slot + epsilon), slot
