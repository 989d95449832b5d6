"""known_names and name_problem: which names Keras accepts, and what is suggested for those it does not."""

from k3torch.models.names import known_names, name_problem
import keras
import numpy as np
import pytest

KINDS = ["activation", "initializer", "loss", "metric", "optimizer", "regularizer"]


@pytest.mark.parametrize(
    ("kind", "names", "never"),
    [
        ("activation", {"relu", "tanh", "softmax", "linear"}, "get"),
        ("loss", {"mse", "binary_crossentropy", "huber"}, "Loss"),
        ("metric", {"accuracy", "mae", "AUC"}, "PrecisionAtRecall"),
        ("optimizer", {"sgd", "rmsprop", "adam", "adagrad", "adadelta", "adamax", "nadam", "ftrl"}, "optimizer"),
    ],
)
def test_known_names_are_those_that_keras_can_make(kind, names, never):
    known = set(known_names(kind))
    assert names <= known
    assert never not in known
    assert all(name_problem(kind, name) is None for name in known)
    assert name_problem(kind, never) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_known_names_are_sorted_and_create_an_object_each(kind):
    known = known_names(kind)
    assert known == sorted(set(known))
    assert len(known) > 3
    create = getattr(keras, kind + ("es" if kind == "loss" else "s")).get
    resolved_by_compile = {"metric": {"accuracy", "acc"}, "loss": {"crossentropy", "ce"}}.get(kind, set())
    assert all(create(name) is not None for name in known if name not in resolved_by_compile)


@pytest.mark.parametrize("kind", KINDS)
def test_functions_and_base_classes_of_the_modules_are_no_names(kind):
    for name in ("get", "serialize", "deserialize", kind.capitalize()):
        assert name not in known_names(kind)
        assert name_problem(kind, name).startswith(f"{kind} as a known name, got {name!r}")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("loss", "mse"), ("metric", "acc"), ("metric", "mae"), ("initializer", "zero"), ("regularizer", "l1l2"),
     ("optimizer", "RMSprop"), ("optimizer", "SGD"), ("activation", "relu")],
)  # fmt: skip
def test_short_names_and_names_in_any_case_that_keras_accepts_are_known(kind, name):
    assert name_problem(kind, name) is None


@pytest.mark.parametrize(
    ("kind", "wrong", "right"),
    [
        ("activation", "rleu", "relu"),
        ("activation", "ReLU", "relu"),
        ("initializer", "glorot_unifrom", "glorot_uniform"),
        ("loss", "binary_crosentropy", "binary_crossentropy"),
        ("metric", "acuracy", "accuracy"),
        ("optimizer", "SDG", "sgd"),
        ("regularizer", "l1_l2", "l1l2"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(kind, wrong, right):
    assert name_problem(kind, wrong) == f"{kind} as a known name, got {wrong!r}, did you mean {right!r}?"


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_similar_to_none_gets_all_known_names_in_lower_case(kind):
    problem = name_problem(kind, "@@@@")
    listed = problem.removeprefix(f"{kind} as a known name, got '@@@@', known: ").split(" ")
    assert listed == [name for name in known_names(kind) if name.islower()]


def test_known_metrics_and_losses_can_be_compiled():
    for kind, argument in (("loss", "loss"), ("metric", "metrics")):
        for name in {"crossentropy", "ce", "mse"} if kind == "loss" else {"accuracy", "acc", "mse", "AUC"}:
            assert name_problem(kind, name) is None
            model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, activation="sigmoid")])
            model.compile(**{"loss": "mse", argument: name if kind == "loss" else [name]})
            model.train_on_batch(np.zeros((2, 1)), np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("metric", "Mean"), ("metric", "crossentropy"), ("activation", "threshold"), ("activation", "glu"),
     ("initializer", "stft"), ("loss", "accuracy")],
)  # fmt: skip
def test_names_of_what_no_dense_model_can_use_are_refused(kind, name):
    assert name_problem(kind, name).startswith(f"{kind} as a known name, got {name!r}")


def test_a_problem_names_the_argument():
    assert name_problem("initializer", "zeos", "kernel_initializer") == (
        "kernel_initializer as a known name, got 'zeos', did you mean 'zeros'?"
    )
    assert name_problem("initializer", 3, "kernel_initializer") == "kernel_initializer as a name or an object, got 3"


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        ("activation", keras.activations.relu),
        ("activation", None),
        ("loss", lambda y, p: 0),
        ("loss", keras.losses.Huber()),
        ("metric", keras.metrics.AUC()),
        ("initializer", keras.initializers.Zeros()),
        ("initializer", keras.initializers.Zeros),
        ("initializer", lambda shape, dtype: 0),
        ("activation", keras.layers.LeakyReLU()),
        ("regularizer", lambda weights: 0),
        ("regularizer", keras.regularizers.L1),
        ("metric", lambda y, p: 0),
        ("regularizer", keras.regularizers.serialize(keras.regularizers.L2(0.1))),
        ("optimizer", keras.optimizers.SGD()),
    ],
)
def test_objects_functions_and_configurations_are_accepted(kind, choice):
    assert name_problem(kind, choice) is None


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        ("regularizer", 0.01), ("loss", 3), ("optimizer", None), ("optimizer", keras.optimizers.SGD), ("metric", [1]),
        ("loss", None), ("metric", None), ("loss", {"output": "mse"}), ("activation", {"a": 1}), ("initializer", {}),
        ("activation", int), ("regularizer", int), ("metric", keras.metrics.PrecisionAtRecall),
        ("initializer", lambda: 0), ("loss", lambda y: 0), ("regularizer", keras.initializers.Zeros()),
        ("initializer", keras.layers.Dense(3)), ("metric", keras.metrics.Mean()), ("optimizer", lambda: 0),
        ("regularizer", keras.initializers.serialize(keras.initializers.Zeros())),
    ],
)  # fmt: skip
def test_other_objects_are_refused(kind, choice):
    assert name_problem(kind, choice) == f"{kind} as a name or an object, got {choice!r}"
