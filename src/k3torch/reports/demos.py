"""The data of the explanatory plots, computed with what they explain: Keras's losses, SGD and Dropout."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from numpy.polynomial import Polynomial
from numpy.typing import NDArray
from sklearn.model_selection import KFold
import torch

Float = NDArray[np.float64]


def losses_for_label_one(probabilities: Float) -> tuple[Float, Float]:
    """Return Keras's cross-entropy and squared error of predicted probabilities, each (n,), for samples of label 1."""
    predicted = torch.as_tensor(probabilities)[:, None]
    label = torch.ones_like(predicted)
    losses = keras.losses.binary_crossentropy(label, predicted), keras.losses.mean_squared_error(label, predicted)
    cross_entropy, squared_error = (np.asarray(keras.ops.convert_to_numpy(loss)) for loss in losses)
    return cross_entropy, squared_error


def two_valleys(w: torch.Tensor) -> torch.Tensor:
    """Return a loss of one weight with a local minimum at w = 1.35 and the global minimum at w = -1.47."""
    return w**4 - 4 * w**2 + w


def descend(
    loss: Callable[[torch.Tensor], torch.Tensor], start: float, optimizer: keras.optimizers.Optimizer, steps: int
) -> Float:
    """Return the values of one weight during gradient descent from ``start`` by a Keras optimizer, (steps + 1,)."""
    weight = keras.Variable(start, dtype="float64")
    path = [start]
    for _ in range(steps):
        value = weight.value.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(value), value)
        optimizer.apply([gradient], [weight])
        path.append(float(weight.value.detach()))
    return np.array(path)


@dataclass(frozen=True)
class PolynomialFits:
    """Polynomials of several degrees fitted to the same noisy samples of a cosine.

    Attributes:
        x, y: the samples, shape (samples,).
        grid, truth: arguments and values of the cosine without noise, shape (points,).
        curves: degree to the fitted values on ``grid``.
        sample_error: degree to the root mean squared error on the samples.
        true_error: degree to the root mean squared error on ``grid``, against the cosine.
    """

    x: Float
    y: Float
    grid: Float
    truth: Float
    curves: dict[int, Float]
    sample_error: dict[int, float]
    true_error: dict[int, float]


def fit_polynomials(
    degrees: tuple[int, ...] = (1, 4, 15), samples: int = 20, noise: float = 0.2, seed: int = 0
) -> PolynomialFits:
    """Fit polynomials by least squares, which gives the best fit of each degree, to noisy samples of a cosine."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 2 * np.pi, samples))
    y = np.cos(x) + rng.normal(0, noise, samples)
    grid = np.linspace(x[0], x[-1], 500)
    truth = np.cos(grid)
    fits = {degree: Polynomial.fit(x, y, degree) for degree in degrees}
    curves = {degree: fit(grid) for degree, fit in fits.items()}
    return PolynomialFits(
        x=x,
        y=y,
        grid=grid,
        truth=truth,
        curves=curves,
        sample_error={degree: _rms(fit(x) - y) for degree, fit in fits.items()},
        true_error={degree: _rms(curve - truth) for degree, curve in curves.items()},
    )


@dataclass(frozen=True)
class DropoutPasses:
    """Outputs of a layer before and after Dropout, each (samples, units).

    Attributes:
        before: the outputs.
        dropped: the outputs with a random fraction ``rate`` set to zero.
        training: what Keras's Dropout returns in training: ``dropped`` multiplied by 1 / (1 - rate).
        prediction: what it returns in prediction.
    """

    before: Float
    dropped: Float
    training: Float
    prediction: Float


def drop_out(rate: float = 0.5, samples: int = 100, units: int = 100, seed: int = 0) -> DropoutPasses:
    """Apply ``keras.layers.Dropout(rate)`` to random positive outputs, in training and in prediction.

    Scaling keeps the mean of the outputs only on average, so there are thousands of them.
    """
    before = np.random.default_rng(seed).uniform(0.1, 1.0, (samples, units))
    layer = keras.layers.Dropout(rate, seed=seed, dtype="float64")
    training, prediction = (
        np.asarray(keras.ops.convert_to_numpy(layer(before, training=training))) for training in (True, False)
    )
    return DropoutPasses(before, np.where(training == 0, 0.0, before), training, prediction)


def fold_roles(parts: int, *kinds: int) -> NDArray[np.int64]:
    """Return the role of each part of the data in each round of scikit-learn's KFold, shape (parts, parts).

    Args:
        parts: number of parts of equal size, and of rounds.
        kinds: the role of the part that is held out, then of the part after it, and so on, cyclically; all other
            parts have the role 0, training.
    """
    roles = np.zeros((parts, parts), dtype=np.int64)
    for round_, (_, held_out) in enumerate(KFold(parts).split(np.arange(parts))):
        for shift, kind in enumerate(kinds):
            roles[round_, (held_out + shift) % parts] = kind
    return roles


def _rms(errors: Float) -> float:
    return float(np.sqrt(np.mean(errors**2)))
