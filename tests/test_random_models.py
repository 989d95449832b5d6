"""The fast paths on random models: equal to Keras, or one line that says that Keras's own step is used.

``pytest tests/test_random_models.py --random-models 500`` draws as many.
"""

import contextlib
import io
import warnings

from k3torch import cross_validate
from k3torch.data.loaders import array_loader
from k3torch.errors import InputError
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
from tests import random_models
import torch

TOLERANCE = {"rtol": 2e-3, "atol": 2e-4}  # after two epochs, in which rounding errors grow


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("--random-models")))


def outcome(function):
    """Return what ``function`` returns, or the kind of error that it raises."""
    try:
        return function()
    except (ValueError, RuntimeError, TypeError, KeyError, AttributeError, IndexError) as error:
        return type(error)


def fitted(case, model_class, noise=0.0):
    model = case.build(model_class)
    for weight in model.trainable_variables:
        weight.assign(weight * (1 + noise))
    arrays = [case.x, case.y] + ([] if case.sample_weight is None else [case.sample_weight])
    loader = array_loader(*arrays, batch_size=case.batch_size, shuffle=True, seed=1)
    if case.y.dtype.kind == "i":
        loader.dataset.tensors = (loader.dataset.tensors[0], torch.from_numpy(case.y), *loader.dataset.tensors[2:])
    keras.utils.set_random_seed(7)
    history = model.fit(loader, epochs=2, validation_data=loader, shuffle=False, verbose=0).history
    return history, model.get_weights()


def test_fast_model_equals_keras(seed):
    case = random_models.draw(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, found = (outcome(lambda c=c: fitted(case, c)) for c in (keras.Model, FastModel))
    if isinstance(expected, type):
        assert found is expected, case.parts
        return
    assert not isinstance(found, type), (found, case.parts)
    expected, found = named(*expected), named(*found)
    assert list(expected) == list(found)
    if failures := different(expected, found, expected):
        # Perhaps rounding alone: an optimizer may turn the noise of a gradient that should be zero into full steps.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            near = named(*fitted(case, keras.Model, noise=1e-6))
        assert not different(expected, found, near), (failures, case.parts)


def named(history, weights):
    return {**{k: np.asarray(v) for k, v in history.items()}, **{f"weight {i}": w for i, w in enumerate(weights)}}


def different(expected, found, near):
    """Return the names of what differs, also by more than ten times what noise in the first weights makes of it."""
    names = []
    for name, a in expected.items():
        b, c = found[name], near[name]
        allowed = TOLERANCE["atol"] + TOLERANCE["rtol"] * np.abs(a) + 10 * np.nanmax(np.abs(c - a), initial=0)
        if not ((np.abs(a - b) <= allowed) | (np.isnan(a) & np.isnan(b))).all():
            names.append(name)
    return names


def validated(case, engine, noise=0.0):
    def build():
        model = case.build()
        for weight in model.trainable_variables:
            weight.assign(weight * (1 + noise))
        return model

    fold = len(case.x) // 3
    rows = np.arange(len(case.x))
    folds = [(rows[fold:], rows[:fold]), (rows[: -fold - 1], rows[-fold - 1 :])]  # of unequal sizes
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        result = cross_validate(
            build,
            case.x,
            case.y,
            folds=folds,
            epochs=2,
            batch_size=case.batch_size,
            sample_weight=case.sample_weight,
            normalize=None,
            engine=engine,
        )
    return result, said.getvalue()


def test_the_stacked_engine_equals_fit(seed):
    case = random_models.draw(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, found = (outcome(lambda e=e: validated(case, e)) for e in ("fit", "auto"))
    if isinstance(expected, type):
        assert found is expected or found is InputError, (found, case.parts)
        return
    assert not isinstance(found, type), (found, case.parts)
    (expected, _), (found, said) = expected, found
    if found.engine == "fit":
        assert said.count("\n") == 1, said
        assert said.startswith("training with fit"), said
    if case.is_random and found.engine == "stacked":  # its masks are its own: compared by distribution elsewhere
        assert all(np.isfinite(values).all() for values in found.history.values())
        return
    engine, (expected, found) = found.engine, (named(r.history, weights_of(r)) for r in (expected, found))
    if failures := different(expected, found, expected):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            near, _ = validated(case, "fit", noise=1e-6)
        assert not different(expected, found, named(near.history, weights_of(near))), (failures, case.parts, engine)


def weights_of(result):
    return [weight for model in result.models for weight in model.get_weights()]


def test_the_draws_cover_every_part():
    drawn = " ".join(part for seed in range(300) for part in random_models.draw(seed).parts)
    layers = "Dense Dropout BatchNormalization LayerNormalization Embedding Conv1D Masking PReLU GRU Scale Alternates"
    others = "NumpyNoise TorchLinear l1l2 max-norm activity AUC rmse sum clipnorm Nadam use_ema sample_weight"
    for name in f"{layers} {others}".split():
        assert name in drawn, name
