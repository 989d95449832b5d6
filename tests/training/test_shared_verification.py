"""The verification in two processes, of which one is made up. Whole trainings: test_distributed.py."""

from dataclasses import replace

import k3torch
from k3torch import processes
from k3torch.errors import InputError
from k3torch.training import averaged_parts, distributed, shared_verification
import keras
import numpy as np
import pytest
import torch

X = np.random.default_rng(0).random((8, 3)).astype("float32")
Y = X[:, :1].copy()


@pytest.fixture
def two(monkeypatch):
    """Has this process believe that there is another one, with the same samples and ``verdict`` of the verification."""
    verdict = [False] * 7

    def any_of_all(flags, device):
        return [a or b for a, b in zip(flags, verdict, strict=True)] if len(flags) == 7 else list(flags)

    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(distributed, "prepare_call", lambda model, *_: model._logs_are_read)
    monkeypatch.setattr("k3torch.training.fast_model.prepare_call", lambda model, *_: model._logs_are_read)
    monkeypatch.setattr(shared_verification, "any_of_all", any_of_all)
    monkeypatch.setattr(shared_verification, "group_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(averaged_parts, "any_of_all", any_of_all)
    for module in (averaged_parts, shared_verification):
        monkeypatch.setattr(module, "sum_of_all", lambda tensor: tensor.mul_(2))
    return verdict


def built(kind=k3torch.FastModel, *layers):
    x = inputs = keras.Input((3,))
    for layer in (*layers, keras.layers.Dense(1)):
        x = layer(x)
    model = kind(inputs, x)
    model.compile("rmsprop", "mse", metrics=["mae"])
    return model


def fitted(count=8):
    keras.utils.set_random_seed(0)
    model = built()
    history = model.fit(X[:count], Y[:count], batch_size=3, epochs=2, shuffle=False, verbose=0).history
    return model, history


def test_with_the_same_samples_twice_the_steps_are_those_of_a_process_alone(two, monkeypatch):
    model, history = fitted()
    monkeypatch.undo()
    alone, expected = fitted()
    for a, b in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert history == {name: pytest.approx(values, rel=1e-6) for name, values in expected.items()}


@pytest.mark.parametrize(("place", "name"), enumerate(("forward", "loss", "update_metrics", "update_weights")))
def test_a_part_that_falls_back_in_another_process_falls_back_here(two, place, name):
    two[place] = True
    model, _ = fitted()
    local, by_keras = model._verification._averaged.local, model._verification.keras_parts
    names = ("forward", "loss", "update_metrics", "update_weights")
    assert [each for each in names if getattr(local, each) is getattr(by_keras, each)] == [name]


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (4, "expected a model whose gradients several processes can average, got one that needs Keras's own step, for"),
        (5, "expected a model that changes nothing but its weights in training in several processes, got another"),
        (6, "expected a batch_size of 2, the number of processes, or more"),
    ],
)
def test_what_another_process_cannot_train_is_refused_here(two, place, line):
    two[place] = True
    with pytest.raises(InputError, match=f"^{line}"):
        fitted()


def test_a_resumed_run_may_begin_with_a_batch_without_samples_in_another_process(two):
    keras.utils.set_random_seed(0)
    model = built()
    two[6] = True
    model.optimizer.build(model.trainable_variables)
    model.optimizer.iterations.assign(3)
    assert len(model.fit(X, Y, batch_size=4, epochs=2, verbose=0).history["loss"]) == 2


def test_comparisons_are_of_this_process_alone(two, monkeypatch):
    model = built()
    sums = []
    monkeypatch.setattr(shared_verification, "sum_of_all", lambda tensor: sums.append(tensor) or tensor)
    monkeypatch.setattr(averaged_parts, "sum_of_all", lambda tensor: sums.append(tensor) or tensor)
    model.fit(X, Y, batch_size=4, verbose=0)
    weights, variables = 4, len(model.metrics_variables)
    assert [tensor.numel() for tensor in sums[:2]] == [weights + 1] * 2  # of two steps, each compared before
    assert len(sums) == 2 + variables


def test_a_batch_of_another_kind_may_not_change_the_optimizer_of_one_process(two):
    model, _ = fitted()
    verification = model._verification
    verdict = verification._verdict

    def differs(*args):
        return [*verdict(*args)[:3], True, False, False, False]

    verification._verdict = differs
    with pytest.raises(InputError, match="optimizer for a batch of another kind"):
        model.train_on_batch(X, Y, sample_weight=np.ones(8, "float32"))


def test_sparse_updates_are_dense_in_several_processes(two, monkeypatch):
    choose = shared_verification.choose_parts

    def with_sparse(model):
        choice = choose(model)
        return replace(choice, parts=replace(choice.parts, sparse=object()))

    monkeypatch.setattr(shared_verification, "choose_parts", with_sparse)
    model, _ = fitted()
    parts, _, _ = shared_verification.verified_choice(model)
    assert (parts.sparse, parts.dense_reason) == (None, "several processes")


def test_parts_are_chosen_again_if_settings_changed_in_another_process(two, monkeypatch):
    model, _ = fitted()
    before = model._verification
    model._prepare_parts()
    assert model._verification is before
    monkeypatch.setattr(shared_verification, "any_of_all", lambda flags, device: [True for _ in flags])
    model._prepare_parts()
    assert model._verification is not before


def test_keras_wraps_no_fast_model():
    assert built()._initialize_ddp() is None


def test_metrics_on_shapes_without_values_are_not_summed(two, monkeypatch):
    monkeypatch.setattr(shared_verification, "sum_of_all", lambda tensor: pytest.fail("summed"))
    with keras.device("meta"):
        model = built()
        monkeypatch.setattr(shared_verification, "_results", lambda model: {"loss": 0})
        assert torch.device("meta") in {variable.value.device for variable in model.metrics_variables}
        assert model.get_metrics_result() == {"loss": 0}
