"""The same training as ``fit``, as a loop of one's own: read it to see what ``fit`` does.

The model, its layers, loss, metrics, optimizer and weights stay Keras's, so ``evaluate``, ``predict`` and ``save``
work before and after. What is given up is all that ``fit`` does around the steps: callbacks, logs, early stopping.
"""

from collections.abc import Iterable

from k3torch.training import fast_step
import keras
import torch

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def train(model: keras.Model, batches: Batches, validation: Batches = (), epochs: int = 1) -> list[dict[str, float]]:
    """Train a compiled model; return each epoch's ``loss`` and ``accuracy``, and ``val_`` of both if it is validated.

    Args:
        model: a chain of layers, built and compiled, as ``imdb_classifier`` returns it.
        batches: ``(x, y)`` of one epoch each time it is walked through; y is (batch, 1), 0 or 1.
        validation: the same, only evaluated; may be empty.
        epochs: how often to walk through both.

    Raises:
        fast_step.Unsupported: for a model whose parts need Keras's own step.
    """
    model.optimizer.build(model.trainable_variables)
    forward, update = fast_step.forward(model), fast_step.weights(model)
    loss_function = keras.losses.get(model.loss)
    variables = model.trainable_variables
    parameters = [variable.value for variable in variables]
    history = []
    for _ in range(epochs):
        sums = torch.zeros(2, 3, device=parameters[0].device)  # train, validation: loss, hits, rows
        for x, y in batches:
            y_pred = forward(x, True)
            loss = loss_function(y, y_pred).mean()
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                update(gradients, variables)
                sums[0] += _counted(loss, y, y_pred)
        with torch.no_grad():
            for x, y in validation:
                y_pred = forward(x, False)
                sums[1] += _counted(loss_function(y, y_pred).mean(), y, y_pred)
        figures: dict[str, float] = {}
        for prefix, (loss_sum, hits, rows) in zip(("", "val_"), sums.tolist(), strict=True):  # the epoch's one wait
            if rows:
                figures |= {f"{prefix}loss": loss_sum / rows, f"{prefix}accuracy": hits / rows}
        history.append(figures)
    return history


def _counted(loss: torch.Tensor, y: torch.Tensor, y_pred: torch.Tensor) -> torch.Tensor:
    hits = ((y_pred > 0.5) == (y > 0.5)).sum()
    return torch.stack([loss * len(y), hits, torch.full_like(hits, len(y))])
