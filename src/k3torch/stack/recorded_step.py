"""Graphs of steps, without tracing them, that differ in nothing but numbers from a step that was traced before.

Recording the operators of a step while it is computed takes a tenth of the time of tracing it. The record of the traced
model is matched with its graph, operator by operator. A record of another model that differs from it in nothing but
numbers then gives the numbers in the graph of that model. So does a record of the same model for another size of
batches, whose shapes are other numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import operator
from typing import Any, NamedTuple

from k3torch.stack.fixed_randomness import Mode
from k3torch.stack.lifted_numbers import flattened, liftable, shape_and_type
import torch
from torch.fx.node import map_aggregate

Tensor = torch.Tensor
Node = torch.fx.Node


@dataclass(frozen=True)
class Source:
    """Where a tensor comes from: an output of an operation, or an input or a constant, by their numbers."""

    operation: int
    number: int


INPUT, CONSTANT = -1, -2
_NAMES = {torch.ops.aten.lift_fresh.default: torch.ops.aten.lift_fresh_copy.default}  # recorded: traced


class Operation(NamedTuple):
    """A call of an operator: a ``Source`` stands for each tensor. The names are those of ``torch.fx.Node``.

    Attributes:
        results: what the operator returns, which may be one of its arguments.
    """

    target: Any
    args: Any
    kwargs: Any
    results: Sequence[Any] = ()
    op: str = "call_function"


class Variant(NamedTuple):
    """The nodes of a graph with the numbers and constants of another model, or of another size of batches."""

    nodes: list[Any]
    constants: dict[str, Tensor]


class Record(Mode):  # type: ignore[misc]
    """The operators that a function calls, with their numbers.

    Args:
        function: is called once, on copies of ``inputs``.
        inputs: its arguments.

    Attributes:
        inputs: shape and dtype of each, which the calls of many operators do not show.
        operations: in the order of the calls.
        constants: tensors that are neither inputs nor results of operators.
    """

    def __init__(self, function: Callable[..., None], inputs: Sequence[Tensor]):
        super().__init__()
        self.inputs = [shape_and_type(tensor) for tensor in inputs]
        self.operations: list[Operation] = []
        self.constants: list[Tensor] = []
        copies = [tensor.clone() for tensor in inputs]
        self._sources = {id(tensor): Source(INPUT, number) for number, tensor in enumerate(copies)}
        self._kept: list[Any] = [copies]  # an id is that of one tensor only as long as this is alive
        with torch.no_grad(), self:
            function(*copies)
        self._kept.clear()

    def __torch_dispatch__(self, called: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operator and record it."""
        given = map_aggregate((tuple(args), kwargs or {}), self._source)
        result = called(*args, **(kwargs or {}))
        place = len(self.operations)
        results = [
            self._sources.setdefault(id(tensor), Source(place, number))
            for number, tensor in enumerate(flattened(result))
        ]
        self.operations.append(Operation(called, *given, results))
        self._kept.append(result)
        return result

    def signature(self) -> str:
        """Return a text that is the same for records that differ in nothing but numbers that can be lifted."""
        lines = [f"input {kind}" for kind in self.inputs]
        lines += [f"constant {shape_and_type(tensor)}" for tensor in self.constants]
        for operation in self.operations:
            lifted = liftable(operation)
            leaves = enumerate(flattened((operation.args, operation.kwargs)))
            lines.append(f"{operation.target} {['number' if n in lifted else repr(leaf) for n, leaf in leaves]}")
        return "\n".join(lines)

    def structure(self) -> list[Any]:
        """Return what the records of a step for two sizes of batches share, unless the step depends on the size."""

        def kind(leaf: Any) -> Any:
            return leaf if isinstance(leaf, Source) else type(leaf)

        operations = [(each.target, map_aggregate(each[1:3], kind), each.results) for each in self.operations]
        return [len(self.inputs), [tensor.dtype for tensor in self.constants], operations]

    def _source(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) not in self._sources:
            self._sources[id(value)] = Source(CONSTANT, len(self.constants))
            self.constants.append(value.detach().clone())
            self._kept.append(value)
        return self._sources[id(value)]


def variant(graph: torch.fx.GraphModule, record: Record, other: Record) -> Variant | None:
    """Return the graph of another model or size of batches, or None if the first record does not match its graph.

    Args:
        graph: of a step that was traced.
        record: of the same step.
        other: of the step of another model, with the same signature, or for another size, with the same structure.
    """
    matched = _Matched(graph, record, {})
    nodes: list[Any] = []
    for node in graph.graph.nodes:
        if node.op == "call_function" and (operation := matched.operation(node)) is not None:
            nodes.append(_with_numbers(node, other.operations[operation]))
        elif node.op == "call_function" and node not in matched.results:
            return None
        else:
            nodes.append(node)
            if node.op == "placeholder":
                matched.results[node] = [Source(INPUT, len(nodes) - 1)]
    attributes = [node for node in nodes if node.op == "get_attr"]
    if not all(matched.results.get(node, [None])[0] for node in attributes):
        return None
    return Variant(nodes, {str(node.target): other.constants[matched.results[node][0].number] for node in attributes})


@dataclass
class _Matched:
    """Finds the operation of each node of a graph in a record, which also has operations whose results are not used.

    Attributes:
        graph: of a step.
        record: of the same step.
        results: of the operation of each node.
        place: the number of the next operation.
    """

    graph: torch.fx.GraphModule
    record: Record
    results: dict[Node, Sequence[Any]]
    place: int = 0

    def operation(self, node: Node) -> int | None:
        """Return the number of a node's operation, or None if it has none."""
        if node.target is operator.getitem:
            of, number = node.args
            self.results[node] = [self.results[of][number]]  # type: ignore[index]
            return None
        for number in range(self.place, len(self.record.operations)):
            if self._is(node, self.record.operations[number]):
                self.place = number + 1
                self.results[node] = self.record.operations[number].results
                return number
        return None

    def _is(self, node: Node, operation: Operation) -> bool:
        if node.target is not _NAMES.get(operation.target, operation.target):
            return False
        own, recorded = flattened((node.args, node.kwargs)), flattened((operation.args, operation.kwargs))
        return len(own) == len(recorded) and all(map(self._is_argument, own, recorded))

    def _is_argument(self, value: Any, recorded: Any) -> bool:
        if not isinstance(value, Node):
            return repr(value) == repr(recorded)
        constant = isinstance(recorded, Source) and recorded.operation == CONSTANT
        if constant and value.op == "get_attr" and value not in self.results:  # else it is that of an unused result
            own, other = getattr(self.graph, str(value.target)), self.record.constants[recorded.number]
            if own.dtype == other.dtype and torch.equal(own, other):
                self.results[value] = [recorded]
        return value in self.results and self.results[value][0] == recorded


def _with_numbers(node: Node, operation: Operation) -> Operation:
    """Return a node with the numbers of an operation."""
    values = iter(flattened((operation.args, operation.kwargs)))

    def value(leaf: Any) -> Any:
        given = next(values)
        return leaf if isinstance(leaf, Node) else given

    return Operation(node.target, *map_aggregate((node.args, node.kwargs), value), op=node.op)
