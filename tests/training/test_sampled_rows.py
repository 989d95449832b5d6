"""Verification on a part of the rows: what Keras's step gets, what the model is left with, what is found."""

from dataclasses import replace

from k3torch import sparse_kernels
from k3torch.data.bags import BagDataset, bag_loader
from k3torch.models.layers import SparseDense
from k3torch.training import sampled_rows, sparse_updates
from k3torch.training.fast_model import FastModel, FastSequential
from k3torch.training.sampled_rows import SampledRows
import keras
import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array
import torch

pytestmark = pytest.mark.skipif(sparse_kernels.load() is None, reason="no C++ compiler")

WORDS, SAMPLES = 400, 30
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.1),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "rmsprop": lambda: keras.optimizers.RMSprop(0.01),
    "adagrad": lambda: keras.optimizers.Adagrad(0.1),
}


@pytest.fixture(autouse=True)
def few_rows(monkeypatch):
    monkeypatch.setattr(sparse_updates, "WEIGHTS", 1)
    monkeypatch.setattr(sampled_rows, "OTHERS", 5)


def loader(seed=0, words=WORDS):
    draw = np.random.default_rng(seed)
    bags = csr_matrix(random_array((SAMPLES, words), density=0.01, rng=draw, dtype=np.float32))
    return bag_loader(BagDataset(bags, draw.integers(0, 2, SAMPLES)), 5)


def build(name="rmsprop", kind=FastModel, seed=0):
    keras.utils.set_random_seed(seed)
    layers = SparseDense(5, activation="relu"), keras.layers.Dense(1, activation="sigmoid")
    if kind is FastSequential:
        model = kind([keras.Input((WORDS,)), *layers])
    else:
        inputs = keras.Input((WORDS,))
        model = kind(inputs, layers[1](layers[0](inputs)))
    model.compile(OPTIMIZERS[name](), "binary_crossentropy", metrics=["accuracy"])
    return model


def values(model):
    return [np.array(each) for each in (*model.variables, *model.optimizer.variables)]


@pytest.fixture
def rows_of_kerass_steps(monkeypatch):
    """A list that gets the rows of the kernel, those of the bags, and the kind of each step that Keras takes."""
    seen = []
    for kind in ("train", "test"):
        step = getattr(keras.Model, f"{kind}_step")

        def counted(self, data, step=step, kind=kind):
            first = next(layer for layer in self.layers if isinstance(layer, SparseDense))
            seen.append((kind, len(first.kernel.value), data[0].shape[1]))
            return step(self, data)

        monkeypatch.setattr(keras.Model, f"{kind}_step", counted)
    return seen


@pytest.mark.parametrize("kind", [FastModel, FastSequential])
def test_keras_takes_its_step_with_few_rows(kind, rows_of_kerass_steps):
    model = build(kind=kind)
    seen = rows_of_kerass_steps
    model.fit(loader(), epochs=2, validation_data=loader(1), verbose=0)
    assert [name for name, _, _ in seen] == ["train", "train", "test"]
    first = loader().dataset.bags[:5].indices
    assert seen[0][1] == len(np.union1d(first, np.linspace(0, WORDS - 1, 5).astype(int)))
    for _, rows, width in seen:
        assert rows == width < 60
    assert model._parts.sparse is not None


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_all_rows_end_as_in_keras(name):
    """Also those that no comparison has seen."""
    found = []
    for kind in (FastModel, keras.Model):
        model = build(name, kind)
        history = model.fit(loader(), epochs=3, validation_data=loader(1), verbose=0).history
        found.append((values(model), history))
    for a, b in zip(found[0][0], found[1][0], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)
    for metric, expected in found[1][1].items():
        np.testing.assert_allclose(found[0][1][metric], expected, rtol=1e-4, err_msg=metric)


def test_the_verified_step_leaves_no_gradient_and_the_shapes(monkeypatch):
    model = build()
    kernel = model.layers[1].kernel
    tensor = kernel.value
    model.fit(loader(), epochs=1, verbose=0)
    assert kernel.value is tensor
    assert tuple(tensor.shape) == (WORDS, 5)
    assert tensor.grad is None
    with pytest.raises(ValueError, match="incompatible"):
        model(np.zeros((2, WORDS + 1), np.float32))


def test_a_step_of_keras_that_fails_with_few_rows_leaves_dense_steps(monkeypatch, rows_of_kerass_steps):
    call = SparseDense.call

    def particular(self, inputs, training=None):
        assert inputs.shape[-1] == WORDS, "expected all words"
        return call(self, inputs, training=training)

    expected = build()
    expected.fit(loader(), epochs=1, verbose=0, callbacks=[Dense()])
    del rows_of_kerass_steps[:]
    monkeypatch.setattr(SparseDense, "call", particular)
    model = build()
    with pytest.warns(UserWarning, match="falls back to Keras for its sparse updates .*AssertionError: expected all"):
        model.fit(loader(), epochs=1, verbose=0)
    assert model._parts.sparse is None
    assert [rows for _, rows, _ in rows_of_kerass_steps[1:]] == [WORDS, WORDS]
    for a, b in zip(values(model), values(expected), strict=True):
        np.testing.assert_array_equal(a, b)


class Dense(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        pass


def test_a_wrong_part_of_the_step_is_named(monkeypatch):
    """First the sparse step as a whole differs, then the part in the dense one."""
    model = build()
    model.fit(loader(), epochs=1, verbose=0)
    model._verification.counts.clear()
    loss = model._parts.loss
    model._parts = replace(model._parts, loss=lambda *batch: 2 * loss(*batch))
    with pytest.warns(UserWarning, match="falls back to Keras for its") as caught:
        model.fit(loader(), epochs=1, verbose=0)
    said = [str(each.message).partition(" (")[0] for each in caught if "falls back" in str(each.message)]
    assert said == [f"FastModel falls back to Keras for its {name}" for name in ("sparse updates", "loss")]


def test_a_wrong_evaluation_is_found_and_training_stays_sparse():
    model = build()
    model.fit(loader(), epochs=1, verbose=0)
    right = model.evaluate(loader(1), verbose=0)
    forward = model._parts.forward
    model._parts = replace(model._parts, forward=lambda x, training: 0.5 * forward(x, training))
    model._verification.counts.clear()
    with pytest.warns(UserWarning, match="falls back to Keras for its forward pass"):
        assert model.evaluate(loader(1), verbose=0) == right


def test_rows_change_places_and_back():
    model = build("momentum")
    model.fit(loader(), epochs=1, verbose=0)
    sparse, x = model._parts.sparse, next(iter(loader()))[0]
    kernel = model.layers[1].kernel.value
    before = kernel.detach().clone()
    rows = SampledRows(model, sparse, x, steps=1)
    chosen = rows._rows.long()
    np.testing.assert_array_equal(
        (rows.x.to_dense() @ before[chosen]).numpy(), (rows.x.to_dense() @ kernel.detach()[chosen]).numpy()
    )
    with rows.alone():
        assert torch.equal(kernel, before[chosen])
        with torch.no_grad():
            kernel.add_(1)
        assert rows.on_all(lambda: len(kernel)) == WORDS
    rows.finish(taken=False)
    changed = (kernel != before).any(1).nonzero()[:, 0]
    assert torch.equal(changed, chosen)
    with rows.alone(), pytest.raises(KeyboardInterrupt):
        rows.on_all(lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert len(kernel) == WORDS
