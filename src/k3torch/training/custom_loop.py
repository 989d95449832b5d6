"""The same training as ``fit``, as a custom training loop: read it to see what ``fit`` does.

The model, its layers, loss, metrics, optimizer and weights stay Keras's, so ``evaluate``, ``predict`` and ``save``
work before and after. Missing is what ``fit`` does around the steps: callbacks, logs, early stopping.
"""

from collections.abc import Iterable

from k3torch.training import fast_step
from k3torch.training.asynchronous import asynchronous
import keras
import torch

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def train(model: keras.Model, batches: Batches, validation: Batches = (), epochs: int = 1) -> list[dict[str, float]]:
    """Train a compiled model with one output.

    Args:
        model: a chain of layers, built and compiled, as ``imdb_classifier`` returns it.
        batches: yields ``(x, y)`` of one epoch each time it is iterated over; y is (batch, 1), 0 or 1.
        validation: the same, for evaluation; may be empty.
        epochs: how often to iterate over both.

    Returns:
        For each epoch ``loss`` and ``accuracy``, and with validation ``val_loss`` and ``val_accuracy``.

    Raises:
        fast_step.Unsupported: for a model whose step needs Keras's own parts.
        keras_internals.MissingPart: for a version of Keras without a private part that the loop needs.
    """
    model.optimizer.build(model.trainable_variables)
    forward, update = fast_step.forward(model), fast_step.weights(model)
    variables = model.trainable_variables
    parameters = [variable.value for variable in variables]
    history = []
    for _ in range(epochs):
        sums = torch.zeros(2, 3, device=parameters[0].device)  # training, validation: loss, hits, samples
        for x, y in batches:
            with asynchronous(sums.device):
                y_pred = forward(x, True)
                loss = model.compute_loss(x, y, y_pred)  # penalties on weights included
                gradients = torch.autograd.grad(loss, parameters)
                with torch.no_grad():
                    update(gradients, variables)
                    sums[0] += _sums(loss, y, y_pred)
        with asynchronous(sums.device), torch.no_grad():
            for x, y in validation:
                y_pred = forward(x, False)
                sums[1] += _sums(model.compute_loss(x, y, y_pred, training=False), y, y_pred)
        values: dict[str, float] = {}
        # tolist() synchronises with the device, once an epoch.
        for prefix, (loss_sum, hits, samples) in zip(("", "val_"), sums.tolist(), strict=True):
            if samples:
                values |= {f"{prefix}loss": loss_sum / samples, f"{prefix}accuracy": hits / samples}
        history.append(values)
    return history


def _sums(loss: torch.Tensor, y: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    """Return a batch's sum of losses, number of hits and number of samples, (3,)."""
    hits = ((y_pred > 0.5) == (y > 0.5)).sum()
    return torch.stack([loss * len(y), hits, torch.full_like(hits, len(y))])
