"""A graph of tensor operations as a CUDA graph, so that a run of it costs one launch of few kernels."""

from collections.abc import Callable, Sequence
import functools

from k3torch.errors import first_line
from k3torch.files import private_compiler_cache
from k3torch.stack.graph_nodes import draws, writes
from k3torch.training.cuda_capture import record, warm_up
import torch
from torch.fx.node import map_arg

Tensors = Sequence[torch.Tensor]
Run = Callable[[], object]
# Of a graph, its inputs before a run, and as compiled kernels left them: what is wrong, or None.
Compare = Callable[[torch.fx.GraphModule, Tensors, Tensors], str | None]


def capture(
    graph: torch.fx.GraphModule,
    inputs: Tensors,
    notice: Callable[[str], None],
    compare: Compare | None = None,
    check_liveness: bool = False,
) -> Run:
    """Return a function that runs ``graph`` on exactly these tensors, which must not be reallocated.

    It replays the captured graph, or where that cannot be captured calls one operator after another. The function
    keeps the graph and its constants alive: the captured kernels read them by their addresses.

    Args:
        graph: changed: its constants are computed now, see ``compute_constants``.
        inputs: on CUDA; they keep their values.
        notice: is called with one line if the graph cannot be compiled or captured.
        compare: fuse operators into kernels by ``torch.compile``, which takes seconds, and compare them so.
        check_liveness: check before each replay that the tensors are alive that the kernels read; for tests.
    """
    fixed = list(inputs)
    before = [tensor.clone() for tensor in fixed]
    compute_constants(graph)
    run = _compiled(graph, fixed, notice, compare) if compare else None
    run = run or functools.partial(_without_gradients, graph, *fixed)
    _put_back(fixed, before)  # a step counts its batches, and must not read beyond the last
    try:
        recording = record(run, **({"check_input_liveness": True} if check_liveness else {}))
    except RuntimeError as error:
        notice(f"training operator by operator, which is slower: no CUDA graph ({first_line(error)})")
        return run
    finally:
        _put_back(fixed, before)

    def replay(_kept: tuple[object, ...] = (graph, fixed, run)) -> None:
        recording.replay()

    return replay


def _compiled(
    graph: torch.fx.GraphModule, inputs: Tensors, notice: Callable[[str], None], compare: Compare
) -> Run | None:
    """Return the graph on these inputs as fused kernels, which have run once, or None with a notice.

    They are compared with the operators of the graph: another version of torch may compile it to other numbers.
    """
    private_compiler_cache()
    run = functools.partial(_without_gradients, torch.compile(graph, dynamic=False), *inputs)
    before = [tensor.clone() for tensor in inputs]
    try:
        warm_up(run)
        reason = compare(graph, before, inputs)
    except Exception as error:  # of any kind: torch's compiler, Triton and a C++ compiler are asked
        reason = first_line(error, with_type=True)
    else:
        reason = reason and f"the fused kernels disagree with torch operators: {reason}"
    if reason:
        notice(f"training uncompiled, which is slower: {reason}")
        return None
    return run


def _without_gradients(function: Callable[..., object], *inputs: torch.Tensor) -> None:
    with torch.no_grad():
        function(*inputs)


def _put_back(tensors: Tensors, values: Tensors) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


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
