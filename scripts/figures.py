"""Draw the pictures that explain: losses, momentum, over-fitting, folds, dropout.

    make figures
    python scripts/figures.py --out pictures

Nothing in them is drawn by hand: each shows what Keras's own losses, SGD and Dropout, NumPy's least squares or
scikit-learn's KFold computed. Takes about 10 seconds.
"""

from dataclasses import dataclass

from k3torch import cli, runtime
from k3torch.reports import demos, explain
from k3torch.reports.run_folder import RunFolder, RunSettings
import keras
import numpy as np
from numpy.typing import NDArray
import torch

VALIDATION, TEST = (explain.ROLES.index(role) for role in ("validation", "test"))


@dataclass(frozen=True)
class Settings(RunSettings, runtime.MachineSettings):
    """What a person may choose."""


def main(settings: Settings) -> None:
    runtime.configure("cpu" if settings.device == "auto" else settings.device, settings.precision, settings.seed)
    with RunFolder("figures", settings) as run:
        for draw in (losses, momentum, polynomials, folds, dropout):
            draw(run)
    print(f"written to {run.path}: {', '.join(sorted(path.name for path in run.path.glob('*.png')))}")


def losses(run: RunFolder) -> None:
    """Cross-entropy punishes a sure mistake without limit, squared error with 1 at most."""
    probabilities = np.linspace(0.001, 1, 400)
    cross_entropy, squared_error = demos.losses_for_label_one(probabilities)
    explain.plot_losses(run.path / "losses.png", probabilities, cross_entropy, squared_error)
    run.metrics["losses_at_0.001"] = {"cross_entropy": cross_entropy[0], "squared_error": squared_error[0]}


def momentum(run: RunFolder) -> None:
    """Plain descent ends in the first valley; with momentum the weight rolls on into the deeper one."""
    weights = np.linspace(-2.3, 2.3, 300)
    descents = {}
    for name, share in (("SGD without momentum", 0.0), ("SGD with momentum 0.9", 0.9)):
        optimizer = keras.optimizers.SGD(0.01, momentum=share)
        path = demos.descend(demos.two_valleys, start=2.2, optimizer=optimizer, steps=120)
        descents[name] = (path, _heights(path))
        run.metrics[name] = {"weight": path[-1], "loss": descents[name][1][-1]}
    explain.plot_momentum(run.path / "momentum.png", (weights, _heights(weights)), descents)


def polynomials(run: RunFolder) -> None:
    """Degree 1 misses the cosine, 4 meets it, 15 follows the noise."""
    fits = demos.fit_polynomials()
    verdicts = {1: "under-fit", 4: "right", 15: "over-fit"}
    names = {degree: f"degree {degree}: {verdict}" for degree, verdict in verdicts.items()}
    explain.plot_polynomials(
        run.path / "polynomials.png",
        (fits.x, fits.y),
        (fits.grid, fits.truth),
        {names[degree]: curve for degree, curve in fits.curves.items()},
        {names[degree]: (fits.sample_error[degree], fits.true_error[degree]) for degree in fits.curves},
    )
    run.metrics["polynomials"] = {"sample_error": fits.sample_error, "true_error": fits.true_error}


def folds(run: RunFolder) -> None:
    """From one split to nested cross-validation."""
    schemes = {
        "One split: the test rows are looked at once, at the end": demos.fold_roles(5, TEST)[-1:],
        "A third part to choose by: epochs, widths, rates": demos.fold_roles(5, VALIDATION, TEST)[3:4],
        "3-fold: each part validates once, the scores are averaged": demos.fold_roles(3, VALIDATION),
        "Validation and test cycled through the data": demos.fold_roles(5, VALIDATION, TEST),
    }
    explain.plot_folds(run.path / "folds.png", schemes)


def dropout(run: RunFolder) -> None:
    """What Dropout(0.5) makes of a layer's outputs."""
    passes = demos.drop_out(rate=0.5)
    stages = {
        "a layer's outputs": passes.before,
        "training: a random half becomes 0": passes.dropped,
        "training: what is left is scaled by 2": passes.training,
        "prediction: nothing changes": passes.prediction,
    }
    explain.plot_dropout(run.path / "dropout.png", stages)
    run.metrics["dropout_means"] = {name: values.mean() for name, values in stages.items()}


def _heights(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(demos.two_valleys(torch.from_numpy(weights)))


if __name__ == "__main__":
    cli.run(main, Settings, __doc__)
