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
from k3torch.kernels import SortedWords
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
    def arguments(self) -> tuple[int | None, ...]:
        """What the functions of the library take: units, steps and pointers."""
        slots = None if self.slots is None else self.slots.data_ptr()
        return self.weights.shape[1], self.base, self.now, self.done.data_ptr(), slots, self.weights.data_ptr()


class SparseKernels:
    """The functions of the library."""

    def __init__(self, library: ctypes.CDLL):
        size, whole, pointer = ctypes.c_int64, ctypes.c_int32, ctypes.c_void_p
        table = whole, pointer, size, whole, whole, *[pointer] * 3

        function = functools.partial(cpp_library.function, library)
        self._update_rows = function("update_rows", *table, size, *[pointer] * 4)
        self._catch_up = function("catch_up", *table, size, pointer)

    def update_rows(
        self, table: Table, optimizer: int, settings: Sequence[float], words: SortedWords, gradients: Tensor
    ) -> None:
        """Take one step: of the words' rows, with the gradients of the bags' products, and of the others with none.

        Args:
            table: the others take the step later.
            optimizer: its number.
            settings: of the optimizer.
            words: of a batch.
            gradients: float32, (bags, units), contiguous.
        """
        arrays = words.rows, words.starts, words.words, gradients
        pointers = [tensor.data_ptr() for tensor in arrays]
        self._update_rows(optimizer, _floats(settings), *table.arguments, len(words.rows), *pointers)
        table.now += 1

    def catch_up(self, table: Table, optimizer: int, settings: Sequence[float], rows: Tensor | None = None) -> None:
        """Take the steps that any row lags behind, or that some rows do."""
        some = (len(table.weights), None) if rows is None else (len(rows), rows.data_ptr())
        self._catch_up(optimizer, _floats(settings), *table.arguments, *some)
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
            rows = torch.from_numpy(np.flatnonzero(gradient.any(1)).astype(np.int32))
            kernels.catch_up(table, optimizer, numbers, rows)
            if not np.allclose(tensors[0][rows], weights[rows], rtol=1e-4, atol=1e-5):
                return False
            gradients = torch.from_numpy(gradient).float()[rows]
            kernels.update_rows(table, optimizer, numbers, SortedWords.of_rows(rows), gradients)
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
