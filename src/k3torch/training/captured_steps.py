"""Steps on CUDA as CUDA graphs: one launch for all kernels of a step.

A step of a small network is some fifty kernels of a few microseconds each, and it takes longer to launch them from
Python than to run them. A CUDA graph records the kernels of a step with the addresses of their tensors, and runs all of
them by one launch. A replay runs no Python, so steps are captured only where all of the Python is Keras's own. Like
every fast path, a replay is compared with the step itself on the first batches.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
import warnings

from k3torch import processes
from k3torch.training.asynchronous import asynchronous
from k3torch.training.cuda_capture import record, warm_up
from k3torch.training.model_state import State
from k3torch.training.python_state import is_own, reachable
from k3torch.training.state_comparison import compare_steps, in_short
import keras
import torch

Batch = tuple[torch.Tensor, ...]
Step = Callable[[Any], object]

UNCAPTURED = 1  # batches of each shape, before one is captured: what occurs once is not worth it
COMPARED = 2  # batches of each shape on which a replay is compared with the step
MAX_SHAPES = 8  # a graph keeps the tensors of a step


class Captured(NamedTuple):
    """A CUDA graph, the tensors from which it reads a batch, and the gradients that it leaves."""

    graph: Any
    batch: Batch
    gradients: list[torch.Tensor | None]


def captured_steps(model: keras.Model, parameters: list[torch.Tensor]) -> "CapturedSteps | None":
    """Return the captured steps of a compiled and built model, or None where steps are not captured."""
    on_cuda = all(parameter.device.type == "cuda" for parameter in parameters)
    if not on_cuda or processes.count() > 1 or any(map(is_own, reachable(model, through_functions=False))):
        return None
    return CapturedSteps(model, parameters)


class CapturedSteps:
    """The captured steps of a model, one for each kind of step and shape of batch.

    Args:
        model: compiled and built.
        parameters: those whose gradients a step leaves.
    """

    def __init__(self, model: keras.Model, parameters: list[torch.Tensor]):
        self._model, self._parameters = model, parameters
        self._counts: dict[Any, int] = {}
        self._captured: dict[Any, Captured] = {}
        self._pool: Any = None
        self._failed = False

    def take(self, kind: str, data: Any, step: Step) -> bool:
        """Take a step by a CUDA graph, or return False if the caller is to take it.

        Args:
            kind: of the step; those of another kind have graphs of their own.
            data: the batch.
            step: the step, a function of the batch; it changes nothing but the state of the model.
        """
        if self._failed or not _is_static(data):
            return False
        device = self._parameters[0].device
        data = tuple(part.to(device, non_blocking=True) for part in data)
        key = (kind, *((part.shape, part.dtype) for part in data))
        count = self._counts.get(key, 0)
        if not count and len(self._counts) == MAX_SHAPES:
            return False
        self._counts[key] = count + 1
        if count < UNCAPTURED:
            return False
        if count < UNCAPTURED + COMPARED:
            with asynchronous(device):
                self._compare(key, data, step)
        else:
            self._replay(key, data)
        return True

    def _compare(self, key: Any, data: Batch, step: Step) -> None:
        """Take the step, and its replay from the same state, and leave the replay's state if they agree."""
        before = State(self._model, gradients=False)

        def replay() -> None:
            if key not in self._captured:
                self._captured[key] = self._capture(data, step)
                before.restore()
            self._replay(key, data)

        if problems := compare_steps(self._model, lambda: warm_up(lambda: step(data)), replay, before):
            self._failed = True
            self._captured.clear()
            warnings.warn(
                f"{type(self._model).__name__} launches the kernels of a step one by one, which is slower: "
                f"its step as a CUDA graph differs ({in_short(problems)})",
                stacklevel=2,
            )

    def _capture(self, data: Batch, step: Step) -> Captured:
        batch = tuple(part.clone() for part in data)
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = record(lambda: step(batch), self._pool)
        return Captured(graph, batch, [parameter.grad for parameter in self._parameters])

    def _replay(self, key: Any, data: Batch) -> None:
        captured = self._captured[key]
        for target, part in zip(captured.batch, data, strict=True):
            target.copy_(part)
        captured.graph.replay()
        if key[0] != "test":
            for parameter, gradient in zip(self._parameters, captured.gradients, strict=True):
                parameter.grad = gradient


def _is_static(data: Any) -> bool:
    """Return whether a batch consists of tensors whose sizes do not depend on their values."""
    return isinstance(data, tuple) and all(
        isinstance(part, torch.Tensor) and part.layout == torch.strided for part in data
    )
