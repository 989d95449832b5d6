"""What two runs are compared by, and which data can be resumed."""

from pathlib import Path

from k3torch.data.loaders import array_loader
from k3torch.errors import InputError
from k3torch.training.checkpoint_run import check_data, check_settings, model_settings, settings_of_run
import keras
from keras import optimizers
import numpy as np
import pytest
import torch

X, Y = np.zeros((20, 3), "float32"), np.zeros((20, 1), "float32")


def model(optimizer="sgd", loss="mse"):
    inputs = keras.Input((3,))
    made = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    made.compile(optimizer, loss)
    return made


def changed(before, after):
    return {name for name in before | after if before.get(name) != after.get(name)}


BASE = settings_of_run(model(), {"x": X, "y": Y})


def test_the_settings_of_a_run():
    loader = array_loader(X, Y, batch_size=8, shuffle=True)
    found = settings_of_run(
        model(),
        {"x": loader, "validation_data": (X[:5], Y[:5]), "class_weight": {1: 2.0, 0: 1.0}, "initial_epoch": 2},
        [keras.callbacks.TerminateOnNaN()],
    )

    assert found["number of processes"] == 1
    assert found["optimizer"] == "SGD"
    assert found["optimizer.momentum"] == 0.0
    assert (found["loss"], found["layers"], found["x"]) == ("mse", "InputLayer, Dense", "a DataLoader")
    assert (found["number of samples"], found["batch_size"], found["shuffle"]) == (20, 8, "RandomSampler")
    assert (found["number of validation samples"], found["validation batch size"]) == (5, 32)
    assert (found["callbacks"], found["random generators of the data"]) == ("TerminateOnNaN", 1)
    assert (found["class_weight"], found["initial_epoch"]) == ("[(0, 1.0), (1, 2.0)]", 2)


CHANGES = {
    "batch size": ({"batch_size": 8}, {"batch_size"}),
    "samples": ({"x": X[:7]}, {"number of samples"}),
    "shuffle": ({"shuffle": False}, {"shuffle"}),
    "split": ({"validation_split": 0.2}, {"validation_split", "validation batch size"}),
    "dict of arrays": ({"x": {"a": X, "b": X}}, set()),
    "default": ({"batch_size": 32, "shuffle": True, "initial_epoch": 0}, set()),
    "epochs and display": ({"epochs": 9, "verbose": 2}, set()),
    "sample weights": ({"sample_weight": Y[:, 0]}, {"sample_weight"}),
    "validation": ({"validation_data": (X, Y)}, {"number of validation samples", "validation batch size"}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_arguments_that_change_a_run_are_found(name):
    arguments, names = CHANGES[name]

    assert changed(BASE, settings_of_run(model(), {"x": X, "y": Y, **arguments})) == names


def schedule(rate):
    return optimizers.schedules.ExponentialDecay(rate, 3, 0.5)


def scaled(rate, momentum=0.0):
    return optimizers.LossScaleOptimizer(optimizers.SGD(rate, momentum=momentum))


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (optimizers.SGD(0.1), optimizers.SGD(0.2, name="other"), set()),  # callbacks change the learning rate
        (optimizers.SGD(0.1), optimizers.SGD(0.1, momentum=0.5), {"optimizer.momentum"}),
        (optimizers.SGD(schedule(0.1)), optimizers.SGD(schedule(0.1)), set()),
        (optimizers.SGD(schedule(0.1)), optimizers.SGD(schedule(0.2)), {"optimizer.learning_rate"}),
        (optimizers.SGD(schedule(0.1)), optimizers.SGD(0.1), {"optimizer.learning_rate"}),
        (scaled(0.1), scaled(0.2), set()),
        (scaled(0.1), scaled(0.1, 0.9), {"optimizer.inner_optimizer"}),
    ],
)
def test_settings_of_the_optimizer_that_change_a_run_are_found(first, second, names):
    before, after = (settings_of_run(model(each), {"x": X}) for each in (first, second))

    assert changed(before, after) == names


def test_another_loss_is_found():
    def own(y, y_pred):
        return (y - y_pred) ** 2

    found = [settings_of_run(model(loss=loss), {"x": X})["loss"] for loss in (own, keras.losses.Huber(), ["mse"])]
    assert found == ["own", "Huber", ["mse"]]


L = keras.layers


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (L.Dense(2, "relu", name="a"), L.Dense(2, "relu", name="b"), set()),
        (L.Dense(2, "relu"), L.Dense(2, "tanh"), {"layer 1.activation"}),
        (L.Dropout(0.2), L.Dropout(0.3), {"layer 1.rate"}),
        (L.Dense(2, dtype="mixed_bfloat16"), L.Dense(2), {"layer 1.dtype"}),
        (L.Dense(2, kernel_regularizer="l1"), L.Dense(2, kernel_regularizer="l2"), {"layer 1.kernel_regularizer"}),
        (L.Lambda(lambda x: x + 1), L.Lambda(lambda x: x + 1), set()),
        (L.Discretization([0.1 * i for i in range(99)]), L.Discretization([0.2] * 99), {"layer 1.bin_boundaries"}),
        (L.TimeDistributed(L.Dense(2)), L.TimeDistributed(L.Dense(2, use_bias=False)), {"layer 1.layer"}),
        (keras.Sequential([L.Dropout(0.2)]), keras.Sequential([L.Dropout(0.3)]), {"layer 1, layer 1.rate"}),
    ],
)
def test_settings_of_layers_that_change_a_run_are_found(first, second, names):
    found = []
    for layer in (first, second):
        made = keras.Sequential([layer, L.Dense(1)])
        made.compile("sgd", "mse")
        found.append(model_settings(made))
    assert changed(*found) == names
    assert max(len(str(value)) for settings in found for value in settings.values()) < 400


def test_other_metrics_and_settings_of_a_loss_are_found():
    found = []
    for smooth, metrics in ((0.1, ["mae"]), (0.2, [keras.metrics.AUC(name="auc_1")]), (0.2, [keras.metrics.AUC()])):
        made = keras.Sequential([L.Dense(1)])
        made.compile("sgd", keras.losses.BinaryCrossentropy(label_smoothing=smooth), metrics=metrics)
        found.append(model_settings(made))
    assert changed(*found[:2]) == {"loss.label_smoothing", "metrics"}
    assert changed(*found[1:]) == set()


def test_lambdas_are_equal_wherever_they_are_in_a_file_and_give_no_warning(recwarn):
    made = keras.Sequential([L.Dense(1)])
    made.compile("sgd", lambda y, z: (y - z) ** 2, metrics=[lambda y, z: abs(y - z)])
    found = model_settings(made)
    assert (found["loss"], found["metrics"]) == ("<lambda>", ["<lambda>"])
    assert not any("lambda" in str(warning.message) for warning in recwarn)


def test_settings_that_differ_are_named():
    check_settings(BASE, dict(BASE), Path("file"))
    with pytest.raises(InputError) as refused:
        check_settings(BASE, {**BASE, "batch_size": 4, "shuffle": False}, Path("file"))

    assert str(refused.value) == (
        "expected batch_size 32, shuffle True, as in file, got batch_size 4, shuffle False: give the same, or another "
        "folder"
    )


@pytest.mark.parametrize("x", [X, torch.zeros(3, 1), [X, X], {"a": X}, array_loader(X, batch_size=2), np.zeros((0, 2))])
def test_arrays_and_loaders_can_be_resumed(x):
    check_data({"x": x})


def test_all_that_cannot_be_resumed_is_named_at_once():
    data = torch.utils.data.DataLoader(torch.zeros(3, 1), num_workers=1, persistent_workers=True)
    callbacks = keras.callbacks.CallbackList([])
    with pytest.raises(InputError) as refused:
        check_data({"x": data, "steps_per_epoch": 2, "callbacks": callbacks})
    assert str(refused.value) == (
        "expected a DataLoader with persistent_workers=False for a checkpoint, got True; expected steps_per_epoch=None "
        "for a checkpoint, got 2: let x be one epoch; expected callbacks as a list for a checkpoint, got a CallbackList"
    )
    for x, name in ((iter([]), "list_iterator"), (None, "NoneType"), (keras.utils.PyDataset(), "PyDataset")):
        with pytest.raises(InputError, match=f"^expected x as arrays or a DataLoader for a checkpoint, got {name}: "):
            check_data({"x": x})
