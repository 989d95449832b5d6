"""argument_problems: the message for each argument of a builder that cannot be used."""

import inspect

from k3torch.errors import InputError
from k3torch.models.arguments import MAX_WEIGHTS, argument_problems
from k3torch.models.builders import vanilla_model
import keras
import numpy as np
import pytest


class Odd:
    def __repr__(self):
        return "Odd()"


WHOLE = "{} as a whole number of 1 or more, got {}"
NAME = "{} as a name or an object, got {}"
RATE = "{} as a float32 number above 0, got {}"
ARGUMENTS = tuple(inspect.signature(vanilla_model).parameters)
ODD = [
    {"a": 1}, "fast", "", float("nan"), float("inf"), -1, -0.5, True, 10**400, Odd(), Odd, [None], b"relu", 1 + 2j,
    lambda: 1, keras.optimizers.schedules.CosineDecay,
]  # fmt: skip
USABLE = {("nesterov", 7)}  # by argument and place in ODD: true, with SGD


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("features", 10**12, f"features as a size of at most {MAX_WEIGHTS} weights in all, got 8000000000017"),
        ("features", None, WHOLE.format("features", None)),
        ("units", (10**12,), f"units as a size of at most {MAX_WEIGHTS} weights in all, got 6000000000001"),
        ("units", 8, "units as a list of widths, got 8"),
        ("units", np.array(8), "units as a list of widths, got array(8)"),
        ("units", "88", "units as a list of widths, got '88'"),
        ("units", (8.5, 3, 0, None), "units as whole numbers of 1 or more, got 8.5, 0, None"),
        ("units", range(1, 10**9), "units as a list of 1000 widths at most, got 999999999"),
        ("outputs", True, WHOLE.format("outputs", True)),
        ("outputs", 10**12, f"outputs as a size of at most {MAX_WEIGHTS} weights in all, got 9000000000099"),
        ("output_activation", {"a": 1}, NAME.format("output_activation", {"a": 1})),
        ("activation", {"a": 1}, NAME.format("activation", {"a": 1})),
        ("activation", "rleu", "activation as a known name, got 'rleu', did you mean 'relu'?"),
        ("activation", Odd, NAME.format("activation", Odd)),
        ("dropout", "0.5", "dropout as a fraction from 0 to, but not including, 1, got '0.5'"),
        ("dropout", True, "dropout as a fraction from 0 to, but not including, 1, got True"),
        ("kernel_initializer", 3, NAME.format("kernel_initializer", 3)),
        ("kernel_regularizer", 0.01, NAME.format("kernel_regularizer", 0.01)),
        ("bias_regularizer", {}, NAME.format("bias_regularizer", {})),
        ("activity_regularizer", Odd, NAME.format("activity_regularizer", Odd)),
        ("max_norm", "1", RATE.format("max_norm", "'1'")),
        ("max_norm", 0, RATE.format("max_norm", 0)),
        ("loss", None, NAME.format("loss", None)),
        ("loss", {"output": "mse"}, NAME.format("loss", {"output": "mse"})),
        ("metrics", "mae", "metrics as a list, got 'mae'"),
        ("metrics", [3, "mea"], "metrics as a name or an object, got 3; expected metrics as a known name, got 'mea', "
         "did you mean 'mse'?"),
        ("metrics", [None], NAME.format("metrics", None)),
        ("optimizer", None, NAME.format("optimizer", None)),
        ("learning_rate", "fast", RATE.format("learning_rate", "'fast'")),
        ("learning_rate", float("nan"), RATE.format("learning_rate", "nan")),
        ("momentum", 0.9, "momentum as an argument of the optimizer, got 'adam', which does not have it"),
        ("clipnorm", float("inf"), RATE.format("clipnorm", "inf")),
        ("clipvalue", False, RATE.format("clipvalue", False)),
        ("model_class", "sequential", "model_class as keras.Model or a subclass of it, got 'sequential'"),
        ("first_layer", None, "first_layer as keras.layers.Dense or a subclass of it, got None"),
        ("first_layer", keras.layers.Dropout, "first_layer as keras.layers.Dense or a subclass of it, got "
         f"{keras.layers.Dropout}"),
    ],
)  # fmt: skip
def test_an_argument_that_cannot_be_used_is_named(name, value, message):
    arguments = {"features": 4, name: value}
    if name == "outputs":
        arguments["units"] = (7, 8)
    with pytest.raises(InputError) as caught:
        vanilla_model(**({"units": (8,)} if name == "features" else {}) | arguments)
    assert str(caught.value) == f"expected {message}"


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("place", range(len(ODD)))
def test_odd_values_of_every_argument_are_refused_in_one_line(name, place):
    arguments = {"features": 4, "optimizer": "sgd", "momentum": 0.5, name: ODD[place]}
    if (name, place) in USABLE:
        assert vanilla_model(**arguments).optimizer.nesterov is True
        return
    with pytest.raises(InputError, match=r"^expected [^\n]*$") as caught:
        vanilla_model(**arguments)
    assert f"expected {name} as " in str(caught.value)


def test_arguments_that_are_not_given_have_no_problem():
    assert not any(argument_problems({}))
    assert not any(argument_problems({"units": np.array([4, 3]), "kernel_initializer": None, "max_norm": None}))
