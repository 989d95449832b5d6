"""CUDA tensors without a GPU: they have shape, dtype and device, but no values.

``device.enable`` comes first, in a process of its own; inside ``with Recorder() as recorder:`` code may then use
``device="cuda"``. Operators on CPU tensors compute as usual. Operators on CUDA tensors follow shapes and devices by
torch's FakeTensorMode: a mix of devices raises as on a GPU, and so does a result whose shape depends on values. Each
operator is recorded by what it would cost on a GPU. Not seen: what happens inside of a C++ kernel.
"""

from contextlib import contextmanager
from pathlib import Path
import traceback
from typing import NamedTuple

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

aten = torch.ops.aten
NO_KERNEL = {aten.detach.default, aten.alias.default, aten._unsafe_view.default, aten.lift_fresh.default}


class Event(NamedTuple):
    """An operator as a GPU would see it.

    ``kind`` is "wait", where the host synchronises with the device; "pageable", a copy to the device from memory that
    is not pinned; "pinned"; "kernel"; or "random", a kernel that draws random numbers. ``where`` names the lines of
    k3torch and Keras that called it, the innermost first, and only for the first two kinds.
    """

    kind: str
    operator: str
    where: str = ""


class Recorder(TorchDispatchMode):
    """Records the operators on CUDA tensors; ``events`` is the list of them."""

    def __init__(self):
        super().__init__()
        self.events = []
        self._shapes = FakeTensorMode(allow_non_fake_inputs=True)
        self._captured = None
        self.sync_debug_mode = "default"  # with "error", the host must not wait

    def __enter__(self):
        # torch.tensor(value, device="cuda") copies a CPU tensor, and this makes the copy an operator of its own.
        self._lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(self._lifted)

    def take(self):
        """Return the events since the last call."""
        events, self.events = self.events, []
        return events

    @contextmanager
    def capture(self, captured):
        """Add what is done in the block to ``captured`` too, a ``Captured``."""
        self._captured = captured
        try:
            yield
        finally:
            self._captured = None

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if operator is aten.is_pinned.default:
            return hasattr(args[0], "pinned")
        if operator is aten._pin_memory.default:
            copy = args[0].clone()
            copy.pinned = True
            return copy
        leaves, _ = tree_flatten((args, kwargs))
        if not any(map(_on_cuda, leaves)):
            return operator(*args, **kwargs)
        if operator is aten._local_scalar_dense.default:
            self._record("wait", "item", located=True)
            return torch.zeros((), dtype=args[0].dtype).item()
        if operator is aten.equal.default:
            self._record("wait", "equal", located=True)
            return True
        with self._shapes:
            result = operator(*args, **kwargs)
        if self._captured is not None:
            self._captured.add(leaves, tree_flatten(result)[0])
        if (copied := _copied(operator, args, result)) is not None:
            self._record_copy(*copied, _is_asynchronous(operator, args, kwargs))
        elif torch.Tag.nondeterministic_seeded in operator.tags:
            self._record("random", str(operator))
        elif _launches(operator):
            self._record("kernel", str(operator))
        return tree_map_only(FakeTensor, _on_host, result)

    def _record(self, kind, operator, located=False):
        if kind == "wait" and self.sync_debug_mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")
        event = Event(kind, operator, _callers() if located else "")
        self.events.append(event)
        if self._captured is not None:
            self._captured.events.append(event)

    def _record_copy(self, source, target, asynchronous):
        kind = "wait"
        if asynchronous and target == "cuda":
            kind = "pinned" if hasattr(source, "pinned") else "pageable"
        self._record(kind, f"{source.device.type} to {target}", located=kind != "pinned")


class Captured:
    """Stands in for a CUDA graph: the events of its capture, and the memory that its kernels read.

    ``freed`` counts the storages that the kernels read, that were not made during the capture, and that are gone.
    """

    def __init__(self):
        self.events, self.replays = [], 0
        self._read, self._made = {}, {}  # by address, which stays taken as long as there is a weak reference

    def add(self, inputs, outputs):
        for tensors, storages, others in ((inputs, self._read, self._made), (outputs, self._made, self._read)):
            for tensor in filter(_is_on_cuda, tensors):
                storage = StorageWeakRef(tensor.untyped_storage())
                if storage.cdata not in others:
                    storages[storage.cdata] = storage

    def freed(self):
        return sum(storage.expired() for storage in self._read.values())

    def replay(self):
        self.replays += 1


def _is_on_cuda(leaf):
    return isinstance(leaf, FakeTensor) and leaf.device.type == "cuda"


def _on_cuda(leaf):
    return isinstance(leaf, FakeTensor) or (isinstance(leaf, torch.device) and leaf.type == "cuda")


def _on_host(tensor):
    """Return zeros for a result on the CPU: they were copied from a device where there are no values."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype) if tensor.device.type == "cpu" else tensor


def _copied(operator, args, result):
    """Return the source and the target's type of device, where an operator copies from one device to another."""
    if operator is aten._to_copy.default:
        source, target = args[0], result
    elif operator is aten.copy_.default:
        target, source = args[:2]
    else:
        return None
    return (source, target.device.type) if source.device.type != target.device.type else None


def _is_asynchronous(operator, args, kwargs):
    given = args[2:] if operator is aten.copy_.default else ()
    return bool(kwargs.get("non_blocking") or (given and given[0]))


def _launches(operator):
    creates_only = any(word in operator.name() for word in ("empty", "lift_fresh", "set_", "resize_"))
    return not (operator.is_view or operator in NO_KERNEL or creates_only or operator.namespace == "prim")


def _callers():
    lines = [f for f in traceback.extract_stack() if "/k3torch/" in f.filename or "/keras/src/" in f.filename]
    return " < ".join(f"{'/'.join(Path(f.filename).parts[-2:])}:{f.lineno}" for f in reversed(lines[-4:]))


class Bags(torch.Tensor):
    """Stands in for a CSR tensor on CUDA, which FakeTensorMode does not support."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    layout = torch.sparse_csr

    @staticmethod
    def __new__(cls, offsets, ids, values, shape, **_):
        bags = torch.Tensor._make_subclass(cls, torch.empty(0))
        bags._offsets, bags._ids, bags._values, bags._size = offsets, ids, values, torch.Size(shape)
        return bags

    @property
    def shape(self):
        return self._size

    @property
    def device(self):
        return self._values.device

    @property
    def dtype(self):
        return self._values.dtype

    def __len__(self):
        return self._size[0]

    def crow_indices(self):
        return self._offsets

    def col_indices(self):
        return self._ids

    def values(self):
        return self._values

    def to(self, *args, **kwargs):
        dtypes = [arg for arg in args if isinstance(arg, torch.dtype)]
        return Bags(self._offsets, self._ids, self._values.to(*dtypes), self._size) if dtypes else self
