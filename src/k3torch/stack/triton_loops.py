"""Triton kernels that train many small models, each for many steps."""

from collections.abc import Sequence
import hashlib
import importlib
import linecache
from typing import Any

from k3torch.stack.reasons import CompilerUnavailable
from k3torch.stack.triton_source import TritonSource
import torch

Tensors = Sequence[torch.Tensor]


class TritonLoop:
    """A step of one size of batch, for many models.

    Args:
        graph: of one model's step, on the CPU, over ``[*state, *batch, seed]``.
        state: the number of tensors of the state.
        device: where the loop runs.

    Raises:
        CompilerUnavailable: if Triton cannot be imported.
        UnsupportedGraph: if the step cannot be written as a kernel.
    """

    def __init__(self, graph: torch.fx.GraphModule, state: int, device: torch.device):
        source = TritonSource(graph, state)
        self._kernel, self._warps = _kernel(source.text), source.warps
        self._constants = [constant.to(device) for constant in source.constants]

    def run(self, state: Tensors, arrays: Tensors, order: torch.Tensor, counts: torch.Tensor) -> None:
        """Take the steps of all models, and write the state.

        Args:
            state: of all models, each (models, ...), contiguous.
            arrays: all samples: for each array of a batch (models, samples, ...), contiguous.
            order: the samples of each batch, (models, batches, samples in a batch), int64.
            counts: the number of batches of each model, (models,), int64.
        """
        rows = arrays[0].shape[1] if arrays else 0
        arguments = (*state, *arrays, *self._constants, order, counts, rows, order.shape[1])
        self._kernel[(len(counts),)](*arguments, num_warps=self._warps)


def _kernel(text: str) -> Any:
    """Return the function of a kernel as Triton compiles it."""
    try:
        triton, language = importlib.import_module("triton"), importlib.import_module("triton.language")
    except ImportError as error:
        raise CompilerUnavailable(f"no Triton ({error})") from error
    name = f"<kernel {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)  # where Triton reads the source
    variables = {"triton": triton, "tl": language, "__name__": __name__}
    exec(compile(text, name, "exec"), variables)  # written by triton_source, from operators and numbers alone
    return variables["run"]
