"""SparseDense: Dense on a multi-hot bag, without the zeros."""

from typing import Any

from k3torch.errors import InputError
import keras
from scipy.sparse import csc_matrix
import torch


@keras.saving.register_keras_serializable(package="k3torch")
class SparseDense(keras.layers.Dense):  # type: ignore[misc]
    """``keras.layers.Dense`` that also takes its input as a torch CSR tensor.

    Same arguments, weights, outputs and gradients as ``Dense`` on ``x.to_dense()``, up to the order in which
    numbers are summed: what ``get_weights`` of one returns, ``set_weights`` of the other takes. Dense inputs go
    ``Dense``'s own way. The gradient goes to the weights and not to ``x``: this is a model's first layer.

    Input:
        CSR (batch, num_words), float; an empty row gives the bias alone, a stored value other than 1 counts as much.

    Raises:
        InputError: for a column outside 0 ... num_words - 1, or a width other than the layer was built for.
    """

    def call(self, inputs: torch.Tensor, training: bool | None = None) -> torch.Tensor:
        """Return ``activation(inputs @ kernel + bias)``, (batch, units), in the compute dtype."""
        if inputs.layout != torch.sparse_csr:
            return super().call(inputs, training=training)  # type: ignore[no-any-return]
        kernel = keras.ops.convert_to_tensor(self.kernel)
        if inputs.shape[-1] != kernel.shape[0]:
            raise InputError(f"expected bags of {kernel.shape[0]} words, got {inputs.shape[-1]}: use one num_words")
        x = bag_matmul(inputs, kernel)
        if self.bias is not None:
            x = x + self.bias.value
        return x if self.activation is None else self.activation(x)  # type: ignore[no-any-return]


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the compiler knows no CSR tensors
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
    """Both directions are weighted bag sums; PyTorch's own backward of a bag sorts all ids at every step."""

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
        # A batch's CSR arrays are the CSC arrays of its transpose: one pass, no index to build and nothing to sort.
        wide = torch.float64 if gradient.dtype == torch.float64 else torch.float32  # SciPy knows no bfloat16
        words = csc_matrix(
            (values.to(wide).numpy(), ids.numpy(), offsets.numpy()), shape=(ctx.num_words, len(gradient))
        )
        summed = words @ gradient.to(wide).numpy()
        return None, None, None, torch.from_numpy(summed).to(gradient.dtype)


def _bag_sum(offsets: torch.Tensor, ids: torch.Tensor, weights: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Sum ``weights * table[ids]`` over each bag: (bags, columns of table)."""
    return torch.nn.functional.embedding_bag(
        ids, table, offsets, mode="sum", per_sample_weights=weights, include_last_offset=True
    )


def _scatter(
    offsets: torch.Tensor, ids: torch.Tensor, values: torch.Tensor, gradient: torch.Tensor, num_words: int
) -> torch.Tensor:
    """Add each review's gradient to its words' rows: accelerators have fast atomic adds, and no transposed index."""
    review = torch.repeat_interleave(
        torch.arange(len(gradient), device=ids.device), offsets.diff(), output_size=len(ids)
    )
    summed = torch.zeros(num_words, gradient.shape[1], dtype=torch.float32, device=ids.device)
    terms = gradient.float()[review] * values.float()[:, None]
    return summed.index_add_(0, ids, terms).to(gradient.dtype)
