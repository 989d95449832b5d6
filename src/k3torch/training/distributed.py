"""Data-parallel training: each of several processes trains on its part of every batch, and all take the same steps.

::

    with process_group(torch.device("cpu")):  # in a program that torchrun starts
        loader = k3torch.bag_loader(BatchParts(dataset), batch_size=512, shuffle=True)
        model.fit(loader)  # of a FastModel

All processes call ``fit`` and ``evaluate`` with the same arguments. What happens in a step is in ``averaged_parts.py``;
here is what they do together at other times.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
import os
from typing import Any

from k3torch import processes
from k3torch.errors import InputError, first_line, refuse, unless
from k3torch.processes import OtherProcessEnded
from k3torch.training.model_state import named_tensors
import keras
import torch
import torch.distributed
from torch.distributed import PrefixStore, rendezvous  # type: ignore[attr-defined]

TIMEOUT = timedelta(minutes=10)  # of one operation: a process waits so long for another that does not answer
_OF_OTHERS = ("timed out", "timeout", "connection", "peer", "broken pipe", "socket")  # in errors of gloo
_STRIDE = 1_000_003  # between the seeds of two processes
_WRITERS = (keras.callbacks.ModelCheckpoint, keras.callbacks.CSVLogger, keras.callbacks.TensorBoard)


class _Seed:
    """The seed of torch's generator that this process was given, so that it differs from the other processes'."""

    own: int | None = None


@contextmanager
def process_group(device: torch.device, timeout: timedelta = TIMEOUT) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, for the block: by gloo, or on CUDA by NCCL. Without it do nothing.

    Args:
        device: as ``runtime.configure`` returns it; on CUDA each process of a machine gets a GPU of its own.
        timeout: after which a process that waits for another one gives up. With NCCL, PyTorch then ends the process.

    Raises:
        InputError: for more processes than GPUs, and if the processes do not find each other.
    """
    if processes.started() == 1 or processes.count() > 1:
        yield
        return
    if device.type == "cuda":
        number, found = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        refuse([unless(number < found, f"a GPU for each process, got {found} GPUs: start as many processes")])
        torch.cuda.set_device(number)
    try:
        backend = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, timeout=timeout, **_store_of_attempt())
    except (RuntimeError, ValueError) as error:
        raise InputError(f"expected {processes.started()} processes of torchrun, got: {first_line(error)}") from error
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def _store_of_attempt() -> dict[str, Any]:
    """Return the store for a process that ``torchrun`` has started anew, with names of its own for each attempt.

    Without them, PyTorch 2.13 finds the addresses of the processes that were killed. Several machines may count their
    attempts differently; there the user sets TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 instead.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or os.environ.get("LOCAL_WORLD_SIZE") != os.environ.get("WORLD_SIZE"):
        return {}
    store, rank, count = next(rendezvous("env://"))
    return {"store": PrefixStore(f"k3torch/attempt/{attempt}", store), "rank": rank, "world_size": count}


def together(operation: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    """Call a collective operation of ``torch.distributed``, which waits for the same call in all other processes.

    Raises:
        OtherProcessEnded: if one of them has ended, or does not answer within the group's timeout.
    """
    try:
        operation(*args, **kwargs)
    except RuntimeError as error:
        text = str(error).lower()
        if not isinstance(error, torch.distributed.DistError) and not any(word in text for word in _OF_OTHERS):
            raise
        what = "does not answer" if "timed out" in text or "timeout" in text else "has ended"
        raise OtherProcessEnded(f"another of the {processes.count()} processes {what}, so this one ends too") from error


def sum_of_all(tensor: torch.Tensor) -> torch.Tensor:
    """Replace a tensor by the sum of those of all processes, and return it."""
    together(torch.distributed.all_reduce, tensor)
    return tensor


def group_device() -> torch.device:
    """Return where the processes exchange numbers: NCCL does it on GPUs, gloo on the CPU."""
    on_gpu = torch.distributed.get_backend() == "nccl"
    return torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")


def any_of_all(flags: Sequence[bool], device: torch.device) -> list[bool]:
    """Return for each flag whether it is true in any process."""
    found = sum_of_all(torch.tensor([float(flag) for flag in flags], device=device))
    return [value > 0 for value in found.tolist()]


def share_state(model: keras.Model, steps: int | None = None) -> None:
    """Copy weights, optimizer variables and other state of the first process to all others.

    Random numbers, dropout among them, differ between the processes afterwards: each has its own samples.

    Args:
        model: compiled and built.
        steps: of an epoch, which must be as many in all processes.

    Raises:
        InputError: if the models, or the numbers of steps, differ.
    """
    tensors = [named.tensor for named in named_tensors(model)]
    _check_same(steps, tensors)
    number = processes.rank()
    with torch.no_grad():
        for name, tensor, _ in named_tensors(model):
            # gloo knows no uint32 and no bool
            value = tensor.contiguous() if tensor.dtype.is_floating_point else tensor.to(torch.int64).contiguous()
            together(torch.distributed.broadcast, value, src=0)
            if number and is_seed(name):
                value[0] = (value[0] + number * _STRIDE) % 2**31
            tensor.copy_(value)
    if number and torch.initial_seed() != _Seed.own:  # else an earlier fit has done it
        torch.manual_seed((torch.initial_seed() + number * _STRIDE) % 2**63)
        _Seed.own = torch.initial_seed()


def own_seed() -> int | None:
    """Return the seed that ``share_state`` has given to torch's generator in this process, or None."""
    return _Seed.own


def set_own_seed(seed: int | None) -> None:
    """Have ``share_state`` keep torch's generator as it is if its seed is this one."""
    _Seed.own = seed


def gathered(own: torch.Tensor) -> list[list[Any]]:
    """Return the numbers in the tensors of all processes, which have the same shape (numbers,)."""
    found = [torch.empty_like(own) for _ in range(processes.count())]
    together(torch.distributed.all_gather, found, own)
    return [each.tolist() for each in found]


def check_same_weights(model: keras.Model) -> None:
    """Compare the sums of the weights of all processes.

    Raises:
        InputError: if any of them differs in one bit.
    """
    sums = torch.stack([variable.value.detach().double().sum() for variable in model.trainable_variables])
    first, *others = gathered(sums.view(torch.int64))
    if any(each != first for each in others):
        raise InputError(
            "expected the same weights in all processes after an epoch, got others: a train_step of your own must "
            "call that of FastModel, and callbacks must not change weights in one process alone"
        )


def is_seed(name: str) -> bool:
    """Return whether a tensor of ``model_state.named_tensors`` is the state of one of Keras's seed generators."""
    return name.endswith("seed_generator_state") or name == "Keras's global seed generator"


def _check_same(steps: int | None, tensors: list[torch.Tensor]) -> None:
    weights = sum(tensor.numel() for tensor in tensors)
    own = torch.tensor([steps or 0, len(tensors), weights], dtype=torch.int64, device=tensors[0].device)
    batches, *shapes = zip(*gathered(own), strict=True)
    refuse(
        [
            unless(
                len(set(batches)) == 1,
                f"as many batches in each process, got {', '.join(map(str, batches))}: "
                "let all loaders have all samples, and divide them by BatchParts",
            ),
            unless(all(len(set(each)) == 1 for each in shapes), "the same model in each process, got others"),
        ]
    )


class SameWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Begins each ``fit`` with the state of the first process, and compares weights after each epoch."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Copy the state, and compare the numbers of batches."""
        share_state(self.model, self.params.get("steps"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Refuse to go on with weights that differ, as after a ``train_step`` that averages no gradients."""
        check_same_weights(self.model)


def prepare_call(model: Any, phase: str, arguments: dict[str, Any]) -> bool:
    """Change the arguments of ``fit`` or ``evaluate`` for this process; return whether metrics are read every batch.

    Callbacks that write files remain in the first process alone. If metrics are read after every batch in one process,
    for a progress bar or a callback, they are summed over the processes after every batch in all.

    Raises:
        InputError: for BackupAndRestore, which goes on with an interrupted run in one process only, and for a
            ``CallbackList`` in ``fit``.
    """
    callbacks = arguments.get("callbacks")
    if not isinstance(callbacks, keras.callbacks.CallbackList):
        given = list(callbacks or [])
        if any(isinstance(each, keras.callbacks.BackupAndRestore) for each in given):
            raise InputError("expected no BackupAndRestore in several processes: pass resume=folder to fit")
        start = [SameWeights()] if phase == "train" else []
        arguments["callbacks"] = start + callbacks_of_process(given)
    elif phase == "train":
        raise InputError("expected callbacks as a list in several processes, got a CallbackList")
    (read,) = any_of_all([model._logs_are_read], group_device())
    return read


def callbacks_of_process(callbacks: Sequence[Any]) -> list[Any]:
    """Return the callbacks of this process: those that write files remain in the first process alone."""
    return [each for each in callbacks if processes.is_main() or not isinstance(each, _WRITERS)]
