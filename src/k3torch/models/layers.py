"""SparseDense: Dense on a sparse multi-hot matrix, computed from the nonzero values alone."""

from typing import Any

from k3torch import kernels
from k3torch.errors import InputError
import keras
from scipy.sparse import csc_matrix
import torch


@keras.saving.register_keras_serializable(package="k3torch")
class SparseDense(keras.layers.Dense):  # type: ignore[misc]
    """``keras.layers.Dense`` that also takes its input as a sparse CSR tensor of torch.

    Arguments, weights, outputs and gradients are those of ``Dense`` on ``x.to_dense()``, up to the order of the
    float32 sums. ``get_weights`` and ``set_weights`` are compatible with ``Dense``. A dense input is passed to
    ``Dense``. The layer computes no gradient for a sparse input, so it must be the first layer of a model.

    A model file that contains the layer needs ``import k3torch`` before ``keras.saving.load_model``.

    Input shape:
        (batch, num_words), float, CSR or dense. The output of an empty row is ``activation(bias)``; values other
        than 1 act as in ``Dense``.

    Output shape:
        (batch, units), in the layer's compute dtype.

    Raises:
        InputError: if the input has another width than the layer was built for, or, on a CPU, a column index is
            outside 0 ... num_words - 1. On CUDA indices are not checked at each step, which would synchronise with
            the device: ``BagDataset`` checks them once.
    """

    def call(self, inputs: torch.Tensor, training: bool | None = None) -> torch.Tensor:
        """Return ``activation(inputs @ kernel + bias)``, (batch, units), in the compute dtype."""
        if inputs.layout != torch.sparse_csr:
            return super().call(inputs, training=training)  # type: ignore[no-any-return]
        kernel = keras.ops.convert_to_tensor(self.kernel)
        if inputs.shape[-1] != kernel.shape[0]:
            raise InputError(
                f"expected bags of {kernel.shape[0]} words, got {inputs.shape[-1]}: make the bags with that num_words"
            )
        x = bag_matmul(inputs, kernel)
        if self.bias is not None:
            x = x + self.bias.value
        return x if self.activation is None else self.activation(x)  # type: ignore[no-any-return]


keras.saving.get_custom_objects()["k3torch>MultiHotDense"] = SparseDense  # its name in earlier files


@torch.compiler.disable  # type: ignore[untyped-decorator]  # torch.compile does not support CSR tensors
def bag_matmul(bags: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Return ``bags @ kernel`` in the kernel's dtype, differentiable in the kernel.

    Args:
        bags: CSR, (batch, num_words).
        kernel: dense, (num_words, units).
    """
    values = bags.values().to(kernel.dtype)
    product: torch.Tensor = _BagMatmul.apply(bags.crow_indices(), bags.col_indices(), values, kernel)  # type: ignore[no-untyped-call]
    return product


class _BagMatmul(torch.autograd.Function):
    """``bags @ kernel`` as a weighted ``embedding_bag``, with a backward of its own: on a CPU it sorts no ids."""

    @staticmethod
    def forward(
        ctx: Any, offsets: torch.Tensor, ids: torch.Tensor, values: torch.Tensor, kernel: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(offsets, ids, values)
        ctx.num_words = len(kernel)
        try:
            return _bag_sum(offsets, ids, values, kernel)
        except (RuntimeError, IndexError):
            if 0 <= int(ids.min()) <= int(ids.max()) < len(kernel):
                raise
            raise InputError(
                f"expected word ids from 0 to {len(kernel) - 1}, got {int(ids.min())} to {int(ids.max())}: "
                "make the bags with the layer's num_words"
            ) from None

    @staticmethod
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        offsets, ids, values = ctx.saved_tensors
        if gradient.device.type != "cpu":
            return None, None, None, _scatter(offsets, ids, values, gradient, ctx.num_words)
        compiled = kernels.load()
        indices = offsets.dtype is ids.dtype is torch.int32
        if compiled is not None and indices and kernels.are_plain(values, gradient):
            return None, None, None, compiled.transposed_product(offsets, ids, values, gradient, ctx.num_words)
        # The CSR arrays of a batch are the CSC arrays of its transpose: no index to build and nothing to sort.
        wide = torch.float64 if gradient.dtype == torch.float64 else torch.float32  # SciPy does not support bfloat16
        transpose = csc_matrix(
            (values.to(wide).numpy(), ids.numpy(), offsets.numpy()), shape=(ctx.num_words, len(gradient))
        )
        summed = transpose @ gradient.to(wide).numpy()
        return None, None, None, torch.from_numpy(summed).to(gradient.dtype)


def _bag_sum(offsets: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sum ``weights * table[ids]`` over each bag: (bags, columns of table)."""
    return torch.nn.functional.embedding_bag(
        ids, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _scatter(
    offsets: torch.Tensor, ids: torch.Tensor, values: torch.Tensor, gradient: torch.Tensor, num_words: int
) -> torch.Tensor:
    """Return ``bags.T @ gradient``: the occurrences of each word are sorted, and summed in their order.

    Atomic adds, as in ``index_add_``, would sum them in another order each time, and so round differently.
    """
    samples = torch.repeat_interleave(
        torch.arange(len(gradient), device=ids.device, dtype=ids.dtype), offsets.diff(), output_size=len(ids)
    )
    words, order = torch.sort(ids, stable=True)
    bounds = torch.arange(num_words + 1, device=ids.device, dtype=ids.dtype)
    starts = torch.searchsorted(words, bounds, out_int32=ids.dtype is torch.int32)
    return _bag_sum(starts, samples[order], values.float()[order], gradient.float()).to(gradient.dtype)
