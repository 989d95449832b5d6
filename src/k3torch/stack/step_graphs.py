"""One model's step as a graph that holds for any number of samples in a batch.

Keras computes with the number of samples in Python: a traced step holds it as literals, in shapes, divisors and
constant tensors. So a step is traced for two batch sizes. The two graphs are equal node by node but for those literals,
which become linear functions of the size, or its reciprocal. That these hold for other sizes is confirmed by the
comparison with Keras's own steps (``verified_stack``), on batches of each size that occurs.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import operator
from typing import Any, NamedTuple

from k3torch.stack import graphs
from k3torch.stack.device_choice import graph_on_cpu
from k3torch.stack.reasons import UnsupportedGraph
import torch
from torch.fx.node import map_aggregate

Tensor = torch.Tensor
Function = Callable[[list[Tensor], list[Tensor]], list[Tensor]]
aten = torch.ops.aten


class StepGraph(NamedTuple):
    """A step over ``[*state, *batch, *constants, size, seed]``, which writes the new state into the old.

    Attributes:
        graph: takes all of these, in this order.
        state: the number of tensors of the state.
        rows: of each array of a batch the first row, (1, ...): for its shape and dtype.
        constants: tensors that the step reads.
        any_size: whether the batch may have any number of samples, or only one.
        name: what it computes, for messages.

    ``size`` is the number of samples as an int64 scalar. ``seed`` is that of the step's random numbers in a compiled
    loop; the graph adds one to it.
    """

    graph: torch.fx.GraphModule
    state: int
    rows: list[Tensor]
    constants: list[Tensor]
    any_size: bool
    name: str

    def inputs(self, state: Sequence[Tensor], batch: Sequence[Tensor], size: int, seed: Tensor) -> list[Tensor]:
        """Return all inputs of the graph."""
        return [*state, *batch, *self.constants, torch.tensor(size), seed]


class Example(NamedTuple):
    """A step with what it is compiled and checked for.

    Attributes:
        step: the step.
        state: the tensors of its state.
        arrays: all samples: for each array of a batch (samples, ...).
        sizes: numbers of samples in a batch, for the check.
    """

    step: StepGraph
    state: list[Tensor]
    arrays: list[Tensor]
    sizes: tuple[int, ...]


def sizes_to_trace(occurring: Iterable[int]) -> tuple[int, ...]:
    """Return the batch sizes to trace a step for, given those that occur: one if they are all one, else two others."""
    used = set(occurring)
    return (1,) if used == {1} else tuple(size for size in range(5, 2 * len(used) + 9, 2) if size not in used)[:2]


def trace_step(
    step: Function, state: Sequence[Tensor], rows: Sequence[Tensor], sizes: Sequence[int], name: str
) -> StepGraph:
    """Trace ``step(state, batch) -> new state`` as a graph of operators on the CPU.

    Args:
        step: of one model, on the device of its variables.
        state: its tensors on that device; only shapes and dtypes count.
        rows: of each array of a batch the first row, (1, ...), on that device.
        sizes: as ``sizes_to_trace``.
        name: what it computes, for messages.

    Raises:
        reasons.UntraceableStep: if the step does anything else than tensor operations.
        reasons.UnsupportedGraph: if the graphs of two sizes differ in more than functions of the size.
    """

    def write(*inputs: Tensor) -> None:
        old, batch = list(inputs[: len(state)]), list(inputs[len(state) : -1])
        for target, new in zip(old, torch.func.functionalize(step)(old, batch), strict=True):
            target.copy_(new)
        inputs[-1].copy_(inputs[-1] + 1)

    def traced(size: int) -> torch.fx.GraphModule:
        batch = [row.new_zeros((size, *row.shape[1:])) for row in rows]
        return graph_on_cpu(graphs.trace(write, [*state, *batch, torch.zeros((), dtype=torch.int64)]))

    joined = _Joined([traced(size) for size in sizes], sizes)
    first = [row[:1].cpu() for row in rows]
    return StepGraph(joined.graph(), len(state), first, joined.constants, len(sizes) > 1, name)


class _Joined:
    """Joins graphs of several batch sizes into one, node by node."""

    def __init__(self, graphs: Sequence[torch.fx.GraphModule], sizes: Sequence[int]):
        self._graphs, self._sizes = graphs, sizes
        self._nodes = torch.fx.Graph()
        self._new: dict[torch.fx.Node, torch.fx.Node] = {}  # for each node of the first graph
        self.constants: list[Tensor] = []

    def graph(self) -> torch.fx.GraphModule:
        """Return the joined graph: its inputs are those of the graphs, with constants and size before the last."""
        lists = [list(graph.graph.nodes) for graph in self._graphs]
        if len({len(nodes) for nodes in lists}) > 1:
            raise _differ("numbers of operations")
        *placeholders, seed = [node for node in lists[0] if node.op == "placeholder"]
        for node in placeholders:
            self._new[node] = self._nodes.placeholder(node.name)
        last = placeholders[-1]
        constants = [nodes for nodes in zip(*lists, strict=True) if nodes[0].op == "get_attr"]
        lifted = {nodes[0]: self._lift(nodes) for nodes in constants}
        self._size = self._nodes.placeholder("batch_size")
        self._new[seed] = self._nodes.placeholder(seed.name)
        self._rows = self._new[last]  # of the last array of a batch
        for nodes in zip(*lists, strict=True):
            if nodes[0].op == "get_attr":
                self._new[nodes[0]] = lifted[nodes[0]] or self._constant(nodes)
            elif nodes[0].op != "placeholder":
                self._new[nodes[0]] = self._operation(nodes)
        return torch.fx.GraphModule(torch.nn.Module(), self._nodes)

    def _values(self, nodes: Sequence[torch.fx.Node]) -> list[Tensor]:
        return [getattr(graph, str(node.target)) for graph, node in zip(self._graphs, nodes, strict=True)]

    def _lift(self, nodes: Sequence[torch.fx.Node]) -> torch.fx.Node | None:
        """Make a constant of several numbers an input, so that the code does not depend on them."""
        value, *others = self._values(nodes)
        if value.numel() == 0 or bool((value == value.flatten()[0]).all()):
            return None
        if not all(torch.equal(value, other) for other in others):
            raise _differ("constants of several numbers")
        self.constants.append(value)
        return self._nodes.placeholder(f"constant_{len(self.constants)}")

    def _constant(self, nodes: Sequence[torch.fx.Node]) -> torch.fx.Node:
        """Return a constant that repeats one number, as ``aten.full``, which the compiler folds."""
        values = self._values(nodes)
        value, numbers = values[0], [float(each.flatten()[0]) if each.numel() else 0.0 for each in values]
        if len({each.shape for each in values}) > 1:
            raise _differ("the shapes of constants")
        if any(number != numbers[0] for number in numbers[1:]):
            return self._nodes.call_function(
                aten.expand.default, (self._of_size_tensor(numbers, value.dtype), list(value.shape))
            )
        number = value.flatten()[0].item() if value.numel() else 0
        return self._nodes.call_function(aten.full.default, (list(value.shape), number), {"dtype": value.dtype})

    def _operation(self, nodes: Sequence[torch.fx.Node]) -> torch.fx.Node:
        first = nodes[0]
        if len({(node.op, node.target) for node in nodes}) > 1:
            raise _differ("operations")
        flat = [_leaves((node.args, node.kwargs)) for node in nodes]
        if len(set(map(len, flat))) > 1:
            raise _differ("arguments")
        scalars = set(_scalar_positions(first))
        target, leaves = first.target, []
        for position, values in enumerate(zip(*flat, strict=True)):
            if isinstance(values[0], torch.fx.Node):
                if len({node.name for node in values}) > 1:
                    raise _differ("the order of operations")
                leaves.append(self._new[values[0]])
            elif all(type(value) is type(values[0]) and value == values[0] for value in values[1:]):
                leaves.append(values[0])
            elif position in scalars:
                target = _tensor_overload(target)
                leaves.append(self._of_size_tensor([float(value) for value in values], _float_type(first)))
            else:
                leaves.append(self._of_length(values))
        remaining = iter(leaves)
        args, kwargs = map_aggregate((first.args, first.kwargs), lambda _: next(remaining))
        return self._nodes.create_node(first.op, target, args, kwargs, first.name)

    def _of_length(self, values: Sequence[Any]) -> torch.fx.Node:
        """Return a number of a shape as a function of the number of rows."""
        if not all(isinstance(value, int) for value in values):
            raise _differ("arguments")
        factor, summand = self._line(values)
        if not (factor.is_integer() and summand.is_integer()):
            raise _differ("a size that is no whole multiple of it")
        length = self._nodes.call_function(aten.sym_size.int, (self._rows, 0))
        node = length if factor == 1 else self._nodes.call_function(operator.mul, (length, int(factor)))
        return node if not summand else self._nodes.call_function(operator.add, (node, int(summand)))

    def _of_size_tensor(self, values: Sequence[float], dtype: torch.dtype) -> torch.fx.Node:
        """Return a number as a scalar tensor that is computed from the input ``batch_size``."""
        call = self._nodes.call_function
        size = call(aten.to.dtype, (self._size, dtype))
        factor, summand = self._line(values)
        if not dtype.is_floating_point:
            if dtype == torch.bool or not (factor.is_integer() and summand.is_integer()):
                raise _differ(f"a number of type {dtype}")
            factor, summand = int(factor), int(summand)
        products = [value * size for value, size in zip(values, self._sizes, strict=True)]
        if max(products) - min(products) <= 1e-6 * abs(products[0]):
            return call(aten.mul.Tensor, (call(aten.reciprocal.default, (size,)), products[0]))
        product = size if factor == 1 else call(aten.mul.Tensor, (size, factor))
        return product if not summand else call(aten.add.Tensor, (product, summand))

    def _line(self, values: Sequence[float]) -> tuple[float, float]:
        """Return factor and summand of the linear function of the size that gives these values."""
        (a, b), (x, y) = values, self._sizes
        factor = (b - a) / (y - x)
        return factor, a - factor * x


def _leaves(arguments: Any) -> list[Any]:
    leaves: list[Any] = []
    map_aggregate(arguments, leaves.append)
    return leaves


def _scalar_positions(node: torch.fx.Node) -> Iterator[int]:
    """Yield the positions, among the flattened arguments, of numbers that are no sizes."""
    schema = getattr(node.target, "_schema", None)
    position = 0
    for number, argument in enumerate(node.args):
        kind = "" if schema is None else str(schema.arguments[number].type)
        if kind in ("number", "float") or (kind == "Tensor" and isinstance(argument, float)):
            yield position
        position += len(_leaves(argument))


def _float_type(node: torch.fx.Node) -> torch.dtype:
    """Return the precision that an operator computes in."""
    dtype = getattr(node.meta.get("val"), "dtype", torch.float32)
    return dtype if dtype.is_floating_point else torch.float32


def _tensor_overload(target: Any) -> Any:
    """Return the operator that takes a tensor where ``target`` takes a number.

    Raises:
        UnsupportedGraph: if there is none.
    """
    name = str(getattr(target, "_overloadname", ""))
    if name not in ("Scalar", "Tensor") or "Tensor" not in target.overloadpacket.overloads():
        raise _differ(f"a number that {target} takes")
    return target.overloadpacket.Tensor


def _differ(what: str) -> UnsupportedGraph:
    return UnsupportedGraph(f"the step differs between batch sizes in {what}")
