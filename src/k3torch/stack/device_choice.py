"""Where a stack is trained on a machine with a GPU: there, or by compiled C++ loops on the CPU."""

import math

from k3torch.stack.triton_blocks import MAX_STATE
import keras
import torch

_STEP_SECONDS = 1e-3  # of an uncompiled step on the CPU: some 150 operators
# A step of one model in a compiled C++ loop on one core, apart from its multiplications.
CPU_STEP = 1e-6
CPU_MULTIPLICATIONS = 3e10  # a second, of one core
# Measured on an H100 with up to 1,024 price regressors: one kernel of all steps trains a model on each multiprocessor,
# in 4 microseconds a step with batches of one; the captured kernels of other models take 180 to 450 together.
KERNEL_STEP, MULTIPROCESSORS = 4e-6, 128
CAPTURED_STEP = 2e-4
_GPU_MULTIPLICATIONS = 1e12  # a second, of many small matrix products; estimated

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
    waves = math.ceil(models / MULTIPROCESSORS)
    small = 3 * weights <= MAX_STATE  # with the slots of an optimizer
    on_gpu = waves * KERNEL_STEP if small else CAPTURED_STEP
    return on_cpu < on_gpu + models * work / _GPU_MULTIPLICATIONS


def multiplications(weights: int, batch_size: int) -> int:
    """Return the number of multiplications of a step of one model, forward and backward, if it is made of products."""
    return 3 * weights * batch_size


def uncompiled_seconds(model: keras.Model, samples: int, models: int, batch_size: int, epochs: int) -> float:
    """Estimate how long it takes to train so many models for these epochs without compiling."""
    steps = epochs * samples / batch_size
    work = models * multiplications(sum(weight_sizes(model)), batch_size) / CPU_MULTIPLICATIONS
    return steps * (_STEP_SECONDS + work)


def weight_sizes(model: keras.Model) -> list[int]:
    """Return the number of weights of each trainable variable."""
    return [int(variable.value.numel()) for variable in model.trainable_variables]


def graph_on_cpu(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Move all operators and constants of a graph that was traced on another device to the CPU, and return it."""
    for node in graph.graph.nodes:
        if node.kwargs.get("device") is not None:
            node.kwargs = {**node.kwargs, "device": torch.device("cpu")}
        if node.op == "get_attr":
            setattr(graph, str(node.target), getattr(graph, str(node.target)).cpu())
    graph.recompile()
    return graph
