from k3torch import InputError
from k3torch.validation.folds import make_repeats
from k3torch.validation.jobs import Data, make_jobs
import keras
import numpy as np
import pytest

X, Y = np.arange(8.0)[:, None], np.arange(8.0)[:, None] * 10


def build():
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def jobs(weights=None, training_weights=None, build_model=build, **settings):
    splits = make_repeats(2, X, Y, repeats=2, seed=3)
    settings = {"normalize": None, "normalize_y": False, "shuffle": True, "seed": 3, **settings}
    return make_jobs(build_model, Data(X, Y, weights, training_weights), splits, **settings)


def test_a_job_has_the_samples_of_its_fold_and_the_weights_of_each_part():
    weights, training_weights = (np.arange(8, dtype="float32") + start for start in (0, 100))
    made = jobs(weights, training_weights)
    assert len(made) == 4
    for job in made:
        training, validation = job.split
        np.testing.assert_array_equal(job.training.x[:, 0], training)
        np.testing.assert_array_equal(job.validation.y[:, 0], validation * 10)
        np.testing.assert_array_equal(job.training.sample_weight, training + 100)
        np.testing.assert_array_equal(job.validation.sample_weight, validation)


def test_orders_and_weights_follow_the_seed():
    first, again, other = jobs(), jobs(), jobs(seed=4)
    orders = [[job.order(epoch).tolist() for job in made for epoch in range(3)] for made in (first, again, other)]
    assert orders[0] == orders[1] != orders[2]
    assert len(set(map(tuple, orders[0]))) > 6
    kernels = [np.ravel([job.model.get_weights()[0] for job in made]).tolist() for made in (first, again, other)]
    assert kernels[0] == kernels[1] != kernels[2]
    assert len(set(kernels[0])) == 4
    assert all(job.order(1).tolist() == [0, 1, 2, 3] for job in jobs(shuffle=False))


def test_values_get_the_factors_of_the_units():
    from dataclasses import replace

    job = jobs()[0]
    assert job.in_units(np.array([1.0, 2.0])).tolist() == [1, 2]
    assert replace(job, units=np.array([1.0, 30.0])).in_units(np.array([[1.0, 2.0]])).tolist() == [[1, 60]]


def test_a_model_that_cannot_be_normalized_is_refused_only_if_it_would_be():
    def normalized():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Normalization(), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    assert len(jobs(build_model=normalized)) == 4
    with pytest.raises(InputError, match="expected normalize=None"):
        jobs(build_model=normalized, normalize="fold")


def test_a_layer_of_any_earlier_model_is_refused():
    held = []

    def shares_a_layer():
        layer = held[0] if len(held) == 3 else keras.layers.Dense(1, name=f"own_{len(held)}")
        held.append(layer)
        model = keras.Sequential([keras.Input((1,)), layer])
        model.compile("sgd", "mse")
        return model

    with pytest.raises(InputError, match="got layer 'own_0' of an earlier call"):
        jobs(build_model=shares_a_layer)


def test_an_optimizer_of_an_earlier_model_is_refused():
    optimizer = keras.optimizers.SGD()

    def shares_an_optimizer():
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(optimizer, "mse")
        return model

    with pytest.raises(InputError, match="got one of an earlier call"):
        jobs(build_model=shares_an_optimizer)


def test_a_sequential_without_an_input_is_built_and_its_layers_are_known():
    def late():
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    assert [job.model.built for job in jobs(build_model=late)] == [True] * 4


def test_class_weights_give_the_validation_samples_weights_of_one():
    classes = np.array([0, 1, 1])
    data = Data.of(X[:3], classes, None, {1: 3.0})
    assert (data.weights.tolist(), data.training_weights.tolist()) == ([1, 1, 1], [1, 3, 3])
    assert data.weights.dtype == np.float32
    weighted = Data.of(X[:3], classes, [1, 2, 3], {1: 3.0})
    assert (weighted.weights.tolist(), weighted.training_weights.tolist()) == ([1, 2, 3], [1, 6, 9])
    assert Data.of(X[:3], classes, None, None).weights is None
