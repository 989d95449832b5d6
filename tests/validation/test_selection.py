"""A search goes on from its checkpoint to the same bits, whatever was dropped before."""

from k3torch import InputError, search
from k3torch.stack import model_stack
from k3torch.training import checkpoint_file
import keras
import numpy as np
import pytest

rng = np.random.default_rng(3)
X, Y = rng.normal(size=(24, 3)), rng.normal(size=24)
GRID = {"rate": [0.01, 0.03, 0.1], "optimizer": ["accumulating"]}  # which is trained with fit, in little time


def build(rate, optimizer):
    dropout = keras.layers.Dropout(0.3)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu"), dropout, keras.layers.Dense(1)])
    steps = 2 if optimizer == "accumulating" else None
    kind = getattr(keras.optimizers, "SGD" if steps else optimizer)
    model.compile(kind(rate, gradient_accumulation_steps=steps), "mse", metrics=["mae"])
    return model


def searched(grid=GRID, **arguments):
    return search(build, grid, X, Y, **{"folds": 2, "epochs": 3, "batch_size": 8, "verbose": 0, **arguments})


def bits(found):
    models = [found.best_model, *found.ensemble.models]
    variables = [v for model in models for v in (*model.variables, *model.optimizer.variables)]
    arrays = [
        found.scores,
        found.epochs,
        found.outer_scores,
        found.ensemble.out_of_fold,
        *(v.numpy() for v in variables),
    ]
    return [found.best_params, found.outer_params, *(array.tobytes() for array in map(np.asarray, arrays))]


class Killed(Exception):  # noqa: N818
    pass


@pytest.fixture
def resumed(monkeypatch, tmp_path):
    """A function that returns a search that is ended after so many checkpoints, and then called again."""
    write = checkpoint_file.CheckpointFolder.write
    monkeypatch.setattr(checkpoint_file, "COST", 1e9)

    def call(checkpoints, **arguments):
        folder = tmp_path / str(checkpoints)

        def writing(self, number, content):
            write(self, number, content)
            if number == checkpoints:
                raise Killed

        with monkeypatch.context() as patched, pytest.raises(Killed):  # noqa: PT012
            patched.setattr(checkpoint_file.CheckpointFolder, "write", writing)
            searched(checkpoint=folder, **arguments)
        return searched(checkpoint=folder, **arguments)

    return call


@pytest.mark.parametrize("arguments", [pytest.param({"early_stopping": 1}, marks=pytest.mark.slow), {"halving": 2}])
def test_an_interrupted_search_goes_on_to_the_same_bits(arguments, resumed):
    expected = bits(searched(**arguments))
    assert bits(resumed(9, **arguments)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"early_stopping": 1, "halving": 2}, {"outer": 2}])
def test_stacks_of_candidates_go_on_to_the_same_bits(arguments, resumed, monkeypatch):
    monkeypatch.setattr(model_stack, "WORTH_LOOKING", 0)
    monkeypatch.setattr(model_stack, "WORTH_COMPILING", 0)
    grid = {**GRID, "optimizer": ["Adam", "SGD"]}
    expected = bits(searched(grid, epochs=6, **arguments))
    for checkpoints in (1, 4, 8):
        assert bits(resumed(checkpoints, grid=grid, epochs=6, **arguments)) == expected


@pytest.mark.slow
def test_a_search_with_scaled_samples_goes_on_after_its_best_model_was_trained(resumed, monkeypatch, tmp_path):
    arguments = {"outer": 2, "normalize": "fold"}
    write, written = checkpoint_file.CheckpointFolder.write, []
    with monkeypatch.context() as patched:
        patched.setattr(
            checkpoint_file.CheckpointFolder, "write", lambda *given: written.append(given[1]) or write(*given)
        )
        expected = bits(searched(checkpoint=tmp_path / "whole", **arguments))
    for checkpoints in range(len(written) // 3, len(written), 3):
        assert bits(resumed(checkpoints, **arguments)) == expected


def test_another_grid_is_refused(resumed, tmp_path):
    resumed(1)
    with pytest.raises(
        InputError, match=r"expected candidates .*, got candidates .*: give the same, or another folder"
    ):
        searched({**GRID, "rate": [0.02]}, checkpoint=tmp_path / "1")
