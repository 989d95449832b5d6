"""Scaling of the samples of one fold, and the models that have it as layers."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from k3torch.data.scaling import Standardizer
from k3torch.errors import InputError, refuse, unless
from k3torch.training.model_state import layers_of
from k3torch.training.scaling_layers import normalization_layer, with_scaling_layers
from k3torch.validation.arguments import Array, Features
from k3torch.validation.folds import Indices
import keras
import numpy as np
import scipy.sparse

Normalize = Literal["fold", "train"]

SMALLEST_STD, LARGEST_STD = 1e-6, 1e18  # Keras's Normalization divides by 1e-7 or more, and holds variances in float32
LOST_TARGET = 1e-3  # what rounding may change of a predicted target, in standard deviations

# Where float32 changes a scaled feature by more than this, in standard deviations, training uses what models will see.
_VISIBLE = 1e-4


@dataclass(frozen=True)
class FoldScaling:
    """Statistics of the features and targets of a fold's training samples; None for what is not scaled."""

    features: Standardizer | None
    targets: Standardizer | None

    @classmethod
    def fit(cls, x: Features, y: Array, training: Indices, normalize: Normalize | None, normalize_y: bool) -> Self:
        """Return the scaling of a fold.

        Args:
            x: (samples, ...); sparse only without ``normalize``.
            y: (samples, outputs).
            training: the training samples of the fold.
            normalize: "fold" uses the features of the training samples, "train" those of all samples; None does not
                scale them.
            normalize_y: whether to scale the targets, by the training samples.

        Raises:
            InputError: for units in which float32 cannot hold the features, or the targets beside their mean, and for
                ``normalize`` with a sparse matrix.
        """
        if normalize is not None and scipy.sparse.issparse(x):
            raise InputError(
                f"expected normalize=None for a sparse x, got {normalize!r}, which subtracts means and so makes it "
                "dense: scale its columns before"
            )
        scaling = cls(
            None if normalize is None else Standardizer.fit(x[training] if normalize == "fold" else x),
            Standardizer.fit(y[training]) if normalize_y else None,
        )
        scaling._check()
        return scaling

    def _check(self) -> None:
        """Refuse units in which the layers of the returned model, which compute in float32, would lose the numbers."""
        if self.features is not None:
            std = self.features.std
            lost = np.argwhere((std < SMALLEST_STD) | (std > LARGEST_STD))
            refuse(
                f"features with deviations from {SMALLEST_STD:g} to {LARGEST_STD:g} with normalize, got "
                f"{std[tuple(place)]:.3g} of feature {', '.join(map(str, place))}: change its unit"
                for place in lost[:1]
            )
        if self.targets is not None:
            mean, deviation = float(self.targets.mean[0]), float(self.targets.std[0])
            fits = abs(mean) * float(np.finfo(np.float32).eps) <= LOST_TARGET * deviation and deviation <= LARGEST_STD
            refuse(
                [
                    unless(
                        fits,
                        f"targets whose spread float32 can show next to their mean with normalize_y=True, got "
                        f"a mean of {mean:.6g} and a deviation of {deviation:.3g}: subtract a constant from y",
                    )
                ]
            )

    def transform_features(self, x: Features) -> Any:
        """Return all features as the layers after the normalization see them: float32, of the shape of ``x``."""
        if self.features is None:
            return x.astype("float32", copy=False)
        scaled = self.features.transform(x).astype("float32")
        seen = keras.ops.convert_to_numpy(normalization_layer(self.features)(x.astype("float32")))
        # Far from 0 float32 cannot tell close numbers apart: the seconds since 1970, for example.
        return scaled if np.allclose(scaled, seen, rtol=0, atol=_VISIBLE) else np.asarray(seen, dtype="float32")

    def transform_targets(self, y: Array) -> Array:
        """Return all targets as the last layer of the trained model predicts them, of the shape of ``y``."""
        scaled = y if self.targets is None else self.targets.transform(y)
        return scaled.astype("float32") if scaled.dtype.kind == "f" else scaled

    def whole_model(self, model: keras.Model) -> keras.Model:
        """Return a trained model with the scaling as its first and last layer."""
        return with_scaling_layers(model, features=self.features, targets=self.targets)


def check_can_normalize(model: keras.Model) -> None:
    """Check that the features of a model are quantities.

    Raises:
        InputError: for a model of ids, and for one that normalizes by itself.
    """
    found = {type(layer).__name__: layer.name for layer in layers_of(model)}
    if name := found.get("Embedding"):
        raise InputError(f"expected normalize=None for a model of ids, got the Embedding {name!r}: leave normalize out")
    if name := found.get("Normalization"):
        raise InputError(
            f"expected normalize=None for a model with a Normalization layer of its own, got {name!r}: leave one out"
        )
    dtypes = [tensor.dtype for tensor in getattr(model, "inputs", None) or ()]
    if any("int" in dtype for dtype in dtypes):
        raise InputError(f"expected normalize=None for inputs of whole numbers, got {dtypes[0]}: leave normalize out")
