"""Numbers of a graph that become tensors, so that models that differ in them share the graph.

A traced step holds a dropout rate or a momentum as a literal argument of an operator. Here is which of these
arguments may be a tensor instead, and the operator that takes it.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.fx.node import map_aggregate

Node = torch.fx.Node
aten = torch.ops.aten

# Arguments that are numbers of the model; others are options of an operator, such as ``alpha`` or ``reduction``.
_NAMES = ("self", "other", "value", "exponent", "min", "max", "p", "fill_value", "s", "scalar")


class Argument(NamedTuple):
    """An argument of an operator: its position among the flattened arguments, its name, and its value."""

    position: int
    name: str
    value: Any


def liftable(node: Any) -> set[int]:
    """Return the positions, among the flattened arguments, of numbers for which ``call`` takes a tensor.

    ``node`` is one of a graph, or an operation of a record (``recorded_step``).
    """
    if node.op != "call_function" or not _takes_tensors(node.target):
        return set()
    return {
        argument.position
        for argument in _arguments(node)
        if argument.name in _NAMES and isinstance(argument.value, int | float) and not isinstance(argument.value, bool)
    }


def signature(graph: torch.fx.GraphModule) -> str:
    """Return a text that is the same for graphs that differ in nothing but numbers that can be lifted."""
    numbers = {node: number for number, node in enumerate(graph.graph.nodes)}
    lines = []
    for node in numbers:
        if node.op == "placeholder":
            lines.append(f"input {shape_and_type(node.meta['val'])}")
        elif node.op == "get_attr":
            lines.append(f"constant {shape_and_type(getattr(graph, str(node.target)))}")
        else:
            lifted = liftable(node)
            leaves = [
                f"%{numbers[leaf]}" if isinstance(leaf, Node) else "number" if position in lifted else repr(leaf)
                for position, leaf in enumerate(flattened((node.args, node.kwargs)))
            ]
            lines.append(f"{node.target} {', '.join(leaves)}")
    return "\n".join(lines)


def number_type(node: Node, values: Sequence[Any]) -> torch.dtype:
    """Return the type of a tensor that replaces these numbers, so that the operator computes as with a number."""
    kinds = [getattr(other.meta.get("val"), "dtype", None) for other in (node, *node.all_input_nodes)]
    floats: list[torch.dtype] = [kind for kind in kinds if kind is not None and kind.is_floating_point]
    if floats:
        return floats[0]
    return torch.int64 if all(isinstance(value, int) for value in values) else torch.float32


def call(nodes: torch.fx.Graph, first: Node, arguments: Any, keywords: Any) -> Node:
    """Add the operator of ``first`` to a graph, with some of its numbers replaced by nodes of tensors."""
    target = first.target
    if target in _WRITTEN:
        return _written(nodes, first, arguments, keywords)
    return nodes.create_node(first.op, _OVERLOADS.get(target) or _tensor_overload(target), arguments, keywords)


def flattened(arguments: Any) -> list[Any]:
    """Return the leaves of nested arguments, in order."""
    leaves: list[Any] = []
    map_aggregate(arguments, leaves.append)
    return leaves


def _arguments(node: Any) -> Iterator[Argument]:
    schema = node.target._schema
    position = 0
    for number, value in enumerate(node.args):
        yield Argument(position, schema.arguments[number].name, value)
        position += len(flattened(value))


def shape_and_type(tensor: torch.Tensor) -> str:
    """Return shape and dtype as a text."""
    return f"{tuple(tensor.shape)} {tensor.dtype}"


def _takes_tensors(target: Any) -> bool:
    known = target in _OVERLOADS or target in _WRITTEN
    return known or (hasattr(target, "_schema") and _tensor_overload(target) is not None)


def _tensor_overload(target: Any) -> Any:
    """Return the operator that takes a tensor where ``target`` takes a number, or None if there is none by its name."""
    name = str(getattr(target, "_overloadname", ""))
    if name not in ("Scalar", "Tensor") or "Tensor" not in target.overloadpacket.overloads():
        return None
    return target.overloadpacket.Tensor


def _written(nodes: torch.fx.Graph, first: Node, arguments: Any, keywords: Any) -> Node:
    """Add an operator of ``_WRITTEN``, which has no form of its own for tensors."""
    call, kind = nodes.call_function, first.meta["val"].dtype
    if first.target is aten.clamp.default:  # two numbers or two tensors
        numbers = [bound is not None and not isinstance(bound, Node) for bound in arguments]
        tensors = [
            call(aten.full.default, ([], bound), {"dtype": kind}) if number else bound
            for bound, number in zip(arguments, numbers, strict=True)
        ]
        return call(aten.clamp.Tensor, tuple(tensors), keywords)
    if first.target is aten.bernoulli.p:
        x, p = arguments
        return call(aten.to.dtype, (call(aten.lt.Tensor, (call(aten.rand_like.default, (x,)), p)), kind))
    if first.target is aten.full.default:
        shape, value = arguments
        return call(aten.expand.default, (value, shape))
    if first.target is aten.full_like.default:
        like, value = arguments
        return call(aten.mul.Tensor, (call(aten.ones_like.default, (like,), keywords), value))
    return call(aten.clone.default, arguments)  # scalar_tensor


_OVERLOADS: dict[Any, Any] = {
    aten.pow.Tensor_Scalar: aten.pow.Tensor_Tensor,
    aten.pow.Scalar: aten.pow.Tensor_Tensor,
    aten.clamp_min.default: aten.clamp_min.Tensor,
    aten.clamp_max.default: aten.clamp_max.Tensor,
    aten.where.ScalarOther: aten.where.self,
    aten.where.ScalarSelf: aten.where.self,
}
_WRITTEN = (
    aten.clamp.default,
    aten.bernoulli.p,
    aten.full.default,
    aten.full_like.default,
    aten.scalar_tensor.default,
)
