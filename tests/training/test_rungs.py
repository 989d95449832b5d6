"""Training gives the same weights and metrics on every rung."""

from pathlib import Path

from k3torch import processes
from k3torch.data.bags import BagDataset, bag_of_words
from k3torch.errors import InputError
from k3torch.training import rungs
from k3torch.training.fast_model import FastModel
import keras
import numpy as np
import pytest
import torch
from torch.utils.data import Subset

WORDS = 30


def _samples():
    rng = np.random.default_rng(0)
    bags = bag_of_words(rng.integers(0, WORDS, 400), np.arange(0, 401, 10), WORDS)
    return BagDataset(bags, rng.integers(0, 2, 40))


def _train(rung, shuffle=False):
    keras.utils.set_random_seed(0)
    samples = _samples()
    training, validation = Subset(samples, range(10, 40)), Subset(samples, range(10))
    model, history = rungs.build(rung, WORDS), []
    rungs.train(
        rung, model, rungs.serve(rung, training, 8, shuffle=shuffle), validation=rungs.serve(rung, validation, 8),
        epochs=2, title="", history=history,
    )  # fmt: skip
    return history, model.get_weights()


@pytest.mark.parametrize("rung", [2, 3, 4, 5, pytest.param(6, marks=pytest.mark.slow)])  # 6 compiles for 12 s
def test_every_rung_has_the_weights_and_metrics_of_the_first(rung):
    expected, expected_weights = _train(1)
    found, weights = _train(rung)
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) == set(theirs) == {"epoch", "seconds", "loss", "accuracy", "val_loss", "val_accuracy"}
        assert all(ours[name] == pytest.approx(theirs[name], abs=1e-5) for name in ours if name != "seconds")
    for ours, theirs in zip(weights, expected_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("rung", [1, 4])
def test_shuffled_samples_give_other_weights(rung):
    assert not np.allclose(_train(rung, shuffle=True)[1][0], _train(rung)[1][0], atol=1e-5)


@pytest.mark.parametrize("rung", [1, 4, 5])
def test_without_validation_there_are_no_validation_metrics(rung):
    history = []
    rungs.train(rung, rungs.build(rung, WORDS), rungs.serve(rung, _samples(), 8), epochs=1, title="", history=history)
    assert set(history[0]) == {"epoch", "seconds", "loss", "accuracy"}


def test_each_rung_has_the_same_samples_in_its_own_format():
    samples = Subset(_samples(), [7, 3])
    arrays = rungs.serve(1, samples, 8)
    expected = samples.dataset.bags[[7, 3]].toarray()
    np.testing.assert_array_equal(arrays.x, expected)
    for rung, layout in ((2, torch.strided), (3, torch.sparse_csr)):
        ((x, y),) = rungs.serve(rung, samples, 8)
        assert x.layout == layout
        np.testing.assert_array_equal(x.to_dense(), expected)
        np.testing.assert_array_equal(y, arrays.y)


def test_each_rung_has_its_model_class_and_all_but_the_fifth_call_fit(monkeypatch):
    by_fit = []
    monkeypatch.setattr(rungs, "fit", lambda *_, title, one_thread, **__: by_fit.append((title, one_thread)))
    kinds, compiled = {}, {}
    for rung in rungs.NAMES:
        model = rungs.build(rung, WORDS)
        kinds[rung], compiled[rung] = isinstance(model, FastModel), model.jit_compile
        rungs.train(rung, model, rungs.serve(rung, _samples(), 8), epochs=1, title=str(rung), history=[])
    assert kinds == {1: False, 2: False, 3: False, 4: True, 5: True, 6: True, 7: True}
    assert [rung for rung, is_compiled in compiled.items() if is_compiled] == [6]
    # Dense batches are large enough for several threads.
    assert by_fit == [("1", False), ("2", False), ("3", True), ("4", True), ("6", True), ("7", True)]


@pytest.mark.parametrize("rung", rungs.NAMES)
def test_the_arguments_of_the_builder_reach_the_model_of_every_rung(rung):
    model = rungs.build(rung, WORDS, units=(3,), activation="tanh", dropout=0.5, optimizer="sgd", learning_rate=0.25)
    assert [type(layer).__name__ for layer in model.layers] == ["InputLayer", "SparseDense", "Dropout", "Dense"]
    assert isinstance(model.optimizer, keras.optimizers.SGD)
    assert float(model.optimizer.learning_rate) == 0.25
    assert model.loss == "binary_crossentropy"


def test_a_rung_refuses_what_it_cannot_train():
    for rung in rungs.NAMES:
        rungs.check_options(rung, dropout=0.5, max_norm=1.0, optimizer="sgd", momentum=0.5)
    rungs.check_options(4, clipnorm=1.0)
    with pytest.raises(InputError, match="for the loop of rung 5, got clipped gradients: use another rung"):
        rungs.check_options(5, clipnorm=1.0)


@pytest.mark.parametrize("rung", [1, 4, 5])
def test_outputs_that_become_nan_are_refused(rung):
    model = rungs.build(rung, WORDS, optimizer="sgd", learning_rate=1e38)
    data = rungs.serve(rung, _samples(), 8)
    with pytest.raises(InputError, match="expected finite outputs of the model, got NaN: lower learning_rate"):
        rungs.train(rung, model, data, epochs=3, title="", history=[])


def test_the_last_rung_alone_is_the_fourth_and_serves_each_process_its_part(monkeypatch):
    alone = [y.ravel().tolist() for _, y in rungs.serve(7, _samples(), 8)]
    assert alone == [y.ravel().tolist() for _, y in rungs.serve(4, _samples(), 8)]
    monkeypatch.setattr(processes, "count", lambda: 2)
    monkeypatch.setattr(processes, "rank", lambda: 1)
    assert [y.ravel().tolist() for _, y in rungs.serve(7, _samples(), 8)] == [batch[1::2] for batch in alone]


def test_torchrun_trains_on_the_last_rung(monkeypatch):
    assert rungs.rung_of_processes(4, 4, Path("run")) == 4
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [rungs.rung_of_processes(rung, 4, None) for rung in (4, 7)] == [7, 7]
    assert rungs.rung_of_processes(7, 4, Path("run")) == 7
    with pytest.raises(InputError, match=r"^expected rung as 7 with torchrun, got 5$"):
        rungs.rung_of_processes(5, 4, None)
    line = "^expected a run of several processes in run, got one of rung 4: resume it without torchrun$"
    with pytest.raises(InputError, match=line):
        rungs.rung_of_processes(4, 4, Path("run"))
