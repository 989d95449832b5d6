from k3torch import InputError
from k3torch.stack import stateless
from k3torch.validation.metric_units import greater_is_better, unit_powers
import keras
import numpy as np
import pytest


def rmse(y, y_pred):
    return keras.ops.sqrt(keras.ops.mean(keras.ops.square(y - y_pred)))


def model_with(*metrics, weighted=None):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=list(metrics), weighted_metrics=weighted)
    stateless.build(model, np.zeros((2, 1), "float32"), np.zeros((2, 1), "float32"))
    return model


@pytest.mark.parametrize(
    ("metric", "power"),
    [("mae", 1), ("mse", 2), (rmse, 1), (keras.metrics.RootMeanSquaredError(), 1), (keras.metrics.R2Score(), 0),
     (keras.losses.mean_squared_error, 2)],
)  # fmt: skip
def test_the_power_of_the_unit_is_measured(metric, power):
    model = model_with(metric)
    assert unit_powers(model, stateless.metric_names(model)) == [0, power]


def test_measuring_leaves_the_sums_of_the_metrics_at_zero():
    model = model_with("mae")
    unit_powers(model, ["loss", "mae"])
    assert [float(v.value.sum()) for v in model.metrics_variables] == [0] * len(model.metrics_variables)


def test_weighted_metrics_are_among_them():
    model = model_with("mae", weighted=["mse"])
    assert unit_powers(model, stateless.metric_names(model)) == [0, 1, 2]


@pytest.mark.parametrize("metric", ["mape", "msle", keras.losses.Huber(), "accuracy"])
def test_a_metric_that_no_factor_converts_is_refused(metric):
    model = model_with("mae", metric)
    names = stateless.metric_names(model)
    with pytest.raises(InputError, match=rf"normalize_y=True, got {names[2]}: leave it out"):
        unit_powers(model, names)


@pytest.mark.parametrize(
    ("metric", "expected"), [("mae", False), ("accuracy", True), (keras.metrics.AUC(), True), (rmse, None)]
)
def test_keras_says_whether_a_higher_value_is_better(metric, expected):
    model = model_with(metric)
    assert greater_is_better(model, stateless.metric_names(model)[1]) is expected
    assert greater_is_better(model, "loss") is False


def test_a_metric_that_belongs_to_a_layer_is_refused():
    model = model_with("mae")
    with pytest.raises(InputError, match="got other: leave it out"):
        unit_powers(model, ["loss", "mae", "other"])
