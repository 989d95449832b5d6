"""SparseDense against Dense on the multi-hot matrix: weights, outputs, gradients, saving."""

from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st
from k3torch.data.bags import BagDataset, bag_loader, bag_of_words
from k3torch.errors import InputError
from k3torch.models.layers import SparseDense, bag_matmul
import keras
import numpy as np
import pytest
import torch

WORDS = 50


def bags(samples=20, seed=0, values=None):
    """Random bags as a CSR tensor, (samples, WORDS); the third bag is empty."""
    draw = np.random.default_rng(seed)
    dense = (draw.random((samples, WORDS)) < 0.2).astype("float32")
    dense[2] = 0
    if values:
        dense *= draw.integers(1, 5, dense.shape)
    return torch.from_numpy(dense).to_sparse_csr()


def pair(**arguments):
    """A SparseDense and a Dense with the same weights."""
    both = [kind(7, **arguments) for kind in (SparseDense, keras.layers.Dense)]
    for layer in both:
        layer.build((None, WORDS))
    both[1].set_weights(both[0].get_weights())
    return both


def with_int32_indices(x):
    """The same CSR tensor with indices as BagDataset makes them, which the compiled loops support."""
    return torch.sparse_csr_tensor(x.crow_indices().int(), x.col_indices().int(), x.values(), x.shape)


@pytest.mark.usefixtures("with_and_without_loops")
@pytest.mark.parametrize("convert", [with_int32_indices, lambda x: x])
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        {"activation": "relu"},
        {"use_bias": False},
        {"bias_initializer": "ones", "kernel_initializer": "he_normal", "activation": "tanh"},
    ],
)
def test_output_and_gradients_are_those_of_dense(arguments, counts, convert):
    sparse, dense = pair(**arguments)
    x = convert(bags(values=counts))
    towards = torch.randn(20, 7)

    outputs = [sparse(x), dense(x.to_dense())]
    for output in outputs:
        (output * towards).sum().backward()

    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(sparse.weights, dense.weights, strict=True):
        torch.testing.assert_close(ours.value.grad, theirs.value.grad, rtol=1e-5, atol=1e-5)


def test_an_empty_bag_gives_the_bias():
    layer = pair(bias_initializer="ones")[0]

    assert layer(bags())[2].tolist() == [1.0] * 7


def test_a_dense_input_is_passed_to_dense():
    sparse, dense = pair(activation="relu")
    x = bags().to_dense()

    assert torch.equal(sparse(x), dense(x))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 2**31))
def test_the_gradient_holds_in_float64(rows, units, seed):
    draw = np.random.default_rng(seed)
    dense = torch.from_numpy((draw.random((rows, 8)) < 0.4) * draw.random((rows, 8)))
    kernel = torch.from_numpy(draw.normal(size=(8, units))).requires_grad_()

    product = bag_matmul(dense.to_sparse_csr(), kernel)
    towards = torch.from_numpy(draw.normal(size=(rows, units)))
    product.backward(towards)

    torch.testing.assert_close(product, dense @ kernel)
    torch.testing.assert_close(kernel.grad, dense.T @ towards)


def test_the_gradient_by_atomic_adds_is_the_same():
    from k3torch.models.layers import _scatter

    x, gradient = bags(values=True), torch.randn(20, 3)

    summed = _scatter(x.crow_indices(), x.col_indices(), x.values(), gradient, WORDS)

    torch.testing.assert_close(summed, x.to_dense().T @ gradient)


def test_int32_and_int64_ids_agree():
    x = bags()
    narrow = torch.sparse_csr_tensor(
        x.crow_indices().int(), x.col_indices().int(), x.values(), x.shape, check_invariants=True
    )
    kernel = torch.randn(WORDS, 4)

    assert torch.equal(bag_matmul(x, kernel), bag_matmul(narrow, kernel))


def test_mixed_bfloat16_is_that_of_dense():
    sparse, dense = pair(dtype="mixed_bfloat16", activation="relu")
    x = bags()

    outputs = [sparse(x), dense(x.to_dense())]
    for output in outputs:
        output.sum().backward()

    assert outputs[0].dtype == torch.bfloat16
    torch.testing.assert_close(*outputs, rtol=2e-2, atol=2e-2)
    assert sparse.kernel.value.grad.dtype == torch.float32
    torch.testing.assert_close(sparse.kernel.value.grad, dense.kernel.value.grad, rtol=2e-2, atol=2e-2)


def test_regularizer_and_constraint_act_as_in_dense():
    chosen = {
        "kernel_regularizer": keras.regularizers.L1L2(0.01, 0.02),
        "activity_regularizer": keras.regularizers.L2(0.1),
        "kernel_constraint": keras.constraints.MaxNorm(0.1),
    }
    both = pair(**chosen)
    models = [keras.Sequential([keras.Input((WORDS,)), layer]) for layer in both]
    x, y = bags(), torch.randn(20, 7)
    for model, batch in zip(models, (x, x.to_dense()), strict=True):
        model.compile(keras.optimizers.SGD(0.5), "mse")
        model.train_on_batch(batch, y)

    torch.testing.assert_close(*(layer.kernel.value for layer in both), rtol=1e-5, atol=1e-6)
    assert torch.linalg.norm(both[0].kernel.value, dim=0).max() <= 0.1 + 1e-6


def test_weights_can_be_exchanged_with_dense():
    def model(kind):
        inputs = keras.Input((WORDS,))
        return keras.Model(inputs, kind(4, name="first")(inputs))

    ours, theirs, again = model(SparseDense), model(keras.layers.Dense), model(SparseDense)
    theirs.set_weights(ours.get_weights())
    again.set_weights(theirs.get_weights())

    x = bags()
    torch.testing.assert_close(ours(x), theirs(x.to_dense()), rtol=1e-5, atol=1e-5)
    assert torch.equal(ours(x), again(x))


def test_config_and_model_survive_saving(tmp_path):
    layer = SparseDense(4, activation="relu", kernel_regularizer="l2", use_bias=False, name="first")
    model = keras.Sequential([keras.Input((WORDS,)), layer, keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert type(loaded.layers[0]) is SparseDense
    assert loaded.layers[0].get_config() == layer.get_config()
    assert torch.equal(loaded(bags()), model(bags()))


def test_fit_evaluate_and_predict_take_the_loader():
    dense = (np.random.default_rng(0).random((60, WORDS)) < 0.2).astype("float32")
    rows, ids = np.nonzero(dense)
    dataset = BagDataset(bag_of_words(ids, np.searchsorted(rows, np.arange(61)), WORDS), dense[:, 3])
    loader = bag_loader(dataset, 16)
    model = keras.Sequential([keras.Input((WORDS,)), SparseDense(1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy", metrics=["accuracy"])

    model.fit(loader, epochs=30, verbose=0, shuffle=False)

    assert model.evaluate(loader, verbose=0)[1] == 1.0
    np.testing.assert_allclose(model.predict(loader, verbose=0), model.predict(dense, verbose=0), atol=1e-6)


def test_a_keras_model_compiled_as_a_whole_learns_the_same(monkeypatch):
    monkeypatch.setattr(
        torch, "compile", partial(torch.compile, backend="eager")
    )  # traces, and spares the C++ compiler
    labels = torch.arange(20.0)[:, None] % 2
    losses = []
    for jit_compile in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((WORDS,)), SparseDense(3), keras.layers.Dense(1, "sigmoid")])
        model.compile("sgd", "binary_crossentropy", jit_compile=jit_compile)
        losses.append([float(model.train_on_batch(bags(), labels)) for _ in range(3)])
    assert losses[1] == pytest.approx(losses[0])
    assert losses[0][2] < losses[0][0]


def test_ids_out_of_range_are_an_input_error():
    layer = pair()[0]
    x = bags()
    ids = x.col_indices().clone()
    ids[0] = WORDS
    wrong = torch.sparse_csr_tensor(x.crow_indices(), ids, x.values(), x.shape, check_invariants=False)

    with pytest.raises(InputError, match=f"word ids from 0 to {WORDS - 1}, got 0 to {WORDS}"):
        layer.call(wrong)
    with pytest.raises(InputError, match="expected bags of 50 words, got 51"):
        layer.call(torch.zeros(2, WORDS + 1).to_sparse_csr())


@pytest.mark.cuda
def test_cuda_agrees_with_cpu():
    x, kernel = bags(values=True), torch.randn(WORDS, 5, generator=torch.Generator().manual_seed(0))
    kernels = [kernel.clone().to(device).requires_grad_() for device in ("cpu", "cuda")]
    products = [bag_matmul(x.to(k.device), k) for k in kernels]
    for product in products:
        product.square().sum().backward()

    torch.testing.assert_close(products[0], products[1].cpu(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(kernels[0].grad, kernels[1].grad.cpu(), rtol=1e-5, atol=1e-4)
