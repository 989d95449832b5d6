"""The trainings of a cross-validation: for each fold a new model, its scaled samples, and their orders."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from k3torch import runtime
from k3torch.data.bags import BagDataset
from k3torch.errors import InputError
from k3torch.stack.batch_loop import Samples
from k3torch.training.model_state import layers_of
from k3torch.validation.arguments import Array, Features, convert_sample_weight, convert_samples, training_weights
from k3torch.validation.bag_samples import AnySamples, BagSamples
from k3torch.validation.fold_scaling import FoldScaling, Normalize, check_can_normalize
from k3torch.validation.folds import Indices, Split
import keras
import numpy as np
from numpy.typing import NDArray
import scipy.sparse

Order = NDArray[np.int64]
EpochOrder = Callable[[int], Order]
Weights = NDArray[np.float32] | None


@dataclass(frozen=True)
class Data:
    """All samples.

    Attributes:
        x: (samples, ...); a sparse matrix is float32 CSR.
        y: (samples, outputs).
        weights: (samples,), for validation, or None if there are none for training either.
        training_weights: (samples,), multiplied with those of classes, or None.
    """

    x: Features
    y: Array
    weights: Weights
    training_weights: Weights

    @classmethod
    def of(cls, x: Any, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None) -> "Data":
        """Return the samples as arrays, from what ``cross_validate`` and ``search`` get.

        Raises:
            InputError: for samples, targets or weights that cannot be used.
        """
        inputs, targets = convert_samples(x, y)
        weights = None if sample_weight is None else convert_sample_weight(sample_weight, len(targets))
        of_training = training_weights(targets, weights, class_weight)
        if weights is None and of_training is not None:  # the steps of a stack have weights in both parts or in none
            weights = np.ones(len(targets), "float32")
        return cls(inputs, targets, weights, of_training)


@dataclass(frozen=True)
class Fold:
    """What models are trained on in one fold of one repeat; models of a search share it.

    Attributes:
        key: seed, repeat and fold, from which initial weights and orders follow.
        split: the numbers of the training and of the validation samples.
        scaling: of these samples.
        training: scaled.
        validation: scaled.
        order: from epoch to the order of the training samples.
    """

    key: tuple[int, ...]
    split: Split
    scaling: FoldScaling
    training: AnySamples
    validation: AnySamples
    order: EpochOrder


@dataclass(frozen=True)
class Job:
    """One model to train, its samples, and their order in each epoch.

    Attributes:
        model: compiled; it takes scaled samples.
        split: the numbers of the training and of the validation samples.
        scaling: of these samples.
        training: scaled.
        validation: scaled.
        order: from epoch to the order of the training samples, so that both engines use the same orders.
        units: factors of the metrics, (metrics,), from those of scaled targets to the unit of y; None for 1.
    """

    model: keras.Model
    split: Split
    scaling: FoldScaling
    training: AnySamples
    validation: AnySamples
    order: EpochOrder
    units: NDArray[np.float64] | None = None

    def in_units(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values of the metrics, (..., metrics), in the unit of y."""
        return values if self.units is None else values * self.units

    def whole_model(self) -> keras.Model:
        """Return the model with the scaling as layers."""
        return self.scaling.whole_model(self.model)


def make_jobs(
    build_model: Callable[[], keras.Model],
    data: Data,
    splits: Sequence[Sequence[Split]],
    *,
    normalize: Normalize | None,
    normalize_y: bool,
    shuffle: bool,
    seed: int,
) -> list[Job]:
    """Return a job for each repeat and fold, in this order; initial weights and orders follow from the seed.

    Raises:
        InputError: if ``build_model`` returns anything else than a new compiled model, or one that cannot be scaled.
    """
    folds = scaled_folds(data, splits, normalize=normalize, normalize_y=normalize_y, shuffle=shuffle, seed=seed)
    return jobs_of(build_model, data, folds, normalized=normalize is not None)


def scaled_folds(
    data: Data,
    splits: Sequence[Sequence[Split | None]],
    *,
    normalize: Normalize | None,
    normalize_y: bool,
    shuffle: bool,
    seed: int,
) -> list[Fold]:
    """Return each fold of each repeat with its scaled samples; those that are None are left out.

    Raises:
        InputError: if float32 cannot hold the samples, as ``FoldScaling.fit``.
    """
    made = []
    for repeat, folds in enumerate(splits):
        for number, split in enumerate(folds):
            if split is None:
                continue
            scaling = FoldScaling.fit(data.x, data.y, split[0], normalize, normalize_y)
            x, y = scaling.transform_features(data.x), scaling.transform_targets(data.y)
            samples = _bag_samples if scipy.sparse.issparse(x) else _samples
            training = samples(x, y, data.training_weights, split[0])
            validation = samples(x, y, data.weights, split[1])
            key = (seed, repeat, number)
            made.append(Fold(key, split, scaling, training, validation, _order(len(training), shuffle, key)))
    return made


@runtime.garbage_collection_paused()
def jobs_of(
    build_model: Callable[[], keras.Model], data: Data, folds: Sequence[Fold], *, normalized: bool
) -> list[Job]:
    """Return a job for each fold, with a new model; its initial weights follow from the fold's key.

    Raises:
        InputError: as ``make_jobs``.
    """
    jobs: list[Job] = []
    held: set[int] = set()
    for fold in folds:
        keras.utils.set_random_seed(int(np.random.SeedSequence(fold.key).generate_state(1)[0]))
        model = _new_model(build_model, data.x, held)
        if normalized:
            check_can_normalize(model)
        jobs.append(Job(model, fold.split, fold.scaling, fold.training, fold.validation, fold.order))
    return jobs


def _samples(x: NDArray[np.float32], y: Array, weights: Weights, chosen: Indices) -> Samples:
    return Samples(x[chosen], y[chosen], None if weights is None else weights[chosen])


def _bag_samples(x: Any, y: Array, weights: Weights, chosen: Indices) -> BagSamples:
    return BagSamples(BagDataset(x, y, weights), chosen)


def _order(samples: int, shuffle: bool, key: tuple[int, ...]) -> EpochOrder:
    if not shuffle:
        return lambda _: np.arange(samples)
    return lambda epoch: np.random.default_rng([*key, epoch]).permutation(samples)


def _new_model(build_model: Callable[[], keras.Model], x: Features, held: set[int]) -> keras.Model:
    """Return a new model; ``held``, the ids of the optimizers and layers of earlier ones, gets those of this one."""
    model = build_model()
    if not isinstance(model, keras.Model) or not model.compiled:
        raise InputError(f"expected build_model() to return a compiled Keras model, got {model!r}: call compile in it")
    if model.optimizer is None:
        raise InputError("expected build_model() to return a model with an optimizer, got none: pass one to compile")
    if {id(model), id(model.optimizer)} & held:
        raise InputError(
            "expected build_model() to return a new model with a new optimizer, got one of an earlier call: create "
            "both in build_model"
        )
    layers = layers_of(model)
    if shared := next((part.name for part in layers if id(part) in held), None):
        raise InputError(
            f"expected build_model() to return a model with new layers, got layer {shared!r} of an earlier call, "
            "whose training it would continue: create the layers in build_model"
        )
    if isinstance(model, keras.Sequential) and not model.built:  # without an Input layer it needs the shape of x
        model.build((None, *x.shape[1:]))
        layers = layers_of(model)
    held.update({id(model.optimizer), *map(id, layers)})
    return model
