"""known_names and name_problem: which names Keras accepts, and what is suggested for those it does not."""

from k3torch.models.names import known_names, name_problem
import keras
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
    resolved_by_compile = {"accuracy", "acc", "crossentropy", "ce"} if kind == "metric" else set()
    assert all(create(name) is not None for name in known if name not in resolved_by_compile)


@pytest.mark.parametrize("kind", KINDS)
def test_functions_and_base_classes_of_the_modules_are_no_names(kind):
    for name in ("get", "serialize", "deserialize", kind.capitalize()):
        assert name not in known_names(kind)
        assert name_problem(kind, name).startswith(f"a known {kind}, got {name!r}")


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
    assert name_problem(kind, wrong) == f"a known {kind}, got {wrong!r}, did you mean {right!r}?"


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_similar_to_none_gets_all_known_names_in_lower_case(kind):
    problem = name_problem(kind, "@@@@")
    listed = problem.removeprefix(f"a known {kind}, got '@@@@', known: ").split(" ")
    assert listed == [name for name in known_names(kind) if name.islower()]


@pytest.mark.parametrize(
    ("kind", "choice"),
    [
        ("activation", keras.activations.relu),
        ("activation", None),
        ("loss", lambda y, p: 0),
        ("loss", keras.losses.Huber()),
        ("metric", keras.metrics.AUC()),
        ("initializer", keras.initializers.Zeros()),
        ("regularizer", keras.regularizers.serialize(keras.regularizers.L2(0.1))),
        ("optimizer", keras.optimizers.SGD()),
    ],
)
def test_objects_functions_and_configurations_are_accepted(kind, choice):
    assert name_problem(kind, choice) is None


@pytest.mark.parametrize(
    ("kind", "choice"),
    [("regularizer", 0.01), ("loss", 3), ("optimizer", None), ("optimizer", keras.optimizers.SGD), ("metric", [1])],
)
def test_other_objects_are_refused(kind, choice):
    assert name_problem(kind, choice) == f"{kind} as a name or an object, got {choice!r}"
