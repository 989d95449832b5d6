"""A step of one process among several: its loss is of its own samples, the gradients are the mean over all samples.

What changes are two of the four parts of a step. The loss is scaled so that the mean over the processes, weighted by
their numbers of samples, is the loss of the whole batch. The update gets the gradients' weighted mean, so that all
processes take the same step. With Keras's usual reduction, the mean over the samples, the scale is one.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from k3torch.errors import InputError
from k3torch.training.distributed import any_of_all, sum_of_all
from k3torch.training.keras_internals import private_attribute
from k3torch.training.step_parts import Parts
import keras
import torch

_MEANS = {"sum_over_batch_size", "mean"}
_ALONE = "train it in one process"


def average(gradients: Sequence[torch.Tensor], weight: float) -> list[torch.Tensor]:
    """Return the mean of the gradients of all processes, each weighted by its number of samples.

    All gradients are sent as one tensor, with the number of samples at its end.
    """
    last = gradients[0].new_ones(1)
    numbers = sum_of_all(torch.cat([*(gradient.reshape(-1) for gradient in gradients), last]) * weight)
    means = torch.split(numbers / numbers[-1], [*(gradient.numel() for gradient in gradients), 1])
    return [mean.view(g.shape).to(g.dtype) for mean, g in zip(means[:-1], gradients, strict=True)]


def samples_of(data: Any) -> int:
    """Return the number of samples of a batch, or of its inputs."""
    return next((int(leaf.shape[0]) for leaf in keras.tree.flatten(data) if leaf is not None), 0)


class AveragedParts:
    """The parts of a step in one of several processes, made of those of a process alone.

    A process whose part of a batch is empty computes nothing and takes part in the mean with weight zero.

    Attributes:
        local: the parts of a process alone; they may be replaced.

    Raises:
        InputError: for a loss whose mean over the batch cannot be put together from the processes' means.
    """

    def __init__(self, model: keras.Model, local: Parts):
        self.local, self._model, self._reduction = local, model, _reduction(model)
        self._samples = 0
        self._masked: bool | None = None  # whether outputs have masks in any process
        self._used: list[bool] | None = None  # variables that have gradients in any process

    def parts(self) -> Parts:
        """Return the parts for ``FastModel``."""
        return replace(
            self.local,
            forward=self._forward,
            loss=self._loss,
            update_metrics=self._update_metrics,
            update_weights=self._update_weights,
        )

    def _forward(self, x: Any, training: bool) -> Any:
        self._samples = samples_of(x)
        if not self._samples:
            return torch.zeros(0, device=self.local.device, requires_grad=True)
        return self.local.forward(x, training)

    def _loss(self, y: Any, y_pred: Any, sample_weight: Any) -> torch.Tensor:
        loss: torch.Tensor = self.local.loss(y, y_pred, sample_weight) if self._samples else y_pred.sum()
        divisor = self._divisor(y_pred, sample_weight)
        if divisor is None:
            return loss
        divisors, samples = sum_of_all(torch.stack([divisor, torch.full_like(divisor, self._samples)]))
        if not self._samples:
            return loss
        fraction = 1.0 if self._reduction == "sum" else torch.where(divisors > 0, divisor / divisors, 0.0)
        penalties: Any = sum(term.sum() for term in self._model.losses)  # the mean over the processes counts them once
        total: torch.Tensor = penalties + fraction * samples / self._samples * (loss - penalties)
        return total

    def _divisor(self, y_pred: Any, sample_weight: Any) -> torch.Tensor | None:
        """Return what Keras divides the sum of these samples' losses by, or None if their number will do."""
        outputs = keras.tree.flatten(y_pred)
        masks = [mask for each in outputs if (mask := getattr(each, "_keras_mask", None)) is not None]
        if self._masked is None:  # a resumed run may begin with a batch that has no samples for this process
            (self._masked,) = any_of_all([bool(masks)], self.local.device)
        self._masked = self._masked or bool(masks)
        if masks and len(outputs) > 1:
            raise InputError(f"expected outputs without masks of a model with {len(outputs)} outputs: {_ALONE}")
        weights = sample_weight if self._reduction == "mean_with_sample_weight" else None
        if self._reduction != "sum" and not self._masked and weights is None:
            return None
        zero = torch.zeros((), device=self.local.device)
        if self._reduction == "sum" or not self._samples:
            return zero
        if not masks:
            return zero + (self._samples if weights is None else weights.sum())
        valid: torch.Tensor = masks[0].to(zero.dtype)
        if weights is not None:
            valid = valid * (weights.reshape(-1, *[1] * (valid.ndim - 1)) if weights.numel() == len(valid) else weights)
        return valid.sum()

    def _update_metrics(self, y: Any, y_pred: Any, sample_weight: Any) -> None:
        if self._samples:
            self.local.update_metrics(y, y_pred, sample_weight)

    def _update_weights(self, gradients: Sequence[torch.Tensor | None], variables: Sequence[Any]) -> None:
        if self._used is None:
            self._used = any_of_all([gradient is not None for gradient in gradients], self.local.device)
        pairs = zip(gradients, variables, self._used, strict=True)
        found = [torch.zeros_like(v.value) if g is None else g for g, v, used in pairs if used]
        means = iter(average(found, self._samples))
        self.local.update_weights([next(means) if used else None for used in self._used], variables)


def _reduction(model: keras.Model) -> str:
    """Return how the model's losses are reduced, "mean" if it has none."""
    compiled = private_attribute(model, "_compile_loss")
    entries = (private_attribute(compiled, "_flat_losses") or []) if compiled is not None else []
    found = {"mean" if each in _MEANS else each for entry in entries if (each := _reduction_of(entry.loss))}
    if found <= {"mean"} or (len(found) == 1 and len(entries) == 1 and found <= {"sum", "mean_with_sample_weight"}):
        return next(iter(found), "mean")
    raise InputError(f"expected losses with reduction='sum_over_batch_size', got {', '.join(sorted(found))}: {_ALONE}")


def _reduction_of(loss: Any) -> str:
    return str(getattr(loss, "reduction", "mean"))
