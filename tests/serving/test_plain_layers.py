"""Plain models have the outputs, weights and optimizers of the first; their files train on, on every backend."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile

from k3torch.models.builders import imdb_classifier, table_network
from k3torch.serving.plain_layers import plain_model, save_plain
from k3torch.training.fast_model import FastModel, FastSequential
import keras
import numpy as np
import pytest

DRAW = np.random.default_rng(0)
X = (DRAW.random((16, 12)) < 0.4).astype("float32")
Y = (X[:, :1] > 0).astype("float32")


def trained(model_class=FastModel, **options):
    keras.utils.set_random_seed(0)
    model = imdb_classifier(12, units=(4,), model_class=model_class, **options)
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0, shuffle=False)
    return model


@pytest.mark.parametrize("kind", [FastModel, FastSequential, keras.Model])
def test_a_plain_model_has_keras_classes_and_the_same_state(kind):
    model = trained(kind)
    plain = plain_model(model)
    assert not isinstance(plain, FastModel | FastSequential)
    assert type(plain.get_layer("hidden_1")) is keras.layers.Dense
    for mine, other in zip(plain.variables, model.variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), other.numpy())
    np.testing.assert_array_equal(plain.predict(X, verbose=0), model.predict(X, verbose=0))
    assert plain.optimizer is not model.optimizer
    assert plain.optimizer.iterations == 4


@pytest.mark.parametrize("options", [{}, {"optimizer": "adam"}, {"optimizer": "sgd", "momentum": 0.9}])
def test_a_plain_file_names_public_classes_and_trains_on(tmp_path, options):
    model = trained(**options)
    save_plain(model, tmp_path / "model.keras")
    config = zipfile.ZipFile(tmp_path / "model.keras").read("config.json").decode()
    assert "k3torch" not in config
    assert "keras.src" not in config.replace("keras.src.models.functional", "")  # which Keras itself writes
    assert json.loads(config)["compile_config"]["optimizer"]["module"] == "keras.optimizers"
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.fit(X, Y, batch_size=8, epochs=2, verbose=0, shuffle=False)
    np.testing.assert_allclose(loaded.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6)
    assert list(tmp_path.iterdir()) == [tmp_path / "model.keras"]


def test_a_model_that_is_not_compiled_and_one_in_another_stay_so():
    model = trained()
    whole = keras.Sequential([keras.Input((12,)), model, keras.layers.Rescaling(2.0)])
    plain = plain_model(whole)
    assert not getattr(plain, "compiled", False)
    assert type(plain.layers[0].get_layer("hidden_1")) is keras.layers.Dense
    np.testing.assert_array_equal(plain.predict(X, verbose=0), whole.predict(X, verbose=0))


ELSEWHERE = """
import sys, keras, numpy as np
data = np.load(sys.argv[2])
model = keras.saving.load_model(sys.argv[1])
assert keras.backend.backend() == sys.argv[4]
before = model.predict(data["x"], verbose=0)
for _ in range(5):
    model.train_on_batch(data["x"], data["y"])
np.savez(sys.argv[3], before=before, after=model.predict(data["x"], verbose=0))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["torch", "jax", "tensorflow"])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_one_file_runs_and_trains_on_three_backends(tmp_path, backend, optimizer):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"no {backend}")
    keras.utils.set_random_seed(0)
    model = table_network(12, 2, units=(8,), optimizer=optimizer)
    for _ in range(3):
        model.train_on_batch(X, Y)
    save_plain(model, tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    arguments = [tmp_path / "model.keras", tmp_path / "data.npz", tmp_path / "found.npz", backend]
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, *map(str, arguments)], check=True, timeout=300,
        env=os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    found = np.load(tmp_path / "found.npz")
    np.testing.assert_allclose(found["before"], model.predict(X, verbose=0), atol=1e-6)
    for _ in range(5):
        model.train_on_batch(X, Y)
    np.testing.assert_allclose(found["after"], model.predict(X, verbose=0), atol=1e-5)
