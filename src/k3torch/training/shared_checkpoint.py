"""Checkpoints of several processes: the first process writes one file with the state of all, and reads it for all.

So a file holds the same step of all processes, whichever of them is killed, and when. Weights and optimizer variables
are the same in all processes, and are written once. What differs is gathered from all: random numbers, sums of metrics,
and what callbacks and the caller's own layers keep in Python.
"""

from collections.abc import Callable
import io
from typing import Any

from k3torch import processes
from k3torch.errors import InputError
from k3torch.training.checkpoint_file import CheckpointFolder, packed, unpacked
from k3torch.training.distributed import any_of_all, gathered, group_device, is_seed, together
from k3torch.training.model_state import named_tensors
import keras
import numpy as np
import torch
import torch.distributed

Values = dict[str, Any]
BATCHES = 16  # within an epoch, the processes ask the first one after so many batches, since each question is a message


def of_first(call: Callable[[], Any]) -> Any:
    """Return in all processes what ``call`` returns in the first: plain values, arrays and tensors on the CPU.

    Raises:
        InputError: in all processes, if the first one raises it.
    """
    if processes.count() == 1:
        return call()
    answer: Values = {}
    if processes.is_main():
        try:
            answer = {"value": call()}
        except InputError as error:
            answer = {"error": str(error)}
    content = _to_bytes(answer) if answer else b""
    size = torch.tensor([len(content)], device=group_device())
    together(torch.distributed.broadcast, size, src=0)
    message = _message(content, int(size))
    together(torch.distributed.broadcast, message, src=0)
    answer = answer or _from_bytes(message)
    if "error" in answer:
        raise InputError(answer["error"])
    return answer["value"]


def of_all(own: Values) -> list[Values]:
    """Return the values of all processes, in order, in each of them."""
    if processes.count() == 1:
        return [own]
    content = _to_bytes(own)
    sizes = [size for (size,) in gathered(torch.tensor([len(content)], device=group_device()))]
    message = _message(content, max(sizes))
    found = [torch.empty_like(message) for _ in sizes]
    together(torch.distributed.all_gather, found, message)
    return [_from_bytes(each[:size]) for each, size in zip(found, sizes, strict=True)]


def is_due(folder: CheckpointFolder, seconds: float = 0.0, batch: int = 0) -> bool:
    """Return whether a checkpoint is due; of several processes the first one decides for all.

    Args:
        folder: of the checkpoints.
        seconds: see ``CheckpointFolder.is_due``.
        batch: how many batches of the epoch are done; 0 at its end.
    """
    if processes.count() == 1:
        return folder.is_due(seconds)
    if batch % BATCHES:
        return False
    (due,) = any_of_all([processes.is_main() and folder.is_due(seconds)], group_device())
    return due


def own_tensors(model: keras.Model) -> list[torch.Tensor]:
    """Return the tensors of a built model that differ between the processes: seeds and the sums of metrics."""
    sums = {id(variable.value) for variable in model.metrics_variables}
    return [tensor.detach() for name, tensor, _ in named_tensors(model) if is_seed(name) or id(tensor) in sums]


def load_own_tensors(model: keras.Model, values: list[torch.Tensor]) -> None:
    """Copy what ``own_tensors`` returned into a model with the same tensors."""
    with torch.no_grad():
        for tensor, value in zip(own_tensors(model), values, strict=True):
            tensor.copy_(value)


def _to_bytes(values: Values) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **packed(values))
    return file.getvalue()


def _from_bytes(message: torch.Tensor) -> Values:
    return unpacked(io.BytesIO(message.cpu().numpy().tobytes()))


def _message(content: bytes, size: int) -> torch.Tensor:
    """Return a tensor (size,) that begins with ``content``."""
    numbers = np.frombuffer(content.ljust(size, b"\0"), np.uint8)
    return torch.tensor(numbers, device=group_device())
