"""The parts of a run's state: each is taken from one set of objects and put into another."""

from pathlib import Path
import random

from k3torch.errors import InputError
from k3torch.training import checkpoint_state as state
from k3torch.training.progress import History
import keras
import numpy as np
import pytest
import torch

WHERE = Path("file")


def model(units=3):
    inputs = keras.Input((2,))
    x = keras.layers.BatchNormalization()(keras.layers.Dense(units)(inputs))
    made = keras.Model(inputs, keras.layers.Dropout(0.5)(x))
    made.compile("adam", "mse")
    made.optimizer.build(made.trainable_variables)
    return made


def test_tensors_are_copied_into_a_model_with_other_names():
    first, second = model(), model()
    for number, variable in enumerate([*first.variables, *first.optimizer.variables]):
        variable.assign(keras.ops.ones_like(variable) * number)
    state.load_model_values(second, state.model_values(first), WHERE)

    for number, variable in enumerate([*second.variables, *second.optimizer.variables]):
        assert set(np.array(variable).ravel()) == {number}


def test_the_global_seed_generator_is_made_and_forgotten():
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    made = model()
    without = state.model_values(made)
    without["tensors"] = [tensor.clone() for tensor in without["tensors"]]
    drawn = np.array(keras.random.uniform((3,)))
    values = state.model_values(made)
    values["tensors"] = [tensor.clone() for tensor in values["tensors"]]
    after = np.array(keras.random.uniform((3,)))
    keras.utils.clear_session()
    state.load_model_values(made, values, WHERE)
    assert without["seed generator"] is False
    assert values["seed generator"] is True
    np.testing.assert_array_equal(np.array(keras.random.uniform((3,))), after)
    state.load_model_values(made, without, WHERE)
    assert state.model_values(made)["seed generator"] is False
    random.seed(1)
    assert drawn.shape == after.shape


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        (lambda: model(4), "variable 1 is (2, 3) float32 in the file and (2, 4) float32 here"),
        (lambda: keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]), None),
    ],
)
def test_another_model_is_refused_and_unchanged(other, difference):
    values, made = state.model_values(model()), other()
    before = [np.array(variable) for variable in made.variables]
    with pytest.raises(InputError, match=r"^expected the model of file, got another: .*; give its model$") as refused:
        state.load_model_values(made, values, WHERE)

    assert difference is None or difference in str(refused.value)
    for array, variable in zip(before, made.variables, strict=True):
        np.testing.assert_array_equal(np.array(variable), array)


class Dataset(torch.utils.data.Dataset):
    def __init__(self):
        self.numpy, self.python, self.more = np.random.default_rng(1), random.Random(2), [torch.Generator()]


def test_all_generators_are_set_to_their_states():
    def draw(loader):
        data = loader.dataset
        return [
            torch.rand(2).tolist(), np.random.rand(), random.random(), data.numpy.random(), data.python.random(),
            torch.rand(1, generator=data.more[0]).item(), torch.rand(1, generator=loader.generator).item(),
        ]  # fmt: skip

    first, second = (
        torch.utils.data.DataLoader(Dataset(), sampler=[1], generator=torch.Generator().manual_seed(seed))
        for seed in (1, 2)
    )
    draw(first)
    values = state.random_values([first, (np.zeros(3),), None])
    expected = draw(first)
    draw(second)
    state.set_random_values(values, [second, None])

    assert draw(second) == expected
    assert len(values["data"]) == state.generator_count([second]) == 4


class Counter(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.calls, self.text, self.sums, self.seen = 0, "a", np.zeros(2), []

    def call(self, x):
        return x


def test_what_changes_in_the_layers_of_the_user_is_stored():
    first, second = (keras.Sequential([keras.Input((2,)), Counter()]) for _ in range(2))
    python = state.PythonValues(first)
    assert python.values() == []
    layer, other = first.layers[0], second.layers[0]
    layer.calls, layer.sums[1] = 3, 5
    layer.seen.append(7)
    ((_, kind, changed),) = values = python.values()
    state.PythonValues(second).load(values)

    assert kind == "Counter"
    assert set(changed) == {"calls", "sums", "seen"}
    assert (other.calls, other.text, other.seen, other.sums.tolist()) == (3, "a", [7], [0, 5])


def test_attributes_are_filled_in_place():
    class Owner:
        def __init__(self):
            self.list, self.dict, self.set, self.number = [], {"x": 1}, {1}, 1
            self.array, self.tensor, self.other = np.zeros(2), torch.zeros(2), np.zeros(3)

    owner = Owner()
    before = dict(vars(owner))
    state.load_attributes(
        owner,
        {"list": [1], "dict": {"y": 2}, "set": {2}, "number": 4, "new": None,
         "array": np.ones(2), "tensor": torch.ones(2), "other": np.ones(2)},
    )  # fmt: skip

    for name in ("list", "dict", "set", "array", "tensor"):
        assert vars(owner)[name] is before[name]
    assert (owner.list, owner.dict, owner.set, owner.number, owner.new) == ([1], {"y": 2}, {2}, 4, None)
    assert (owner.array.tolist(), owner.tensor.tolist(), owner.other.tolist()) == ([1, 1], [1, 1], [1, 1])


def test_callbacks_keep_what_is_no_state():
    stopping = keras.callbacks.EarlyStopping("loss", min_delta=0.5)
    stopping.min_delta, stopping.wait, stopping.best = -0.5, 2, 0.25
    values = state.callback_values([stopping])
    fresh = keras.callbacks.EarlyStopping("loss", min_delta=0.5)
    state.load_callback_values([fresh], values)

    assert (fresh.wait, fresh.best, fresh.min_delta) == (2, 0.25, 0.5)


def test_times_of_this_process_are_not_stored():
    epochs = [{"epoch": 1, "loss": 0.5}]
    history = History(epochs)
    history.on_epoch_begin(1)
    ((attributes, _),) = state.callback_values([history])

    assert attributes == {"epochs": epochs}


def test_a_csv_file_is_cut_to_its_rows_at_the_checkpoint(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("epoch,loss\n0,1.0\n")
    values = state.callback_values([keras.callbacks.CSVLogger(path)])
    path.write_text(path.read_text() + "1,0.5\n")
    logger = keras.callbacks.CSVLogger(path)
    state.load_callback_values([logger], values)

    assert path.read_text() == "epoch,loss\n0,1.0\n"
    assert logger.append_header is False
