"""The interface of models that a stack trains together: one for each core, or all at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from k3torch.stack import stateless
from k3torch.stack.batch_loop import Order
import keras
import numpy as np
from numpy.typing import NDArray
import torch

EpochMetrics = NDArray[np.float32]  # (metrics, models)
Kind = Literal["training", "validation"]


class StepResult(NamedTuple):
    """What steps leave of one model: the tensors of ``stateless.variables``, and its metrics, (metrics,)."""

    state: list[torch.Tensor]
    metrics: torch.Tensor


@dataclass(frozen=True)
class EpochResult:
    """An epoch that some models of a stack have completed.

    Attributes:
        models: their numbers.
        epoch: from 0 on.
        training, validation: the metrics, (metrics, models).
    """

    models: range
    epoch: int
    training: EpochMetrics
    validation: EpochMetrics


class ModelGroup(Protocol):
    """Models that are trained together.

    Attributes:
        models: one or more.
        stacked: whether the tensors of a step have a first dimension that counts models.
    """

    models: list[keras.Model]
    stacked: bool

    @property
    def generator(self) -> np.random.Generator | None:
        """What draws the seed of each epoch; None stands for torch's global generator."""

    def load(self, orders: Sequence[Order]) -> None:
        """Set the order of each model's training samples in the next epoch, and draw its random seeds."""

    def train(self) -> EpochMetrics:
        """Train each model on its samples, and return the metrics."""

    def validate(self) -> EpochMetrics:
        """Evaluate each model on its validation samples, and return the metrics."""

    def write_back(self) -> None:
        """Write weights, optimizer slots and other state into the models."""

    def state(self, member: int) -> list[torch.Tensor]:
        """Return a model's tensors, in the order of ``stateless.variables``."""

    def batches(self, kind: Kind, member: int, count: int) -> list[list[torch.Tensor]]:
        """Return at most ``count`` batches of a model's samples, as ``after_steps`` takes them."""

    def after_steps(self, kind: Kind, member: int, count: int) -> StepResult:
        """Return what so many steps leave of a model, by an uncompiled graph or a kernel, and change nothing."""


class StackedModels:
    """What groups have in common that train all models at once: tensors of all of them, with a first dimension more.

    Args:
        models: with their initial weights: read now, written by ``write_back``.
    """

    stacked = True
    generator: np.random.Generator | None = None

    def __init__(self, models: Sequence[keras.Model]):
        self.models = list(models)
        groups = zip(*map(stateless.variables, self.models), strict=True)
        self._state = [torch.stack([variable.value.detach() for variable in group]) for group in groups]

    def train(self) -> EpochMetrics:
        """Train each model on its samples, and return the metrics, (metrics, models)."""
        return self._run("training")

    def validate(self) -> EpochMetrics:
        """Evaluate each model on its validation samples, and return the metrics, (metrics, models)."""
        return self._run("validation")

    def write_back(self) -> None:
        """Write weights, optimizer slots and other state into the models."""
        for index, model in enumerate(self.models):
            stateless.assign(model, [tensor[index] for tensor in self._state])

    def state(self, member: int) -> list[torch.Tensor]:
        """Return views of a model's tensors, in the order of ``stateless.variables``."""
        return [tensor[member] for tensor in self._state]

    def _run(self, kind: Kind) -> EpochMetrics:
        raise NotImplementedError
