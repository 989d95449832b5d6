"""Predictions of the models of a cross-validation: of new samples by all of them, of their own by those held out."""

from collections.abc import Iterator, Sequence
from typing import Any

from k3torch.data.bags import BagDataset
from k3torch.models.probabilities import activated
from k3torch.validation.arguments import Features
from k3torch.validation.folds import Split
import keras
import numpy as np
from numpy.typing import NDArray
import scipy.sparse
import torch

Float = NDArray[np.float64]

_BATCH = 1024  # samples at a time


def predict(model: keras.Model, x: Features) -> Float:
    """Return the outputs for x, (samples, ...), as float64; logits, by the model's loss, become probabilities."""
    outputs: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for batch in _batches(x):
            outputs.append(keras.ops.convert_to_numpy(activated(model, model(batch, training=False))))
    return np.asarray(np.concatenate(outputs), dtype=np.float64)


def _batches(x: Features) -> Iterator[Any]:
    """Yield float32 batches; of a sparse matrix as CSR tensors."""
    samples = x.shape[0]
    bags = BagDataset(x, np.zeros(samples)) if scipy.sparse.issparse(x) else None
    for start in range(0, samples, _BATCH):
        some = slice(start, start + _BATCH)
        yield x[some].astype("float32") if bags is None else bags[some][0]


def mean_prediction(models: Sequence[keras.Model], x: Features) -> Float:
    """Return the mean of the models' outputs, of the shape of one model's."""
    return np.asarray(np.mean([predict(model, x) for model in models], axis=0))


def out_of_fold(models: Sequence[keras.Model], x: Features, indices: Sequence[Split]) -> Float:
    """Return the mean prediction of each sample by the models that have it as a validation sample; NaN without one.

    Args:
        models: one for each fold.
        x: (samples, ...).
        indices: training and validation samples of each model.
    """
    parts = [
        (validation, predict(model, x[validation])) for model, (_, validation) in zip(models, indices, strict=True)
    ]
    return averaged(parts, x.shape[0])


def averaged(parts: Sequence[tuple[NDArray[np.int64], Float]], samples: int) -> Float:
    """Return the mean prediction of each sample, (samples, ...), NaN where there is none.

    Args:
        parts: the numbers of some samples, and their predictions; one part or more.
        samples: their number.
    """
    sums, counts = np.zeros((samples, *parts[0][1].shape[1:])), np.zeros(samples)
    for chosen, outputs in parts:
        np.add.at(sums, chosen, outputs)  # a sample may be drawn twice
        np.add.at(counts, chosen, 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / counts.reshape(-1, *[1] * (sums.ndim - 1)))
