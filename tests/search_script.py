# ruff: noqa: E402
"""A script that searches, for runs that are killed and resumed: halving, early stopping and outer folds."""

from dataclasses import dataclass

from k3torch import cli
from k3torch.options import Machine, Resumable


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
    optimizer: str = "adam"
    """Of all candidates."""
    output: Resumable = Resumable()
    machine: Machine = Machine()


if __name__ == "__main__":
    SETTINGS = cli.parse(Settings, __doc__)

from k3torch import runtime, search
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
    grid = {"rate": [0.003, 0.01, 0.03], "units": [4, 6], "optimizer": [settings.optimizer]}
    with RunFolder("search", settings) as run:
        found = search(
            build, grid, x, y, folds=3, epochs=settings.epochs, batch_size=4, halving=settings.halving,
            early_stopping=settings.early_stopping, outer=settings.outer, seed=settings.machine.seed,
            checkpoint=CheckpointFolder(run.path / CHECKPOINTS / "search", run.checkpoint),
        )  # fmt: skip
        run.metrics |= {
            "best": found.best_params, "scores": found.scores, "epochs": found.epochs,
            "outer": found.outer_scores, "history": found.ensemble.history, "out_of_fold": found.ensemble.out_of_fold,
        }  # fmt: skip
        run.save_model(found.best_model)
        for number, model in enumerate(found.ensemble.models):
            run.save_model(model, f"fold_{number}.keras")


if __name__ == "__main__":
    cli.run(main, SETTINGS)
