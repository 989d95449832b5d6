"""The inputs that fit accepts, with equal results; and a Keras model as a torch.nn.Module."""

from k3torch.models.builders import boston_regressor, imdb_classifier
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import pandas
import pytest
from tests import forked
import torch
from torch.utils.data import DataLoader, TensorDataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 13)).astype("float32")
Y = RNG.normal(size=(40, 1)).astype("float32")
BATCH = 16  # 40 samples: the last batch is smaller


def _numpy_arrays():
    return X, Y


def _pandas_frames():
    return pandas.DataFrame(X), pandas.DataFrame(Y)


def _pandas_series():
    return pandas.DataFrame(X, columns=[f"x{i}" for i in range(13)]), pandas.Series(Y[:, 0])


def _torch_tensors():
    return torch.from_numpy(X), torch.from_numpy(Y)


def _data_loader():
    return (DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=BATCH),)


def _tf_data():
    tensorflow = pytest.importorskip("tensorflow")
    return (tensorflow.data.Dataset.from_tensor_slices((X, Y)).batch(BATCH),)


def _py_dataset():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return X[BATCH * i : BATCH * (i + 1)], Y[BATCH * i : BATCH * (i + 1)]

    return (Batches(),)


def _generator():
    def batches():
        while True:
            for start in range(0, 40, BATCH):
                yield X[start : start + BATCH], Y[start : start + BATCH]

    return (batches(),)


def _model(**options):
    keras.utils.set_random_seed(0)
    return boston_regressor(units=(8,), **options)


def _fit(data):
    model = _model()
    batches = {"batch_size": BATCH} if len(data) == 2 else {"steps_per_epoch": 3}
    history = model.fit(*data, epochs=3, shuffle=False, verbose=0, **batches).history
    return history, model.get_weights()


@pytest.mark.parametrize(
    "source", [_pandas_frames, _pandas_series, _torch_tensors, _data_loader, _py_dataset, _generator, _tf_data]
)
def test_fit_gives_the_same_result_as_with_numpy_arrays(source):
    expected_history, expected_weights = _fit(_numpy_arrays())
    history, weights = _fit(source())
    assert set(history) == {"loss", "mae"}
    for name, values in history.items():
        np.testing.assert_allclose(values, expected_history[name], rtol=1e-5)
    for one, other in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_a_model_is_a_torch_module():
    model = _model()
    assert isinstance(model, torch.nn.Module)
    parameters = list(model.parameters())
    assert sorted(tuple(parameter.shape) for parameter in parameters) == [(1,), (8,), (8, 1), (13, 8)]
    assert all(isinstance(parameter, torch.nn.Parameter) for parameter in parameters)
    assert {id(parameter) for parameter in parameters} == {id(v.value) for v in model.trainable_variables}


def test_state_dict_loads_into_another_model():
    model, other = _model(), boston_regressor(units=(8,))
    x = torch.from_numpy(X)
    assert not torch.equal(model(x), other(x))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(x), other(x))


def test_a_torch_optimizer_trains_a_model_as_keras_does():
    by_keras, by_torch = _model(optimizer="sgd", learning_rate=0.05), _model()
    by_keras.fit(X, Y, batch_size=40, epochs=5, shuffle=False, verbose=0)
    optimizer = torch.optim.SGD(by_torch.parameters(), lr=0.05)
    for _ in range(5):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(by_torch(torch.from_numpy(X)), torch.from_numpy(Y))
        loss.backward()
        optimizer.step()
    for one, other in zip(by_torch.get_weights(), by_keras.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_model_works_inside_a_torch_sequential():
    model = _model()
    both = torch.nn.Sequential(torch.nn.Linear(5, 13), model, torch.nn.ReLU())
    assert len(list(both.parameters())) == 2 + 4
    x = torch.randn(3, 5)
    expected = torch.relu(model(both[0](x)))
    torch.testing.assert_close(both(x), expected)
    both(x).sum().backward()
    assert both[0].weight.grad is not None


def test_dropout_follows_the_training_argument_not_train_and_eval():
    model = imdb_classifier(20, dropout=0.5)
    x = torch.ones(4, 20)
    model.train()
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model(x, training=True), model(x, training=True))


def test_a_saved_and_loaded_model_predicts_the_same(tmp_path):
    model = _model()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("model_class", [keras.Model, FastModel])
def test_an_exported_model_predicts_the_same_without_keras(tmp_path, model_class):
    model = boston_regressor(model_class=model_class, dropout=0.5)
    model.export(tmp_path / "model.pt2", "torch", verbose=False, dynamic_shapes=({0: torch.export.Dim("batch")},))
    np.savez(tmp_path / "data.npz", x=X, expected=model.predict(X, verbose=0))
    code = f"import os; os.chdir({str(tmp_path)!r})"
    code += """
import sys, numpy, torch
data = numpy.load("data.npz")
found = torch.export.load("model.pt2").module()(torch.from_numpy(data["x"]))
numpy.testing.assert_allclose(found.detach(), data["expected"], rtol=1e-5)
assert "keras" not in sys.modules
"""
    done = forked.run_code(code)
    assert done.returncode == 0, done.stderr
