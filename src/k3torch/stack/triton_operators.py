"""How Triton writes torch's operators on single elements."""

from collections.abc import Collection
from typing import Any

from k3torch.stack.torch_internals import DECOMPOSE, make_graph, private_part, private_use
import torch

aten = torch.ops.aten

_ARITHMETIC = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "div": "{0} / {1}"}
_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_TANH = "(1 - 2 / (tl.exp(2 * ({0})) + 1))"
_SIGMOID = "(1 / (1 + tl.exp(-({0}))))"

# By operator: an expression of its arguments. The result is converted to the type that torch gives it.
ELEMENTWISE: dict[Any, str] = {
    **{getattr(aten, name).Tensor: text for name, text in _ARITHMETIC.items()},
    **{getattr(aten, name).Scalar: text for name, text in _ARITHMETIC.items()},
    **{getattr(aten, name).Tensor: f"{{0}} {sign} {{1}}" for name, sign in _COMPARISONS.items()},
    **{getattr(aten, name).Scalar: f"{{0}} {sign} {{1}}" for name, sign in _COMPARISONS.items()},
    aten.rsub.Scalar: "{1} - {0}",
    aten.neg.default: "-{0}",
    aten.abs.default: "tl.abs({0})",
    aten.sgn.default: "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, {0} * 0))",
    aten.sign.default: "tl.where({0} > 0, 1.0, tl.where({0} < 0, -1.0, {0} * 0))",
    aten.sqrt.default: "tl.sqrt_rn({0})",
    aten.rsqrt.default: "1 / tl.sqrt_rn({0})",
    aten.reciprocal.default: "1 / {0}",
    aten.exp.default: "tl.exp({0})",
    aten.log.default: "tl.log({0})",
    aten.log1p.default: "tl.where(1 + {0} == 1, {0}, tl.log(1 + {0}) * {0} / (1 + {0} - 1))",
    aten.expm1.default: (
        "tl.where(tl.exp({0}) == 1, {0}, tl.where(tl.exp({0}) - 1 == -1, -1.0, "
        "(tl.exp({0}) - 1) * {0} / tl.log(tl.exp({0}))))"
    ),
    aten.erf.default: "tl.erf({0})",
    aten.relu.default: "tl.where({0} < 0, 0.0, {0})",
    aten.threshold_backward.default: "tl.where({1} > {2}, {0}, 0.0)",
    aten.sigmoid.default: _SIGMOID,
    aten.sigmoid_backward.default: "{0} * {1} * (1 - {1})",
    aten.tanh.default: _TANH,
    aten.tanh_backward.default: "{0} * (1 - {1} * {1})",
    aten.silu.default: f"{{0}} * {_SIGMOID}",
    aten.silu_backward.default: f"{{0}} * {_SIGMOID.format('{1}')} * (1 + {{1}} * (1 - {_SIGMOID.format('{1}')}))",
    aten.maximum.default: "tl.maximum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    aten.minimum.default: "tl.minimum({0}, {1}, propagate_nan=tl.PropagateNan.ALL)",
    aten.where.self: "tl.where({0}, {1}, {2})",
    aten.logical_and.default: "({0} != 0) & ({1} != 0)",
    aten.logical_or.default: "({0} != 0) | ({1} != 0)",
    aten.logical_not.default: "{0} == 0",
    aten.bitwise_and.Tensor: "{0} & {1}",
    aten.bitwise_or.Tensor: "{0} | {1}",
    aten.bitwise_not.default: "{0} == 0",
}
# By exponent: an expression of the base.
POWERS: dict[Any, str] = {
    0.5: "tl.sqrt_rn({0})",
    1: "({0})",
    2: "({0} * {0})",
    3: "({0} * {0} * {0})",
    -1: "(1 / {0})",
    -0.5: "(1 / tl.sqrt_rn({0}))",
}


def arity(operator: Any) -> int:
    """Return the number of arguments that the expression of an operator has."""
    return sum(f"{{{number}}}" in ELEMENTWISE[operator] for number in range(3))


def decomposed(graph: torch.fx.GraphModule, known: Collection[Any]) -> torch.fx.GraphModule:
    """Return the graph with operators that are not known in terms of others, as far as torch has rules for them."""
    others = {node.target for node in graph.graph.nodes if node.op == "call_function"} - set(known)
    decompositions = private_part(DECOMPOSE)(list(others))
    if not decompositions:
        return graph
    values = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    inputs = [torch.zeros(tuple(value.shape), dtype=value.dtype) for value in values]
    with private_use(), torch.no_grad():
        return make_graph(graph, inputs, decompositions)
