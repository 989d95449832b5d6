"""Loops over bags of words and weights that make one pass over memory, compiled from ``kernels.cpp`` at first use.

They compute what operators of SciPy and torch compute in several passes, up to float32 rounding, in one thread. They
trust their arguments: the caller checks dtypes, shapes and indices.
"""

from collections.abc import Sequence
import ctypes
import functools
from pathlib import Path

from k3torch import cpp_library
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
import torch

Tensor = torch.Tensor


@functools.cache
def load() -> "Kernels | None":
    """Return the kernels, or None where they cannot be compiled or do not give the results of NumPy."""
    library = cpp_library.load(Path(__file__).with_name("kernels.cpp"))
    kernels = Kernels(library) if library is not None else None
    return kernels if kernels is not None and _agree(kernels) else None


def are_plain(*tensors: Tensor) -> bool:
    """Return whether the kernels can go through these tensors: float32, contiguous, on the CPU."""
    return all(t.dtype is torch.float32 and t.is_contiguous() and t.device.type == "cpu" for t in tensors)


class SortedWords:
    """The words of a batch of bags, sorted by their ids, which are rows of weights.

    The next batch overwrites it, because allocating memory for each batch takes longer than sorting.

    Attributes:
        words: int32, (values, 3): of each value of the batch its id, the number of its bag, and the bits of the
            float32; those of an id in the order of the bags.
        rows: int32, (distinct ids,), ascending.
        starts: int32, (distinct ids + 1,): where the words of each row begin, and the end of the last.
    """

    def __init__(self) -> None:
        self._memory = torch.empty(0, dtype=torch.int32)
        self.words, self.rows, self.starts = self._memory.view(0, 3), self._memory, torch.zeros(1, dtype=torch.int32)

    @classmethod
    def of_rows(cls, rows: Tensor) -> "SortedWords":
        """Return bags of one word each, the ids ``rows``, int32, ascending, with the value 1."""
        found, numbers = cls(), torch.arange(len(rows) + 1, dtype=torch.int32)
        ones = torch.ones(len(rows)).view(torch.int32)
        found.words, found.rows, found.starts = torch.stack([rows, numbers[:-1], ones], dim=1), rows, numbers
        return found

    def reserve(self, count: int) -> tuple[Tensor, ...]:
        """Return memory for so many words, for as many again, and for their rows and starts."""
        sizes = 3 * count, 3 * count, count, count + 1
        if len(self._memory) < sum(sizes):
            self._memory = torch.empty(sum(sizes), dtype=torch.int32)
        ends = np.cumsum(sizes)
        return tuple(self._memory[end - size : end] for size, end in zip(sizes, ends, strict=True))


class Kernels:
    """The functions of the library, for contiguous arrays and tensors on the CPU: float32, offsets and ids int32."""

    def __init__(self, library: ctypes.CDLL):
        size, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_float

        function = functools.partial(cpp_library.function, library)
        self._row_offsets = function("row_offsets", size, *[pointer] * 3, returns=size)
        self._gather_rows = function("gather_rows", size, *[pointer] * 7)
        self._add_transposed = function("add_transposed", size, size, *[pointer] * 5)
        self._sort_words = function("sort_words", size, size, size, *[pointer] * 7, returns=size)
        self._multiply = function("multiply", size, size, *[pointer] * 3)
        self._rmsprop = function("rmsprop", size, *[number] * 4, *[pointer] * 3)
        self._adam = function("adam", size, *[number] * 6, *[pointer] * 4)

    def gather_rows(self, bags: csr_matrix, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor] | None:
        """Return offsets, ids and values of ``bags[rows]``, or None if the matrix or the result need other types.

        Args:
            bags: consistent.
            rows: from 0 to the number of rows of the matrix - 1, contiguous.
        """
        arrays = bags.indptr, bags.indices, bags.data
        supported = [array.dtype for array in arrays] == [np.int32, np.int32, np.float32]
        if not supported or not all(array.flags.c_contiguous and array.flags.aligned for array in arrays):
            return None
        chosen, starts, ids, values = (array.ctypes.data for array in (rows, *arrays))
        offsets = torch.empty(len(rows) + 1, dtype=torch.int32)
        total = self._row_offsets(len(rows), chosen, starts, offsets.data_ptr())
        if total >= 2**31:
            return None
        found = offsets, torch.empty(total, dtype=torch.int32), torch.empty(total, dtype=torch.float32)
        self._gather_rows(len(rows), chosen, starts, ids, values, *(tensor.data_ptr() for tensor in found))
        return found

    def transposed_product(self, offsets: Tensor, ids: Tensor, values: Tensor, gradient: Tensor, words: int) -> Tensor:
        """Return ``bags.T @ gradient``, (words, units), for the arrays of bags in CSR and a gradient (bags, units)."""
        # NumPy's zeros take no memory until they are written to; most words do not occur in a batch.
        sums = torch.from_numpy(np.zeros((words, gradient.shape[1]), np.float32))
        pointers = [tensor.data_ptr() for tensor in (offsets, ids, values, gradient, sums)]
        self._add_transposed(*gradient.shape, *pointers)
        return sums

    def sort_words(self, offsets: Tensor, ids: Tensor, values: Tensor, shape: Sequence[int], out: SortedWords) -> bool:
        """Sort the words of bags in CSR into ``out``; return False for arrays that are not those of bags.

        torch does not check the arrays of a CSR tensor against its shape, (bags, words), or against one another.
        """
        bags, num_words = shape
        if len(offsets) != bags + 1 or len(ids) != len(values):
            return False
        words, scratch, rows, starts = out.reserve(len(ids))
        pointers = [tensor.data_ptr() for tensor in (offsets, ids, values, words, scratch, rows, starts)]
        count = self._sort_words(bags, len(ids), num_words, *pointers)
        out.words, out.rows, out.starts = words.view(-1, 3), rows[: max(count, 0)], starts[: max(count, 0) + 1]
        return bool(count >= 0)

    def multiply(self, words: SortedWords, weights: Tensor, bags: int) -> Tensor:
        """Return ``bags @ weights``, (bags, units)."""
        products = torch.zeros(bags, weights.shape[1])
        pointers = words.words.data_ptr(), weights.data_ptr(), products.data_ptr()
        self._multiply(len(words.words), weights.shape[1], *pointers)
        return products

    def rmsprop(
        self, rate: float, rho: float, epsilon: float,
        gradient: Tensor, velocity: Tensor, weight: Tensor,
    ) -> None:  # fmt: skip
        """Update one weight and its velocity by Keras's RMSprop, without momentum and not centered."""
        pointers = gradient.data_ptr(), velocity.data_ptr(), weight.data_ptr()
        self._rmsprop(weight.numel(), rate, rho, 1 - rho, epsilon, *pointers)

    def adam(
        self, rate: float, betas: tuple[float, float], epsilon: float,
        gradient: Tensor, mean: Tensor, square: Tensor, weight: Tensor,
    ) -> None:  # fmt: skip
        """Update one weight and its moments by Keras's Adam, without amsgrad; ``rate`` has the bias correction."""
        first, second = betas
        pointers = gradient.data_ptr(), mean.data_ptr(), square.data_ptr(), weight.data_ptr()
        self._adam(weight.numel(), rate, first, 1 - first, second, 1 - second, epsilon, *pointers)


def _agree(kernels: Kernels) -> bool:
    """Return whether the kernels give the results of NumPy on a small example, which reaches each of their loops."""
    random = np.random.default_rng(0)
    dense = ((random.random((6, 7)) < 0.4) * random.normal(size=(6, 7))).astype(np.float32)
    dense[2] = 0
    rows = np.array([5, 2, 0, 5])
    gathered = kernels.gather_rows(csr_matrix(dense), rows)
    if gathered is None:
        return False
    gradient, g, m, s, w = (random.normal(size=size) for size in ((4, 85), 37, 37, 37, 37))
    s = s**2
    tensors = [torch.from_numpy(array).float() for array in (g, m, s, w)]
    product = kernels.transposed_product(*gathered, torch.from_numpy(gradient).float(), 7)
    kernels.adam(0.1, (0.9, 0.99), 1e-7, *tensors)
    mean, square = 0.9 * m + 0.1 * g, 0.99 * s + 0.01 * g**2
    weight = w - 0.1 * mean / (np.sqrt(square) + 1e-7)
    found = [product, *(tensor.clone() for tensor in tensors[1:])]
    kernels.rmsprop(0.1, 0.9, 1e-7, tensors[0], tensors[2], tensors[3])
    velocity = 0.9 * square + 0.1 * g**2
    found += tensors[2:]
    words, weights = SortedWords(), torch.from_numpy(gradient[:, :29]).float().repeat(2, 1)[:7]
    if not kernels.sort_words(*gathered, (len(rows), 7), words):
        return False
    found.append(kernels.multiply(words, weights, len(rows)))
    found.append(words.rows)
    expected = [dense[rows].T @ gradient, mean, square, weight, velocity, weight - 0.1 * g / np.sqrt(velocity + 1e-7)]
    expected += [dense[rows] @ weights.numpy(), np.flatnonzero(dense[rows].any(0))]
    return all(
        a.shape == b.shape and np.allclose(a.numpy(), b, rtol=1e-4, atol=1e-5)
        for a, b in zip(found, expected, strict=True)
    )
