"""Rewrites of a graph into operators that torch's compiler writes as plain loops."""

from typing import Any

import torch

# Multiplications from which a library's matrix product is faster than loops.
LARGE_PRODUCT = 2**20


def small_product(a: torch.Tensor, b: torch.Tensor) -> Any:
    """Multiply (n, k) by (k, m) matrices in loops that are fused with their neighbours; large ones stay products."""
    if a.numel() * b.shape[-1] > LARGE_PRODUCT:
        return NotImplemented
    return (a.unsqueeze(-1) * b.unsqueeze(-3)).sum(-2)


def with_plain_constants(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Return the graph with constant tensors of one repeated number replaced by ``aten.full``, which folds away."""
    nodes = torch.fx.Graph()
    nodes.output(nodes.graph_copy(graph.graph, {}))
    copy = torch.fx.GraphModule(graph, nodes)  # which takes over the constants that the nodes name
    for node in copy.graph.find_nodes(op="get_attr"):
        value = getattr(graph, str(node.target))
        if isinstance(value, torch.Tensor) and value.numel() and bool((value == value.flatten()[0]).all()):
            with copy.graph.inserting_before(node):
                full = copy.graph.call_function(
                    torch.ops.aten.full.default, (list(value.shape), value.flatten()[0].item()), {"dtype": value.dtype}
                )
            node.replace_all_uses_with(full)
            copy.graph.erase_node(node)
    copy.recompile()
    return copy
