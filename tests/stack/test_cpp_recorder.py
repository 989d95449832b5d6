"""Graphs written as C++ loops: sizes, products of any layout, batches from samples in any order."""

import itertools

from k3torch.stack.compiled_loops import compile_loops
from k3torch.stack.cpp_recorder import SIZE, Buffer, Recorder, cpp
from k3torch.stack.reasons import UnsupportedGraph
import pytest
import sympy
from tests.stack import small_steps
import torch


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (4, "4"),
        (-1, "-1"),
        (SIZE, "n"),
        (3 * SIZE, "(3*n)"),
        (SIZE + 1, "(n + 1)"),
        (2 * SIZE * (SIZE - 1), "(2*n*(n - 1))"),
        (SIZE**2, "(n*n)"),
        (4 * SIZE**3, "(4*n*n*n)"),
        (sympy.Integer(7), "7"),
    ],
)
def test_sizes_are_written_as_expressions_of_n(size, text):
    assert cpp(size) == text


@pytest.mark.parametrize(
    "size",
    [
        SIZE / 2,
        SIZE**-1,
        sympy.sqrt(SIZE),
        sympy.Symbol("m") * 2,
        sympy.floor(SIZE / 2),
        sympy.Mod(SIZE, 2),
        sympy.Max(SIZE, 3),
    ],
    ids=str,
)
def test_other_sizes_are_refused(size):
    with pytest.raises(UnsupportedGraph, match="sizes known only when it runs"):
        cpp(size)


def test_a_buffer_says_where_its_first_element_is():
    matrix = Buffer("inputs[2]", torch.float64, (SIZE, 3), (3, 1))
    assert (matrix.size(), matrix.address) == ((SIZE, 3), "inputs[2]")
    assert Buffer("inputs[2]", torch.float64, (3,), (1,), SIZE).address == "(inputs[2] + (8*n))"
    assert Buffer("inputs[2]", torch.float32, (3,), (1,), 5).address == "(inputs[2] + 20)"
    with pytest.raises(UnsupportedGraph, match=r"Tensor\.item"):
        _ = matrix.item


def matrix(rows, columns, transposed, dtype, batch=()):
    value = torch.randn(*batch, *((columns, rows) if transposed else (rows, columns)), dtype=dtype)
    return value.mT if transposed else value


# Every combination of transposed operands, sizes of one included, in one library for each dtype: compiling takes long.
LAYOUTS = list(itertools.product((False, True), (False, True)))
SHAPES = [(3, 5, 4), (1, 5, 4), (3, 1, 4), (3, 5, 1), (2, 7, 2)]


def products(dtype, batch=()):
    """Pairs of the storage of both operands and the layouts in which they are read."""
    torch.manual_seed(0)
    made = []
    for (rows, inner, columns), (left, right) in itertools.product(SHAPES, LAYOUTS):
        sizes = [(inner, rows) if left else (rows, inner), (columns, inner) if right else (inner, columns)]
        made.append(([torch.randn(*batch, *size, dtype=dtype) for size in sizes], left, right))
    return made


def read(stored, left, right):
    a, b = stored
    return (a.mT if left else a), (b.mT if right else b)


@pytest.mark.parametrize("batch", [(), (3,)], ids=["mm", "bmm"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_every_layout_are_those_of_numpy(dtype, batch):
    cases = products(dtype, batch)
    stored = [tensor for case in cases for tensor in case[0]]
    results = [torch.zeros(*batch, a.shape[-2], b.shape[-1], dtype=dtype) for a, b in (read(*case) for case in cases)]

    def multiply(*tensors):
        pairs = zip(tensors[: len(stored) : 2], tensors[1 : len(stored) : 2], strict=True)
        for (a, b), (_, left, right), out in zip(pairs, cases, tensors[len(stored) :], strict=True):
            a, b = read((a, b), left, right)
            out.copy_(a @ b)

    (loop,) = compile_loops([small_steps.without_batch(multiply, [*stored, *results])])
    loop.bind([*stored, *results], [], small_steps.seed())(1, 1)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-13
    for case, result in zip(cases, results, strict=True):
        a, b = read(*case)
        torch.testing.assert_close(result.numpy(), a.numpy() @ b.numpy(), rtol=tolerance, atol=tolerance)


def parts_of_a_matrix(x, out):
    """Operands whose rows are apart, and such that BLAS cannot read."""
    out[0].copy_(x[4:, 2:5] @ x[:3, :4])
    out[1].copy_(x[::2, :3] @ x[1:4, ::2])
    out[2].copy_(x[:3, 1:5].T @ x[2:5, 4:8])


def repeated_rows(x, out):
    out[0][:, :3].copy_(x[:1, :5].expand(4, 5) @ x[:5, :3])
    out[1][:, :3].copy_(x[:4, :5] @ x[:5, :1].expand(5, 3))
    out[2][:1].copy_(x[0, 0].expand(1, 5) @ x[:5, :4])


def joined(x, out):
    """Products written next to each other."""
    out.reshape(3, 4, 4)[0].copy_(torch.cat([x[:4, :3] @ x[:3, :2], x[4:, :3] @ x[3:6, :2]], 1).sin())
    out.reshape(3, 4, 4)[1].copy_(torch.cat([x[:2, :3] @ x[:3, :4], x[4:6, :3] @ x[3:6, :4]], 0).sin())


@pytest.mark.parametrize("function", [parts_of_a_matrix, repeated_rows, joined])
def test_products_of_parts_are_right_or_refused(function):
    torch.manual_seed(0)
    x = torch.randn(8, 8)
    mine, expected = [x, torch.zeros(3, 4, 4)], [x.clone(), torch.zeros(3, 4, 4)]
    function(*expected)
    example = small_steps.without_batch(function, mine)
    if function is repeated_rows:
        with pytest.raises(UnsupportedGraph, match=r"more than loops over numbers and matrix products \(a product of"):
            compile_loops([example])
        return
    (loop,) = compile_loops([example])
    loop.bind(mine, [], small_steps.seed())(1, 1)
    torch.testing.assert_close(mine, expected)


def rows_step(state, batch):
    """A step that tells the order of the samples, the arrays, and the batches apart."""
    (total, last), (x, y) = state, batch
    return [total * 2 + (x.sum(0) * y.sum()).double(), last * 0 + x[-1] + y[-1]]


@pytest.mark.parametrize("any_size", [True, False])
def test_batches_are_gathered_by_an_order_or_start_where_asked(any_size):
    arrays = [torch.arange(30.0).reshape(10, 3), torch.arange(10, dtype=torch.int64)[:, None] + 1]
    state = [torch.zeros(3, dtype=torch.float64), torch.zeros(3)]
    sizes = (3, 2, 1) if any_size else (1,)
    (loop,) = compile_loops([small_steps.with_batch(rows_step, state, arrays, sizes, any_size)])
    order = torch.tensor([7, 0, 3, 9, 9, 1, 2, 4])
    for size, indices, start in itertools.product(sizes, (None, order), (0, 2, 5)):
        batches = 3 // size
        mine, expected = [t.clone() for t in state], [t.clone() for t in state]
        loop.bind(mine, arrays, small_steps.seed())(size, batches, indices, start)
        for first in range(start, start + batches * size, size):
            chosen = (torch.arange(10) if indices is None else indices)[first : first + size]
            expected = rows_step(expected, [array[chosen] for array in arrays])
        torch.testing.assert_close(mine, expected, rtol=1e-6, atol=0, msg=f"{size} {indices} {start}")


def test_a_bound_loop_goes_back_to_the_first_sample():
    arrays = [torch.arange(6.0)[:, None], torch.ones(6, 1)]
    state = [torch.zeros(1, dtype=torch.float64), torch.zeros(1)]
    (loop,) = compile_loops([small_steps.with_batch(rows_step, state, arrays, (1, 2))])
    bound = loop.bind(state, arrays, small_steps.seed())
    bound(2, 1, start=4)
    assert state[1].tolist() == [6]
    bound(2, 1)
    assert state[1].tolist() == [2]
    bound(2, 1, torch.tensor([5, 0, 2, 3]), start=2)
    assert state[1].tolist() == [4]


@pytest.mark.parametrize("module", ["extern_kernels", "aten", "inductor_ops", "torch"])
def test_operators_beside_loops_and_products_are_refused(module):
    names = Recorder(0, range(0), []).names()
    with pytest.raises(
        UnsupportedGraph, match=rf"more than loops over numbers and matrix products \({module}\.sort\)$"
    ):
        names[module].sort(None)


def test_data_types_are_still_those_of_torch():
    assert Recorder(0, range(0), []).names()["torch"].float64 is torch.float64


def buffer(*shape, stride=None, dtype=torch.float32, base="x"):
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return Buffer(base, dtype, shape, tuple(strides) if stride is None else stride)


@pytest.mark.parametrize(
    ("a", "b", "out"),
    [
        (buffer(3, 4), buffer(4, 2), buffer(3, 2, dtype=torch.bfloat16)),
        (buffer(3, 4), buffer(4, 2, dtype=torch.float64), buffer(3, 2)),
        (buffer(3, 4, stride=(8, 2)), buffer(4, 2), buffer(3, 2)),
        (buffer(3, 4, stride=(0, 1)), buffer(4, 2), buffer(3, 2)),  # BLAS wants rows apart
        (buffer(3, 4), buffer(4, 2, stride=(1, 0)), buffer(3, 2)),
        (buffer(3, 4), buffer(4, 2), buffer(3, 2, stride=(1, 3))),
    ],
    ids=["bfloat16", "two types", "strided", "repeated rows", "repeated columns", "transposed result"],
)
def test_products_that_blas_cannot_compute_are_refused(a, b, out):
    recorder = Recorder(0, range(0), [])
    with pytest.raises(UnsupportedGraph, match="more than loops over numbers and matrix products"):
        recorder.names()["extern_kernels"].mm(a, b, out=out)
    assert recorder.calls == []


def test_a_product_may_be_written_into_a_part_of_a_matrix():
    recorder = Recorder(0, range(0), [])
    recorder.names()["extern_kernels"].mm(buffer(3, 4), buffer(4, 2), out=buffer(3, 2, stride=(5, 1), base="c"))
    layouts = "false, std::max<int64_t>(4, 4), false, std::max<int64_t>(2, 2), std::max<int64_t>(5, 2)"
    assert recorder.calls == [f"product<float>(sgemm, {layouts}, 3, 2, 4, x, x, c);"]


def test_constants_of_several_numbers_are_refused_as_arguments():
    recorder = Recorder(0, range(0), [])
    call = recorder.kernel(["const float*", "int64_t"], "void kernel(const float* a, int64_t n) {}")
    call(buffer(3), SIZE)
    assert recorder.calls == ["kernel_0_0((const float*)(x), n);"]
    assert recorder.kernels == ["void kernel_0_0(const float* a, int64_t n) {}"]
    with pytest.raises(UnsupportedGraph, match="constants of several numbers"):
        call(torch.ones(3), SIZE)


def test_a_loop_says_which_sizes_it_is_for_and_its_scratch_memory():
    recorder = Recorder(2, range(1, 2), [12])
    allocate = recorder.names()["empty_strided_cpu"]
    assert allocate((SIZE, 4), (4, 1), torch.float32).address == "(scratch + at_0)"
    assert allocate((3,), (1,), torch.float64).address == "(scratch + at_1)"
    text = recorder.source([sympy.Le(sympy.Symbol("s7"), 4096)]).function
    assert 'extern "C" int64_t valid_2(int64_t n) { return n > 0 && (n <= 4096); }' in text
    assert 'extern "C" int64_t scratch_2(int64_t n) {' in text
    for number, size in enumerate(["(16*n)", "24", "n * 12"]):
        assert f"at_{number + 1} = at_{number} + ({size} + 63) / 64 * 64;" in text
    assert "batch_rows(inputs[1], order, buffer_0, batch, n, 12);" in text
