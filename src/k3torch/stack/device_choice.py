"""Where a stack is trained on a machine with a GPU: there, or by compiled C++ loops on the CPU."""

import torch

# A step on a GPU costs at least this, in seconds, however few and small the models are: some 150 kernels of about two
# microseconds each. Estimated, not measured on a GPU.
GPU_STEP = 3e-4
_GPU_MULTIPLICATIONS = 1e12  # a second, of many small matrix products
# A step of one model in a compiled C++ loop on one core, apart from its multiplications.
CPU_STEP = 3e-6
CPU_MULTIPLICATIONS = 3e10  # a second, of one core

ON_CPU = "training on the CPU in compiled C++ loops: a step of so few small models takes longer on the GPU"


def cpu_is_faster(models: int, weights: int, batch_size: int, cores: int) -> bool:
    """Return whether compiled loops on the CPU take less time for a step of all models than a GPU.

    Args:
        models: how many are trained side by side.
        weights: of one model.
        batch_size: samples in a batch.
        cores: of the CPU, one for each model at a time.
    """
    work = multiplications(weights, batch_size)
    on_cpu = models / min(models, cores) * (CPU_STEP + work / CPU_MULTIPLICATIONS)
    return on_cpu < GPU_STEP + models * work / _GPU_MULTIPLICATIONS


def multiplications(weights: int, batch_size: int) -> int:
    """Return the number of multiplications of a step of one model, forward and backward, if it is made of products."""
    return 3 * weights * batch_size


def graph_on_cpu(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Move all operators and constants of a graph that was traced on another device to the CPU, and return it."""
    for node in graph.graph.nodes:
        if node.kwargs.get("device") is not None:
            node.kwargs = {**node.kwargs, "device": torch.device("cpu")}
        if node.op == "get_attr":
            setattr(graph, str(node.target), getattr(graph, str(node.target)).cpu())
    graph.recompile()
    return graph
