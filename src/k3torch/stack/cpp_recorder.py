"""A graph that torch's compiler has lowered, written as one C++ loop over batches.

PyTorch's compiler (Inductor) turns a graph into C++ functions over plain pointers and a Python function that allocates
the buffers between them, calls them, and calls a library for matrix products. For steps of microseconds, that Python
function would take most of the time. It is called once here, with stand-ins for its tensors, so that each call in it
becomes a line of C++. Sizes that depend on the number of samples in a batch stay expressions of ``n``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
import re
from typing import Any, NamedTuple

from k3torch.stack.reasons import UnsupportedGraph
import sympy
import torch

# The signature of a compiled loop over batches of n samples: ``inputs`` as in ``StepGraph``, with all samples in place
# of a batch. ``order`` has the indices of the samples, or is null for the samples' own order.
RUN = "const char* run_{}(int64_t batches, int64_t n, const int64_t* order, char** inputs, char* scratch)"
SIZE = sympy.Symbol("n", integer=True, positive=True)
_ALIGNMENT = 64  # bytes, a cache line

Size = Any  # an int, or an expression of SIZE

PREAMBLE = """#ifndef K3TORCH_LOOPS  // of each file; files may be joined
#define K3TORCH_LOOPS
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
extern "C" {
typedef void (*sgemm_t)(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                        const int*, const float*, const int*, const float*, float*, const int*);
typedef void (*dgemm_t)(const char*, const char*, const int*, const int*, const int*, const double*, const double*,
                        const int*, const double*, const int*, const double*, double*, const int*);
__attribute__((weak)) sgemm_t k3torch_sgemm = nullptr;  // set by the caller, for all files
__attribute__((weak)) dgemm_t k3torch_dgemm = nullptr;
}
// Row-major c (m, n) = a (m, k) times b (k, n): BLAS reads rows as columns, so it computes the transposed product.
template <typename T, typename F>
static void product(F gemm, bool transposed_a, int lda, bool transposed_b, int ldb, int ldc, int m, int n, int k,
                    const char* a, const char* b, char* c) {
  const T one = 1, zero = 0;
  const char ta = transposed_a ? 'T' : 'N', tb = transposed_b ? 'T' : 'N';
  gemm(&tb, &ta, &n, &m, &k, &one, (const T*)b, &ldb, (const T*)a, &lda, &zero, (T*)c, &ldc);
}
// The rows of a batch: where they are, or gathered into the buffer.
static char* batch_rows(char* samples, const int64_t* order, char* buffer, int64_t batch, int64_t n, int64_t bytes) {
  if (!order) return samples + batch * n * bytes;
  if (n == 1) return samples + order[batch] * bytes;
  order += batch * n;
  for (int64_t row = 0; row < n; ++row) std::memcpy(buffer + row * bytes, samples + order[row] * bytes, bytes);
  return buffer;
}
#endif
"""


@dataclass(frozen=True)
class Buffer:
    """Stands for a tensor: where it is, in C++, and its shape."""

    base: str  # a C++ expression for a char pointer
    dtype: torch.dtype
    shape: tuple[Size, ...]
    stride: tuple[Size, ...]
    offset: Size = 0  # in elements

    def size(self) -> tuple[Size, ...]:
        """Return the shape; Inductor's Python function reads the size of a batch from it."""
        return self.shape

    @property
    def address(self) -> str:
        """The C++ expression for its first element."""
        return self.base if self.offset == 0 else f"({self.base} + {cpp(self.offset * self.dtype.itemsize)})"

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedGraph(_more_than_loops(f"Tensor.{name}"))


class Source(NamedTuple):
    """The C++ text of a loop."""

    kernels: list[str]
    function: str


@dataclass
class Recorder:
    """Notes what Inductor's functions for one graph do, as C++.

    Args:
        number: of the loop in its file.
        batch: the numbers of the inputs that are batches.
        row_bytes: the bytes of one sample in each of these.
    """

    number: int
    batch: range
    row_bytes: Sequence[int]
    kernels: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    allocations: list[str] = field(default_factory=list)  # bytes of scratch memory

    def kernel(self, types: Sequence[str], source: str) -> Callable[..., None]:
        """Replace ``AsyncCompile.cpp_pybinding``, which would compile a function."""
        name = f"kernel_{self.number}_{len(self.kernels)}"
        self.kernels.append(re.sub(r"\bvoid\s+kernel\(", f"void {name}(", source, count=1))

        def call(*arguments: Any) -> None:
            values = [_argument(kind, value) for kind, value in zip(types, arguments, strict=True)]
            self.calls.append(f"{name}({', '.join(values)});")

        return call

    def names(self) -> dict[str, Any]:
        """Return what the names of Inductor's Python function stand for while it is recorded."""
        refused = {name: _NoOperators(name) for name in ("aten", "inductor_ops", "torch")}
        return refused | {
            "empty_strided_cpu": self._allocate,
            "reinterpret_tensor": _reinterpret,
            "assert_size_stride": lambda *_: None,
            "assert_alignment": lambda *_: None,
            "extern_kernels": _Products(self.calls),
        }

    def input(self, number: int, value: torch.Tensor) -> Buffer:
        """Return the stand-in for an input, a tensor of torch's compiler whose sizes may be symbols."""
        shape, stride = tuple(map(_size, value.shape)), tuple(map(_size, value.stride()))
        if number in self.batch:
            return Buffer(f"batch_{number - self.batch.start}", value.dtype, shape, stride)
        return Buffer(f"inputs[{number}]", value.dtype, shape, stride)

    def source(self, assumed: Sequence[Any]) -> Source:
        """Return the loop as ``run_N``, its scratch memory as ``scratch_N``, the sizes it is for as ``valid_N``.

        Args:
            assumed: relations that the size of a batch must satisfy.
        """
        rows = [f"char* buffer_{i} = {self._scratch(f'n * {bytes_}')};" for i, bytes_ in enumerate(self.row_bytes)]
        gather = [
            f"char* batch_{i} = batch_rows(inputs[{number}], order, buffer_{i}, batch, n, {bytes_});"
            for i, (number, bytes_) in enumerate(zip(self.batch, self.row_bytes, strict=True))
        ]
        sizes = [
            f"const int64_t at_{i + 1} = at_{i} + ({size} + {_ALIGNMENT - 1}) / {_ALIGNMENT} * {_ALIGNMENT};"
            for i, size in enumerate(self.allocations)
        ]
        offsets = "\n  ".join(["const int64_t at_0 = 0;", *sizes])
        buffers, lines = "\n  ".join(rows), "\n    ".join([*gather, *self.calls])
        relations = " && ".join(["n > 0", *map(_relation, assumed)])
        function = f"""
extern "C" int64_t valid_{self.number}(int64_t n) {{ return {relations}; }}
extern "C" int64_t scratch_{self.number}(int64_t n) {{
  {offsets}
  return at_{len(self.allocations)};
}}
// Returns the message of an exception (an index out of bounds), which could not cross into Python.
extern "C" {RUN.format(self.number)} try {{
  {offsets}
  {buffers}
  for (int64_t batch = 0; batch < batches; ++batch) {{
    {lines}
  }}
  return nullptr;
}} catch (const std::exception& error) {{
  static thread_local char said[400];
  std::strncpy(said, error.what(), sizeof said - 1);
  return said;
}}
"""
        return Source(self.kernels, function)

    def _scratch(self, size: str) -> str:
        self.allocations.append(size)
        return f"(scratch + at_{len(self.allocations) - 1})"

    def _allocate(self, shape: Sequence[Size], stride: Sequence[Size], dtype: torch.dtype) -> Buffer:
        last = 1 + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
        base = self._scratch(cpp(sympy.expand(last * dtype.itemsize)))
        return Buffer(base, dtype, tuple(shape), tuple(stride))


class _Products:
    """Replaces Inductor's module of library functions: matrix products become calls of BLAS."""

    def __init__(self, calls: list[str]):
        self._calls = calls

    def mm(self, a: Buffer, b: Buffer, *, out: Buffer) -> None:
        """Write the product of two matrices."""
        self._calls.append(_product(a, b, out))

    def bmm(self, a: Buffer, b: Buffer, *, out: Buffer) -> None:
        """Write the products of stacked matrices."""
        matrices = [
            Buffer(f"{x.address} + j * {cpp(x.stride[0] * x.dtype.itemsize)}", x.dtype, x.shape[1:], x.stride[1:])
            for x in (a, b, out)
        ]
        self._calls.append(f"for (int64_t j = 0; j < {cpp(out.shape[0])}; ++j) {_product(*matrices)}")

    def __getattr__(self, name: str) -> Any:
        raise UnsupportedGraph(_more_than_loops(f"extern_kernels.{name}"))


def _product(a: Buffer, b: Buffer, out: Buffer) -> str:
    gemm = {torch.float32: "float>(k3torch_sgemm", torch.float64: "double>(k3torch_dgemm"}.get(out.dtype)
    if gemm is None or out.stride[-1] != 1 or {a.dtype, b.dtype} != {out.dtype}:
        raise UnsupportedGraph(_more_than_loops(f"a product of {out.dtype}"))
    (m, k), n = a.shape, b.shape[1]
    layouts = ", ".join([*map(_layout, (a, b)), _distance(out.stride[0], m, n)])
    sizes = ", ".join(map(cpp, (m, n, k)))
    return f"product<{gemm}, {layouts}, {sizes}, {a.address}, {b.address}, {out.address});"


def _layout(matrix: Buffer) -> str:
    """Return whether BLAS finds the matrix transposed, and the distance of its rows (or columns)."""
    (rows, columns), (down, right) = matrix.shape, matrix.stride
    if right == 1 or (columns == 1 and down != 1):
        return f"false, {_distance(down, rows, columns)}"
    if down == 1 or rows == 1:
        return f"true, {_distance(right, columns, rows)}"
    raise UnsupportedGraph(_more_than_loops("a product of strided matrices"))


def _distance(stride: Size, count: Size, length: Size) -> str:
    """Return the distance of ``count`` rows (or columns) of this length: BLAS takes none that overlap."""
    if count == 1:
        return cpp(length)
    if stride == 0 or (isinstance(stride, int) and isinstance(length, int) and stride < length):
        raise UnsupportedGraph(_more_than_loops("a product of repeated rows"))
    return f"std::max<int64_t>({cpp(stride)}, {cpp(length)})"


class _NoOperators:
    """Replaces a module of operators; a graph that calls one cannot become a C++ loop."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        value = getattr(torch, name, None) if self._name == "torch" else None
        if isinstance(value, torch.dtype):
            return value
        raise UnsupportedGraph(_more_than_loops(f"{self._name}.{name}"))


def cpp(size: Size) -> str:
    """Return a size as C++.

    Raises:
        UnsupportedGraph: if it is more than sums and products of ``n`` and whole numbers.
    """
    expression = sympy.sympify(size)
    if expression.free_symbols - {SIZE} or not expression.is_polynomial(SIZE):
        raise UnsupportedGraph(_more_than_loops("sizes known only when it runs"))
    text = re.sub(r"(\w+)\*\*(\d+)", lambda found: "*".join([found[1]] * int(found[2])), str(expression))
    if re.search(r"[^-+*()\w ]", text):
        raise UnsupportedGraph(_more_than_loops("sizes known only when it runs"))
    return text if expression.is_Atom else f"({text})"


def _relation(relation: Any) -> str:
    left, right = (cpp(side.subs(dict.fromkeys(side.free_symbols, SIZE))) for side in relation.args)
    return f"({left} {relation.rel_op} {right})"


def _size(value: Any) -> Size:
    return value if isinstance(value, int) else sympy.sympify(value.node.expr).subs(_as_size(value))


def _as_size(value: Any) -> dict[Any, Any]:
    return dict.fromkeys(value.node.expr.free_symbols, SIZE)


def _argument(kind: str, value: Any) -> str:
    if isinstance(value, Buffer):
        return f"({kind})({value.address})"
    if isinstance(value, torch.Tensor):
        raise UnsupportedGraph(_more_than_loops("constants of several numbers"))
    return cpp(value)


def _reinterpret(x: Buffer, shape: Sequence[Size], stride: Sequence[Size], offset: Size) -> Buffer:
    return Buffer(x.base, x.dtype, tuple(shape), tuple(stride), offset)


def _more_than_loops(reason: str) -> str:
    return f"the step needs more than loops over numbers and matrix products ({reason})"
