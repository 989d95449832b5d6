"""Writing a graph as one Triton kernel, in which each program trains one model for many steps.

A program keeps the state of its model in registers from the first step to the last, so a step costs no launch and no
traffic but that of its batch. Each tensor is a block of two dimensions, padded to the sizes that Triton supports. What
is in the padding is arbitrary: sums and products leave it out.
"""

import math
from typing import Any

from k3torch.stack.cuda_graphs import compute_constants
from k3torch.stack.reasons import UnsupportedGraph
from k3torch.stack.triton_blocks import MAX_STATE, TYPES, Shape, as_matrix, block, padded, shape_of, transposed_vector
from k3torch.stack.triton_operators import ELEMENTWISE, POWERS, arity, decomposed
import torch

Node = torch.fx.Node

aten = torch.ops.aten
_OTHERS = {aten.copy_.default, aten.mm.default, aten.expand.default, aten.stack.default, aten.select.int,
           aten.clamp.default, aten.clamp.Tensor, aten.pow.Tensor_Scalar, aten.pow.Tensor_Tensor, aten.pow.Scalar,
           aten.full.default, aten.scalar_tensor.default}  # fmt: skip
_VIEWS = {
    aten.view.default, aten._unsafe_view.default, aten.reshape.default, aten.unsqueeze.default, aten.squeeze.default,
    aten.squeeze.dim, aten.squeeze.dims,
}  # fmt: skip
_COPIES = {aten.detach.default, aten.alias.default, aten.clone.default, aten.lift_fresh_copy.default,
           aten._to_copy.default}  # fmt: skip
_FILLINGS = {aten.ones_like.default: 1, aten.zeros_like.default: 0}
_TRANSPOSES = {aten.t.default, aten.permute.default, aten.transpose.int}


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
        self._graph = graph = decomposed(graph, _KNOWN)
        compute_constants(graph)
        *inputs, self._seed = [node for node in graph.graph.nodes if node.op == "placeholder"]
        self._state, self._batch = inputs[:state], inputs[state:]
        self._lines: list[str] = []
        self._names: dict[Node, str] = {}
        self._ranges: set[int] = set()
        self.constants: list[torch.Tensor] = []
        self._written: dict[Node, str] = {}
        numbers = sum(math.prod(map(padded, as_matrix(shape_of(node)))) for node in self._state)
        if numbers > MAX_STATE:
            raise UnsupportedGraph(f"{numbers} numbers of state, of which {MAX_STATE} fit into registers")
        self.warps = 4 if numbers <= 4096 else 8
        self.text = self._kernel()

    def _kernel(self) -> str:
        before = self._start()
        for node in self._graph.graph.nodes:
            if node.op == "get_attr":
                before.append(self._constant(node))
            elif node.op == "call_function":
                self._operator(node)
        after = self._end()
        batch = as_matrix(shape_of(self._batch[0]))[0] if self._batch else 0
        gather = []
        if batch:
            numbers = self._range(padded(batch))
            place = f"order + (model * batches + number) * {batch} + {numbers}"
            gather = [f"index = tl.load({place}, mask={numbers} < {batch}, other=0)"]
        pointers = [
            f"{letter}{k}"
            for letter, items in (("s", self._state), ("a", self._batch), ("c", self.constants))
            for k in range(len(items))
        ]
        head = f"@triton.jit\ndef run({', '.join(pointers)}, order, counts, rows, batches):"
        body = ["model = tl.program_id(0).to(tl.int64)", *(f"r{n} = tl.arange(0, {n})" for n in sorted(self._ranges))]
        body += [*before, "count = tl.load(counts + model)", "number = count * 0", "while number < count:"]
        body += [f"    {line}" for line in [*gather, *self._lines, "number += 1"]] + after
        return "\n".join([head, *(f"    {line}" for line in body)]) + "\n"

    def _start(self) -> list[str]:
        """Return the lines that load the state, and begin a step with those that load its batch."""
        for letter, nodes in (("state", self._state), ("batch", self._batch)):
            self._names |= {node: f"{letter}{k}" for k, node in enumerate(nodes)}
        self._lines += [f"batch{k} = {self._gather(f'a{k}', node)}" for k, node in enumerate(self._batch)]
        return [f"state{k} = {self._load(f's{k}', node)}" for k, node in enumerate(self._state)]

    def _end(self) -> list[str]:
        """End a step with the lines that replace the old state, and return those that store it."""
        changed = [k for k, node in enumerate(self._state) if self._written.get(node, f"state{k}") != f"state{k}"]
        stores = []
        for k in changed:
            node = self._state[k]
            shape, kind = shape_of(node), TYPES[node.meta["val"].dtype]
            self._lines.append(f"new{k} = tl.broadcast_to({self._written[node]}, {block(shape)}).to({kind})")
            stores.append(f"tl.store({self._place(f's{k}', node)}, state{k}, mask={self._mask(shape)})")
        self._lines += [f"state{k} = new{k}" for k in changed]  # after all are computed from the old ones
        return stores

    def _operator(self, node: Node) -> None:
        target: Any = node.target
        if target is aten.copy_.default:
            to, value = node.args
            if to is not self._seed:
                self._written[to] = self._value(value)  # type: ignore[index]
            return
        if self._seed in node.all_input_nodes:
            return
        self._names[node] = f"v{len(self._names)}"
        self._lines.append(f"{self._names[node]} = {self._expression(node, target)}")

    def _expression(self, node: Node, target: Any) -> str:
        args: Any = node.args
        kind = node.meta["val"].dtype
        if kind not in TYPES:
            raise UnsupportedGraph(f"a tensor of type {kind}")
        shape, source = shape_of(node), args[0] if args else None
        if target in ELEMENTWISE:
            if any(value != 1 for value in (*node.kwargs.values(), *args[arity(target) :])):  # alpha, rounding_mode
                raise UnsupportedGraph(f"{target} with these arguments")
            return f"({ELEMENTWISE[target].format(*map(self._value, args))}).to({TYPES[kind]})"
        if target is aten.pow.Tensor_Scalar and args[1] in POWERS:
            return POWERS[args[1]].format(self._value(source))
        if target in (aten.pow.Tensor_Tensor, aten.pow.Scalar):
            return self._power(*args)
        if target in _FILLINGS:
            return f"tl.full({block(shape)}, {_FILLINGS[target]}, {TYPES[kind]})"
        if target in _COPIES:
            return f"{self._value(source)}.to({TYPES[kind]})"
        if target in _VIEWS:
            return f"({self._reshaped(self._value(source), shape_of(source), shape)}).to({TYPES[kind]})"
        if target is aten.expand.default:
            return f"tl.broadcast_to({self._value(source)}, {block(shape)})"
        if target in _TRANSPOSES and len(shape) == 2:
            return self._transposed(node)
        if target is aten.mm.default:
            return self._product(*args)
        if target in _REDUCTIONS:
            return self._reduced(node, *_REDUCTIONS[target])
        if target is aten.stack.default and len(shape) == 1:
            return self._stacked(args[0])
        if target is aten.select.int:
            return self._selected(shape, *args)
        if target in (aten.clamp.default, aten.clamp.Tensor):
            return self._clamped(*args)
        raise UnsupportedGraph(f"the operator {target}")

    def _value(self, argument: Any) -> str:
        if isinstance(argument, Node):
            return self._names[argument]
        if isinstance(argument, bool | int | float):
            return repr(argument) if math.isfinite(argument) else f'float("{argument}")'
        raise UnsupportedGraph(f"an argument {argument!r}")

    def _range(self, size: int) -> str:
        self._ranges.add(size)
        return f"r{size}"

    def _mask(self, shape: Shape) -> str:
        """Return the condition under which an element of a block is in the tensor."""
        (rows, columns), (above, beside) = as_matrix(shape), block(shape)
        return f"(({self._range(above)} < {rows})[:, None] & ({self._range(beside)} < {columns})[None, :])"

    def _place(self, pointer: str, node: Node) -> str:
        """Return the addresses of the model's own tensor, in a tensor of all models."""
        (rows, columns), (above, beside) = as_matrix(shape_of(node)), block(shape_of(node))
        offsets = f"({self._range(above)}[:, None] * {columns} + {self._range(beside)}[None, :])"
        return f"{pointer} + model * {rows * columns} + {offsets}"

    def _load(self, pointer: str, node: Node) -> str:
        self._check(node)
        return f"tl.load({self._place(pointer, node)}, mask={self._mask(shape_of(node))}, other=0)"

    def _gather(self, pointer: str, node: Node) -> str:
        """Return the rows of a batch, of which ``index`` has the numbers."""
        self._check(node)
        shape = shape_of(node)
        if len(shape) == 1:
            inside = f"{self._range(padded(shape[0]))} < {shape[0]}"
            return f"tl.load({pointer} + model * rows + index, mask={inside}, other=0)[None, :]"
        columns = self._range(padded(shape[1]))
        place = f"{pointer} + (model * rows + index)[:, None] * {shape[1]} + {columns}[None, :]"
        return f"tl.load({place}, mask={self._mask(shape)}, other=0)"

    def _check(self, node: Node) -> None:
        if node.meta["val"].dtype not in TYPES:
            raise UnsupportedGraph(f"a tensor of type {node.meta['val'].dtype}")

    def _constant(self, node: Node) -> str:
        value: torch.Tensor = getattr(self._graph, str(node.target))
        node.meta["val"] = value
        self._check(node)
        name = self._names[node] = f"v{len(self._names)}"
        if value.numel() and bool((value == value.flatten()[0]).all()):
            number = self._value(value.flatten()[0].item())
            return f"{name} = tl.full({block(shape_of(node))}, {number}, {TYPES[value.dtype]})"
        self.constants.append(value.contiguous())
        place = self._place(f"c{len(self.constants) - 1}", node).replace("model * ", "0 * ")
        return f"{name} = tl.load({place}, mask={self._mask(shape_of(node))}, other=0)"

    def _reshaped(self, value: str, shape: Shape, new: Shape) -> str:
        if [size for size in shape if size != 1] != [size for size in new if size != 1]:
            raise UnsupportedGraph(f"a view of {shape} as {new}")
        before, after = block(shape), block(new)
        return value if before == after else transposed_vector(value, 0 if before[0] == 1 else 1)

    def _transposed(self, node: Node) -> str:
        source, *dims = list[Any](node.args)
        if node.target is aten.permute.default and [d % 2 for d in dims[0]] == [0, 1]:
            return self._value(source)
        vector = next((axis for axis, size in enumerate(block(shape_of(source))) if size == 1), None)
        return f"tl.trans({self._value(source)})" if vector is None else transposed_vector(self._value(source), vector)

    def _product(self, a: Any, b: Any) -> str:
        (rows, inner), (_, columns) = as_matrix(shape_of(a)), as_matrix(shape_of(b))
        x, y = self._value(a), self._value(b)
        if inner == 1:
            return f"{x} * {y}"
        x, y = self._zeroed(x, shape_of(a)), self._zeroed(y, shape_of(b))
        if rows == 1:
            return f"tl.sum({transposed_vector(x, 0)} * {y}, axis=0, keep_dims=True)"
        if columns == 1:
            return f"tl.sum({x} * {transposed_vector(y, 1)}, axis=1, keep_dims=True)"
        return f'tl.dot({x}, {y}, input_precision="ieee")'

    def _zeroed(self, value: str, shape: Shape, other: str = "0.0") -> str:
        """Return a block with zeros in its padding."""
        if block(shape) == list(as_matrix(shape)):
            return value
        return f"tl.where({self._mask(shape)}, {value}, {other})"

    def _reduced(self, node: Node, function: str, neutral: str, mean: bool) -> str:
        args: Any = node.args
        shape = shape_of(args[0])
        dims = args[1] if len(args) > 1 and args[1] else range(len(shape))
        axes = sorted(d % len(shape) + 2 - len(shape) for d in dims)
        value = self._zeroed(self._value(args[0]), shape, neutral)
        for axis in axes:
            if as_matrix(shape)[axis] > 1:
                value = f"{function}({value}, axis={axis}, keep_dims=True)"
        count = math.prod(as_matrix(shape)[axis] for axis in axes)
        if mean and count > 1:
            value = f"{value} / {count}.0"
        kept: Shape = tuple(1 if axis in axes else size for axis, size in enumerate(as_matrix(shape)))
        return self._reshaped(f"({value})", kept, shape_of(node)) if kept != as_matrix(shape_of(node)) else f"({value})"

    def _stacked(self, items: Any) -> str:
        value, numbers = "0.0", self._range(padded(len(items)))
        for number, item in enumerate(items):
            value = f"tl.where({numbers}[None, :] == {number}, {self._value(item)}, {value})"
        return value

    def _selected(self, new: Shape, source: Any, dim: int, index: int) -> str:
        shape = shape_of(source)
        axis, size = dim % len(shape) + 2 - len(shape), shape[dim]
        numbers = f"{self._range(padded(size))}[{'None, :' if axis else ':, None'}]"
        value = f"tl.where({numbers} == {index % size}, {self._value(source)}, 0)"
        kept: Shape = tuple(1 if number == axis else n for number, n in enumerate(as_matrix(shape)))
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
_KNOWN = {*ELEMENTWISE, *_REDUCTIONS, *_VIEWS, *_COPIES, *_TRANSPOSES, *_FILLINGS, *_OTHERS}
