"""A graph of tensor operations captured as a CUDA graph, so that a run of it costs one launch."""

from collections.abc import Callable, Sequence

from k3torch.errors import first_line
from k3torch.stack.graph_nodes import draws, writes
import torch
from torch.fx.node import map_arg

Tensors = Sequence[torch.Tensor]


def capture(
    graph: torch.fx.GraphModule, inputs: Tensors, notice: Callable[[str], None], check_liveness: bool = False
) -> Callable[[], object]:
    """Return a function that runs ``graph`` on exactly these tensors, which must not be reallocated.

    It replays the captured graph, or where that cannot be captured calls one operator after another. The function
    keeps the graph and its constants alive: the captured kernels read them by their addresses.

    Args:
        graph: changed: its constants are computed now, see ``compute_constants``.
        inputs: on CUDA; they keep their values.
        notice: is called with one line if the graph cannot be captured.
        check_liveness: check before each replay that the tensors are alive that the kernels read; for tests.
    """
    fixed = list(inputs)
    compute_constants(graph)

    def run() -> None:
        graph(*fixed)

    before = [tensor.clone() for tensor in fixed]
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side), torch.no_grad():
        run()  # warm-up: libraries allocate their workspaces, which is not allowed during capture
    torch.cuda.current_stream().wait_stream(side)
    for tensor, value in zip(fixed, before, strict=True):
        tensor.copy_(value)
    recording = torch.cuda.CUDAGraph()
    try:
        with torch.no_grad(), torch.cuda.graph(recording, check_input_liveness=check_liveness):
            run()
    except RuntimeError as error:
        notice(f"training operator by operator, which is slower: no CUDA graph ({first_line(error)})")
        return run

    def replay(_kept: tuple[object, ...] = (graph, fixed)) -> None:
        recording.replay()

    return replay


def compute_constants(graph: torch.fx.GraphModule) -> None:
    """Compute what does not depend on the inputs, and have the graph keep it: it would cost kernels in each run."""
    written = {node for writing in graph.graph.nodes if writes(writing) for node in writing.all_input_nodes[:1]}
    values: dict[torch.fx.Node, torch.Tensor] = {}
    for node in list(graph.graph.nodes):
        if node.op == "get_attr" and node not in written:
            values[node] = getattr(graph, str(node.target))
        elif _is_pure(node) and node not in written and all(argument in values for argument in node.all_input_nodes):
            args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
            value = node.target(*args, **kwargs)
            if isinstance(value, torch.Tensor):
                values[node] = value
    for node, value in values.items():
        if node.op == "call_function" and any(user not in values for user in node.users):
            graph.register_buffer(f"constant_{node.name}", value)
            with graph.graph.inserting_before(node):
                node.replace_all_uses_with(graph.graph.get_attr(f"constant_{node.name}"))
    graph.graph.eliminate_dead_code()
    graph.recompile()


def _is_pure(node: torch.fx.Node) -> bool:
    return node.op == "call_function" and hasattr(node.target, "_schema") and not (writes(node) or draws(node))
