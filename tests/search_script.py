# ruff: noqa: E402
"""A script that searches or cross-validates, for runs that are killed and resumed: halving, outer folds, processes."""

from dataclasses import dataclass
from typing import Literal

from k3torch import cli
from k3torch.options import Flag, Machine, Resumable


@dataclass(frozen=True)
class Settings:
    """Command-line options."""

    epochs: int = 24
    """Epochs of each model."""
    halving: int | None = None
    """Drop candidates early."""
    early_stopping: int | None = None
    """Stop each model by itself."""
    outer: int | None = None
    """Outer folds."""
    choose_epochs: Flag = False
    """Select the number of epochs too."""
    normalize: Literal["fold", "train"] | None = None
    """Scale the samples, and the targets."""
    only: Flag = False
    """Cross-validate one candidate instead."""
    n_jobs: int | None = None
    """Processes; none trains in this one."""
    optimizer: str = "adam"
    """Of all candidates."""
    output: Resumable = Resumable()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)

from k3torch import cross_validate, runtime, search
from k3torch.reports.run_folder import CHECKPOINTS, RunFolder
from k3torch.training.checkpoint_file import CheckpointFolder
import keras
import numpy as np


def build(rate, units, optimizer):
    model = keras.Sequential(  # with names, which Keras numbers through the life of a process otherwise
        [
            keras.Input((4,), name="x"),
            keras.layers.Dense(units, "relu", name="hidden"),
            keras.layers.Dropout(0.2, name="dropout"),
            keras.layers.Dense(1, name="output"),
        ],
        name="model",
    )
    kind = keras.optimizers.get(optimizer).__class__
    model.compile(kind(rate, name="optimizer"), "mse", metrics=["mae"])
    return model


def main(settings):
    runtime.configure(**vars(settings.machine))
    x = np.random.default_rng(0).normal(size=(120, 4))
    y = x @ [1.0, -2.0, 0.5, 0.0]
    with RunFolder("search", settings) as run:
        shared = {
            "folds": 3, "epochs": settings.epochs, "batch_size": 4, "normalize": settings.normalize,
            "normalize_y": settings.normalize is not None, "seed": settings.machine.seed, "n_jobs": settings.n_jobs,
            "checkpoint": CheckpointFolder(run.path / CHECKPOINTS / "search", run.checkpoint),
        }  # fmt: skip
        validation = validated(settings, x, y, shared) if settings.only else searched(settings, x, y, shared, run)
        run.metrics |= {"history": validation.history, "out_of_fold": validation.out_of_fold}
        for number, model in enumerate(validation.models):
            run.save_model(model, f"fold_{number}.keras")


def validated(settings, x, y, shared):
    stopping = settings.early_stopping
    rule = [] if stopping is None else [keras.callbacks.EarlyStopping(patience=stopping, restore_best_weights=True)]
    return cross_validate(lambda: build(0.01, 6, settings.optimizer), x, y, repeats=2, callbacks=rule, **shared)


def searched(settings, x, y, shared, run):
    grid = {"rate": [0.003, 0.01, 0.03], "units": [4, 6], "optimizer": [settings.optimizer]}
    found = search(
        build, grid, x, y, halving=settings.halving, early_stopping=settings.early_stopping, outer=settings.outer,
        choose_epochs=settings.choose_epochs, **shared,
    )  # fmt: skip
    run.metrics |= {
        "best": found.best_params, "scores": found.scores, "epochs": found.epochs, "outer": found.outer_scores
    }  # fmt: skip
    run.save_model(found.best_model)
    return found.ensemble


if __name__ == "__main__":
    cli.run(main, SETTINGS)
