"""Writing a graph as one Triton kernel, in which each program trains one model for many steps.

A program keeps the state of its model in registers from the first step to the last, so a step costs no launch and no
traffic but that of its batch. Each tensor is a block of two dimensions, padded to the sizes that Triton supports. What
is in the padding is arbitrary: sums and products leave it out.
"""

from collections.abc import Sequence
import math
from typing import Any

from k3torch.stack.cuda_graphs import compute_constants
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.torch_internals import DECOMPOSE, make_graph, private_part, private_use
from k3torch.stack.triton_operators import ELEMENTWISE, POWERS
import torch

Node = torch.fx.Node
Shape = tuple[int, ...]

aten = torch.ops.aten
# Numbers of the state that the registers of a multiprocessor hold, with as many more for gradients and temporaries.
MAX_STATE = 24_576
TYPES = {torch.float32: "tl.float32", torch.int64: "tl.int64", torch.int32: "tl.int32", torch.bool: "tl.int1"}
_VIEWS = {
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.unsqueeze.default, aten.squeeze.default,
    aten.squeeze.dim, aten.squeeze.dims,
}  # fmt: skip
_COPIES = {aten.detach.default, aten.alias.default, aten.clone.default, aten.lift_fresh_copy.default,
           aten._to_copy.default}  # fmt: skip
_FILLINGS = {aten.ones_like.default: 1, aten.zeros_like.default: 0}
_TRANSPOSES = {aten.t.default, aten.permute.default, aten.transpose.int}


def padded(size: int) -> int:
    """Return the size of a dimension of a block: 1, or a power of two from 16 on, as products of blocks need it."""
    return 1 if size == 1 else max(16, 1 << (size - 1).bit_length())


def two(shape: Sequence[int]) -> tuple[int, int]:
    """Return a shape as two dimensions, aligned to the last as in broadcasting."""
    if len(shape) > 2:
        raise UnsupportedGraph(f"a tensor of {len(shape)} dimensions")
    first, second = [1] * (2 - len(shape)) + [int(size) for size in shape]
    return first, second


class TritonSource:
    """The kernel of a step for batches of one size.

    Args:
        graph: of operators on the CPU, over ``[*state, *batch, seed]``; its constants are computed.
        state: the number of tensors of the state.

    Attributes:
        text: the function ``run`` of the kernel.
        constants: tensors that it reads beside state and batch.
        warps: of a program.

    Raises:
        UnsupportedGraph: for operators, shapes or types that are not supported.
    """

    def __init__(self, graph: torch.fx.GraphModule, state: int):
        self._graph = graph = _decomposed(graph)
        compute_constants(graph)
        *inputs, self._seed = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self._state, self._batch = inputs[:state], inputs[state:]
        self._lines: list[str] = []
        self._names: dict[Node, str] = {}
        self._ranges: set[int] = set()
        self.constants: list[torch.Tensor] = []
        self._written: dict[Node, str] = {}
        numbers = sum(math.prod(map(padded, two(_shape(node)))) for node in self._state)
        if numbers > MAX_STATE:
            raise UnsupportedGraph(f"{numbers} numbers of state, of which {MAX_STATE} fit into registers")
        self.warps = 4 if numbers <= 4096 else 8
        self.text = self._kernel()

    def _kernel(self) -> str:
        before = [f"state{k} = {self._load(f's{k}', node)}" for k, node in enumerate(self._state)]
        self._names |= {node: f"state{k}" for k, node in enumerate(self._state)}
        for k, node in enumerate(self._batch):
            self._names[node] = f"batch{k}"
            self._lines.append(f"batch{k} = {self._gather(f'a{k}', node)}")
        for node in self._graph.graph.nodes:
            if node.op == "get_attr":
                before.append(self._constant(node))
            elif node.op == "call_function":
                self._operator(node)
        changed = [k for k, node in enumerate(self._state) if self._written.get(node, f"state{k}") != f"state{k}"]
        renamed, after = [f"state{k} = new{k}" for k in changed], []
        for k in changed:  # all are computed from the old values
            node = self._state[k]
            kind, block = TYPES[node.meta["val"].dtype], self._block(_shape(node))
            self._lines.append(f"new{k} = tl.broadcast_to({self._written[node]}, {block}).to({kind})")
            after.append(f"tl.store({self._place(f's{k}', node)}, state{k}, mask={self._mask(_shape(node))})")
        size = two(_shape(self._batch[0]))[0] if self._batch else 0
        index = [f"index = tl.load(order + (model * batches + number) * {size} + r{padded(size)}, "
                 f"mask=r{padded(size)} < {size}, other=0)"] if size else []  # fmt: skip
        if size:
            self._ranges.add(padded(size))
        pointers = [*(f"s{k}" for k in range(len(self._state))), *(f"a{k}" for k in range(len(self._batch)))]
        pointers += [f"c{k}" for k in range(len(self.constants))]
        body = ["model = tl.program_id(0).to(tl.int64)", *(f"r{n} = tl.arange(0, {n})" for n in sorted(self._ranges))]
        body += [*before, "count = tl.load(counts + model)", "number = count * 0", "while number < count:"]
        body += [f"    {line}" for line in [*index, *self._lines, *renamed, "number += 1"]] + after
        head = f"@triton.jit\ndef run({', '.join(pointers)}, order, counts, rows, batches):"
        return "\n".join([head, *(f"    {line}" for line in body)]) + "\n"

    def _operator(self, node: Node) -> None:
        target: Any = node.target
        if target is aten.copy_.default:
            to, value = node.args
            if to is not self._seed:
                self._written[to] = self._value(value)  # type: ignore[index, arg-type]
            return
        if self._seed in node.all_input_nodes:
            return
        self._names[node] = f"v{len(self._names)}"
        self._lines.append(f"{self._names[node]} = {self._expression(node, target)}")

    def _expression(self, node: Node, target: Any) -> str:
        kind = node.meta["val"].dtype
        if kind not in TYPES:
            raise UnsupportedGraph(f"a tensor of type {kind}")
        shape, source = _shape(node), node.args[0] if node.args else None
        if target in ELEMENTWISE:
            if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode"):
                raise UnsupportedGraph(f"{target} with these arguments")
            return f"({ELEMENTWISE[target].format(*map(self._value, node.args))}).to({TYPES[kind]})"  # type: ignore[arg-type]
        if target is aten.pow.Tensor_Scalar and node.args[1] in POWERS:
            return POWERS[node.args[1]].format(self._value(source))  # type: ignore[index, arg-type]
        if target in (aten.pow.Tensor_Tensor, aten.pow.Scalar):
            return self._power(*node.args)
        if target in _FILLINGS:
            return f"tl.full({self._block(shape)}, {_FILLINGS[target]}, {TYPES[kind]})"
        if target in _COPIES:
            return f"{self._value(source)}.to({TYPES[kind]})"
        if target in _VIEWS:
            return f"({self._reshaped(self._value(source), _shape(source), shape)}).to({TYPES[kind]})"
        if target is aten.expand.default:
            return f"tl.broadcast_to({self._value(source)}, {self._block(shape)})"
        if target in _TRANSPOSES and len(shape) == 2:
            return self._transposed(node)
        if target is aten.mm.default:
            return self._product(*node.args)
        if target in _REDUCTIONS:
            return self._reduced(node, *_REDUCTIONS[target])
        if target is aten.stack.default and len(shape) == 1:
            return self._stacked(node.args[0])
        if target is aten.select.int:
            return self._selected(*node.args, shape)  # type: ignore[arg-type]
        if target in (aten.clamp.default, aten.clamp.Tensor):
            return self._clamped(*node.args)
        raise UnsupportedGraph(f"the operator {target}")

    def _value(self, argument: Any) -> str:
        if isinstance(argument, Node):
            return self._names[argument]
        if isinstance(argument, bool | int | float):
            return repr(argument) if math.isfinite(argument) else f'float("{argument}")'
        raise UnsupportedGraph(f"an argument {argument!r}")

    def _block(self, shape: Shape) -> list[int]:
        return [padded(size) for size in two(shape)]

    def _range(self, size: int) -> str:
        self._ranges.add(size)
        return f"r{size}"

    def _mask(self, shape: Shape) -> str:
        """Return the condition under which an element of a block is in the tensor."""
        (rows, columns), (above, beside) = two(shape), self._block(shape)
        return f"(({self._range(above)} < {rows})[:, None] & ({self._range(beside)} < {columns})[None, :])"

    def _place(self, pointer: str, node: Node) -> str:
        """Return the addresses of the model's own tensor, in a tensor of all models."""
        (rows, columns), (above, beside) = two(_shape(node)), self._block(_shape(node))
        offsets = f"({self._range(above)}[:, None] * {columns} + {self._range(beside)}[None, :])"
        return f"{pointer} + model * {rows * columns} + {offsets}"

    def _load(self, pointer: str, node: Node) -> str:
        self._check(node)
        return f"tl.load({self._place(pointer, node)}, mask={self._mask(_shape(node))}, other=0)"

    def _gather(self, pointer: str, node: Node) -> str:
        """Return the rows of a batch, of which ``index`` has the numbers."""
        self._check(node)
        shape = _shape(node)
        if len(shape) == 1:
            return f"tl.load({pointer} + model * rows + index, mask={self._range(padded(shape[0]))} < {shape[0]}, other=0)[None, :]"  # noqa: E501
        columns = self._range(padded(shape[1]))
        place = f"{pointer} + (model * rows + index)[:, None] * {shape[1]} + {columns}[None, :]"
        return f"tl.load({place}, mask={self._mask(shape)}, other=0)"

    def _check(self, node: Node) -> None:
        if node.meta["val"].dtype not in TYPES:
            raise UnsupportedGraph(f"a tensor of type {node.meta['val'].dtype}")
        two(_shape(node))

    def _constant(self, node: Node) -> str:
        value: torch.Tensor = getattr(self._graph, str(node.target))
        node.meta["val"] = value
        self._check(node)
        name = self._names[node] = f"v{len(self._names)}"
        if value.numel() and bool((value == value.flatten()[0]).all()):
            number = self._value(value.flatten()[0].item())
            return f"{name} = tl.full({self._block(_shape(node))}, {number}, {TYPES[value.dtype]})"
        self.constants.append(value.contiguous())
        place = self._place(f"c{len(self.constants) - 1}", node).replace("model * ", "0 * ")
        return f"{name} = tl.load({place}, mask={self._mask(_shape(node))}, other=0)"

    def _reshaped(self, value: str, shape: Shape, new: Shape) -> str:
        if [size for size in shape if size != 1] != [size for size in new if size != 1]:
            raise UnsupportedGraph(f"a view of {shape} as {new}")
        before, after = self._block(shape), self._block(new)
        return value if before == after else _turned(value, 0 if before[0] == 1 else 1)

    def _transposed(self, node: Node) -> str:
        source: Any = node.args[0]
        if node.target is aten.permute.default and [d % 2 for d in node.args[1]] == [0, 1]:  # type: ignore[union-attr]
            return self._value(source)
        vector = next((axis for axis, size in enumerate(self._block(_shape(source))) if size == 1), None)
        return f"tl.trans({self._value(source)})" if vector is None else _turned(self._value(source), vector)

    def _product(self, a: Any, b: Any) -> str:
        (rows, inner), (_, columns) = two(_shape(a)), two(_shape(b))
        x, y = self._value(a), self._value(b)
        if inner == 1:
            return f"{x} * {y}"
        x, y = self._zeroed(x, _shape(a)), self._zeroed(y, _shape(b))
        if rows == 1:
            return f"tl.sum({_turned(x, 0)} * {y}, axis=0, keep_dims=True)"
        if columns == 1:
            return f"tl.sum({x} * {_turned(y, 1)}, axis=1, keep_dims=True)"
        return f'tl.dot({x}, {y}, input_precision="ieee")'

    def _zeroed(self, value: str, shape: Shape, other: str = "0.0") -> str:
        """Return a block with zeros in its padding."""
        if self._block(shape) == list(two(shape)):
            return value
        return f"tl.where({self._mask(shape)}, {value}, {other})"

    def _reduced(self, node: Node, function: str, neutral: str, mean: bool) -> str:
        source: Any = node.args[0]
        shape = _shape(source)
        dims = node.args[1] if len(node.args) > 1 and node.args[1] else range(len(shape))
        axes = sorted((int(d) % len(shape)) + 2 - len(shape) for d in ([dims] if isinstance(dims, int) else dims))  # type: ignore[union-attr]
        value = self._zeroed(self._value(source), shape, neutral)
        for axis in axes:
            if two(shape)[axis] > 1:
                value = f"{function}({value}, axis={axis}, keep_dims=True)"
        count = math.prod(two(shape)[axis] for axis in axes)
        if mean and count > 1:
            value = f"{value} / {count}.0"
        kept: Shape = tuple(1 if axis in axes else size for axis, size in enumerate(two(shape)))
        return self._reshaped(f"({value})", kept, _shape(node)) if kept != two(_shape(node)) else f"({value})"

    def _stacked(self, items: Any) -> str:
        value, numbers = "0.0", self._range(padded(len(items)))
        for number, item in enumerate(items):
            value = f"tl.where({numbers}[None, :] == {number}, {self._value(item)}, {value})"
        return value

    def _selected(self, source: Any, dim: int, index: int, new: Shape) -> str:
        shape = _shape(source)
        axis, size = dim % len(shape) + 2 - len(shape), shape[dim]
        numbers = f"{self._range(padded(size))}[{'None, :' if axis else ':, None'}]"
        value = f"tl.where({numbers} == {index % size}, {self._value(source)}, 0)"
        kept: Shape = tuple(1 if number == axis else n for number, n in enumerate(two(shape)))
        return self._reshaped(f"tl.sum({value}, axis={axis}, keep_dims=True)", kept, new)

    def _clamped(self, source: Any, low: Any = None, high: Any = None) -> str:
        value = self._value(source)
        for function, limit in (("tl.maximum", low), ("tl.minimum", high)):
            if limit is not None:
                value = f"{function}({value}, {self._value(limit)}, propagate_nan=tl.PropagateNan.ALL)"
        return value

    def _power(self, base: Any, exponent: Any) -> str:
        number = self._number(base)
        if number is None or number <= 0:
            raise UnsupportedGraph("a power of a tensor")
        return f"tl.exp({self._value(exponent)}.to(tl.float64) * {math.log(number)!r}).to(tl.float32)"

    def _number(self, argument: Any) -> float | None:
        """Return the number that a tensor repeats, or None."""
        if not isinstance(argument, Node):
            return float(argument)
        if argument.op != "get_attr":
            return None
        value: torch.Tensor = getattr(self._graph, str(argument.target))
        return float(value.flatten()[0]) if bool((value == value.flatten()[0]).all()) else None


_REDUCTIONS: dict[Any, tuple[str, str, bool]] = {
    aten.sum.default: ("tl.sum", "0", False),
    aten.sum.dim_IntList: ("tl.sum", "0", False),
    aten.mean.default: ("tl.sum", "0", True),
    aten.mean.dim: ("tl.sum", "0", True),
    aten.amax.default: ("tl.max", 'float("-inf")', False),
}


_OTHERS = {aten.copy_.default, aten.mm.default, aten.expand.default, aten.stack.default, aten.select.int,
           aten.clamp.default, aten.clamp.Tensor, aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar,
           aten.full.default, aten.scalar_tensor.default}  # fmt: skip


def _turned(vector: str, axis: int) -> str:
    """Return a row (axis 0) as a column, or a column (axis 1) as a row.

    Triton distributes the result like the block that it meets next; that of ``tl.reshape`` it gives to one thread.
    """
    return f"tl.sum({vector}, axis={axis})[{':, None' if axis == 0 else 'None, :'}]"


def _shape(node: Any) -> Shape:
    return tuple(node.meta["val"].shape)


def _decomposed(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Return the graph with operators that are not supported in terms of others, as far as torch knows how."""
    known = {*ELEMENTWISE, *_REDUCTIONS, *_VIEWS, *_COPIES, *_TRANSPOSES, *_FILLINGS, *_OTHERS}
    others = {node.target for node in graph.graph.nodes if node.op == "call_function"} - known
    decompositions = private_part(DECOMPOSE)(list(others))
    if not decompositions:
        return graph
    values = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    inputs = [torch.zeros(tuple(value.shape), dtype=value.dtype) for value in values]
    with private_use(), torch.no_grad():
        return make_graph(graph, inputs, decompositions)
